//! Checks a pool's settings before any process is started.

use std::io;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use crate::cache::Cache;
use crate::error::Error;
use crate::grants::trusted_paths::TrustedPaths;
use crate::invalid_setting::InvalidSetting;
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail::BASE_DESCRIPTORS;
use mpwasm_types::memory::thread_stack;
use mpwasm_types::settings::{Jail, MAX_STACK, MAX_TABLE_ELEMENTS, MAX_WORKERS, MIN_STACK, Settings};

/// The parts of a builder whose settings passed all checks.
pub(crate) struct CheckedSettings {
    pub settings: Settings,
    pub executable: Executable,
    pub cache: Option<Cache>,
    pub trusted: TrustedPaths,
}

/// Checks whether the settings are valid, and whether this process can provide what they ask for.
///
/// # Errors
/// [`Error::BadSetting`].
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
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
