//! Checks a pool's settings before any process is started.

use std::io;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use crate::cache::Cache;
use crate::error::Error;
use crate::grants::trusted_paths::TrustedPaths;
use mpwasm_host::error::ChildError;
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
    let bad = |what: &str| Err(Error::BadSetting(what.to_owned()));
    if settings.size == 0 {
        return bad("a pool has at least one worker");
    }
    if settings.max_tasks_per_worker == Some(0) {
        return bad("a worker runs at least one task");
    }
    let timeouts = [
        settings.timeout,
        settings.callback_timeout,
        settings.compile_timeout,
    ];
    if timeouts.iter().any(Duration::is_zero) {
        return bad("a timeout is longer than zero");
    }
    if let Some(user) = settings.user {
        if !nix::unistd::geteuid().is_root() {
            return bad("only root can run the pool's processes as another user");
        }
        if user.uid == 0 {
            return bad("the user of the pool's processes is to be another than root");
        }
        // To the kernel this number means "unchanged".
        if [user.uid, user.gid].contains(&u32::MAX) {
            return bad("4294967295 is the number of no user and no group");
        }
        if settings.jail == Jail::Off {
            return bad("another user is part of the jail, which is off");
        }
    }
    check_resources(settings)?;
    if let Err(error) = settings.grants.check() {
        return bad(&error.to_string());
    }
    if settings.size > MAX_WORKERS {
        return bad(&format!("a pool has at most {MAX_WORKERS} workers"));
    }
    // Output that is not captured is streamed and never held as a whole.
    let max_output = if settings.capture { settings.max_output } else { 0 };
    let largest = settings.max_result.max(settings.max_args).max(max_output);
    if largest > mpwasm_protocol::messages::MAX_PAYLOAD {
        return bad("args, results and output are at most 1 GiB each");
    }
    Ok(())
}

/// Checks the limits of a guest besides its memory: stack, tables and open files.
fn check_resources(settings: &Settings) -> Result<(), Error> {
    let bad = |what: String| Err(Error::BadSetting(what));
    let stack = settings.stack;
    if !(MIN_STACK..=MAX_STACK).contains(&stack) {
        return bad(format!(
            "a guest's stack of {stack} bytes (--stack) is not between 64 KiB and 4 GiB"
        ));
    }
    // A worker could fail to allocate such a stack, for example under a limit of address space. So it is tried here.
    if stack > Settings::default().stack {
        let thread = thread::Builder::new()
            .stack_size(thread_stack(stack))
            .spawn(|| {});
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(error) => return bad(ChildError::NoStack { stack, error }.to_string()),
        }
    }
    if settings.max_table > MAX_TABLE_ELEMENTS {
        return bad(format!(
            "tables of {} elements (--max-table) are larger than any that the engine has: {MAX_TABLE_ELEMENTS}",
            settings.max_table
        ));
    }
    if let Some(files) = settings.max_files {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
        let most = hard.saturating_sub(u64::from(BASE_DESCRIPTORS));
        if u64::from(files) > most {
            return bad(format!(
                "a task can't have {files} files open (--max-files): this process may have {hard} descriptors (ulimit \
                 -Hn), which leaves a task {most}"
            ));
        }
    }
    Ok(())
}
