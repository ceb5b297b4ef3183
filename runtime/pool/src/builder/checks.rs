//! Checks a pool's settings before any process is started.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use crate::cache::Cache;
use crate::error::Error;
use crate::grants::trusted_paths::TrustedPaths;
use crate::init;
use crate::invalid_setting::InvalidSetting;
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::{BASE_DESCRIPTORS, SandboxLayer};
use mpwasm_system::process;
use mpwasm_system::standard_descriptors;
use mpwasm_types::memory::thread_stack;
use mpwasm_types::settings::{Jail, MAX_STACK, MAX_TABLE_ELEMENTS, MAX_WORKERS, MIN_STACK, Settings, User};

/// The parts of a builder whose settings passed all checks.
pub(crate) struct CheckedSettings {
    pub settings: Settings,
    pub executable: Executable,
    pub cache: Option<Cache>,
    pub trusted: TrustedPaths,
}

/// Checks the settings, and whether processes can be started with them. Opens closed standard descriptors. Returns what the processes
/// execute: the file at `executable`, or this executable.
///
/// # Errors
/// [`Error::BadSetting`], [`Error::Jail`], [`Error::InitMissing`], [`Error::InitLate`], [`Error::Read`].
pub(crate) fn check_processes(settings: &Settings, executable: Option<PathBuf>) -> Result<Executable, Error> {
    standard_descriptors::fill();
    check(settings)?;
    if settings.jail == Jail::Strict
        && let Some(lacking) = missing_layers(settings.jail)
    {
        return Err(Error::Jail(lacking));
    }
    // A child process that gets here has not taken its role in `init`. Without this check, a program that names
    // itself as the executable and does not call `init` would start itself without end.
    if process::role().is_some() {
        return Err(Error::InitMissing);
    }
    let executable = match executable {
        Some(path) => {
            Executable::At(std::fs::canonicalize(&path).map_err(|error| Error::Read { path, error })?)
        }
        // A copy of this executable takes its role in `init`.
        None => {
            init::check_initialised(settings.jail)?;
            Executable::Own
        }
    };
    if let Some(user) = settings.user {
        check_user(&executable, user)?;
    }
    Ok(executable)
}

/// Checks whether the settings are valid, and whether this process can provide what they ask for.
///
/// # Errors
/// [`Error::BadSetting`].
fn check(settings: &Settings) -> Result<(), Error> {
    let bad = |setting: InvalidSetting| Err(setting.into());
    if settings.size == 0 {
        return bad(InvalidSetting::NoWorkers);
    }
    if settings.max_tasks_per_worker == Some(0) {
        return bad(InvalidSetting::NoTasksPerWorker);
    }
    let timeouts = [
        settings.timeout,
        settings.callback_timeout,
        settings.compile_timeout,
    ];
    if timeouts.iter().any(Duration::is_zero) {
        return bad(InvalidSetting::ZeroTimeout);
    }
    if !settings.interrupt.is_supported() {
        return bad(InvalidSetting::NoSignals);
    }
    if let Some(user) = settings.user {
        if !nix::unistd::geteuid().is_root() {
            return bad(InvalidSetting::NotRoot);
        }
        if user.uid == 0 {
            return bad(InvalidSetting::UserIsRoot);
        }
        // To the kernel this number means "unchanged".
        if [user.uid, user.gid].contains(&u32::MAX) {
            return bad(InvalidSetting::NoUser);
        }
        if settings.jail == Jail::Off {
            return bad(InvalidSetting::UserWithoutJail);
        }
    }
    check_resources(settings)?;
    settings.grants.check().map_err(InvalidSetting::Grants)?;
    if settings.size > MAX_WORKERS {
        return bad(InvalidSetting::TooManyWorkers);
    }
    // Output that is not captured is streamed and never held as a whole.
    let max_output = if settings.capture { settings.max_output } else { 0 };
    let largest = settings.max_result.max(settings.max_args).max(max_output);
    if largest > mpwasm_protocol::messages::MAX_PAYLOAD {
        return bad(InvalidSetting::PayloadTooLarge);
    }
    Ok(())
}

/// Checks the limits of a guest besides its memory: stack, tables and open files.
fn check_resources(settings: &Settings) -> Result<(), Error> {
    let bad = |setting: InvalidSetting| Err(setting.into());
    let stack = settings.stack;
    if !(MIN_STACK..=MAX_STACK).contains(&stack) {
        return bad(InvalidSetting::StackSize(stack));
    }
    // A worker could fail to allocate such a stack, for example under a limit of address space. So it is tried here.
    if stack > Settings::default().stack {
        let thread = thread::Builder::new()
            .stack_size(thread_stack(stack))
            .spawn(|| {});
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(error) => return bad(InvalidSetting::NoStack { stack, error }),
        }
    }
    if settings.max_table > MAX_TABLE_ELEMENTS {
        return bad(InvalidSetting::TablesTooLarge(settings.max_table));
    }
    if let Some(files) = settings.max_files {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
        let most = hard.saturating_sub(u64::from(BASE_DESCRIPTORS));
        if u64::from(files) > most {
            return bad(InvalidSetting::TooManyFiles { files, hard, most });
        }
    }
    Ok(())
}

/// Checks that children that run as `user` may execute `executable`, as the dispatcher starts workers from it.
///
/// # Errors
/// [`Error::BadSetting`] when they can't.
fn check_user(executable: &Executable, user: User) -> Result<(), Error> {
    let metadata = std::fs::metadata(executable.path())?;
    let shift = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    if metadata.mode() >> shift & 1 == 1 {
        return Ok(());
    }
    let (uid, gid) = (user.uid, user.gid);
    Err(InvalidSetting::NotExecutable { uid, gid }.into())
}

/// Returns the names of the mandatory layers that this machine lacks, if any.
pub(crate) fn missing_layers(jail: Jail) -> Option<String> {
    let missing = match jail {
        Jail::Off => Vec::new(),
        Jail::Strict | Jail::BestEffort => jail::missing_layers(),
    };
    let names: Vec<_> = missing.into_iter().map(SandboxLayer::name).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}
