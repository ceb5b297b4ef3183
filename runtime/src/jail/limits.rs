//! What a process may use: resource limits, and who dies first when the machine is out of memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::JailError;
use crate::role::Role;

/// Descriptors of a process that opens none any more. It has about ten.
const FEW_FILES: u64 = 64;
/// Largest file that a dispatcher may make: the memory file of a page that it shares with a worker.
const LARGEST_FILE: u64 = 1 << 20;
/// What is added to the badness of a process that may die, in thousandths of the machine's memory: far above those
/// that look after it, which are small, and below what asked to go first.
const EXPENDABLE: &str = "500";

/// Steps 1 and 2, but for the workers' score: those can't write it any more, so the dispatcher starts them with it.
pub fn apply(role: Role) -> Result<(), JailError> {
    limit("core dumps", Resource::RLIMIT_CORE, 0)?;
    match role {
        // Its descriptors are three for each worker.
        Role::Dispatcher => limit("the size of files", Resource::RLIMIT_FSIZE, LARGEST_FILE)?,
        Role::Worker | Role::Compiler | Role::Tasks => {
            limit("the size of files", Resource::RLIMIT_FSIZE, 0)?;
            limit("descriptors", Resource::RLIMIT_NOFILE, FEW_FILES)?;
        }
    }
    if matches!(role, Role::Compiler | Role::Tasks)
        && let Ok(score) = score_file()
    {
        // Without it the kernel chooses as it does among all others: no wall, and no reason to fail.
        let _ = score.write_all_at(EXPENDABLE.as_bytes(), 0);
    }
    Ok(())
}

/// Step 9. For root the kernel does not count; then seccomp stands alone, which has no clone.
pub fn no_more_processes(role: Role) -> Result<(), JailError> {
    match role {
        // One starts workers; both start threads later. And for an ordinary user all processes count, of everybody.
        Role::Dispatcher | Role::Compiler => Ok(()),
        Role::Worker | Role::Tasks => limit("processes", Resource::RLIMIT_NPROC, 0),
    }
}

/// The last backstop of a process whose time is up: the kernel ends it when it has used so much processor time from
/// its start. May be called again, with more.
///
/// # Errors
/// When the kernel refuses.
pub fn processor_time(most: Duration) -> Result<(), JailError> {
    let fail = |error| JailError::new("the limit of processor time", error);
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU).map_err(fail)?;
    let seconds = most.as_secs().saturating_add(1).min(hard);
    setrlimit(Resource::RLIMIT_CPU, seconds, hard).map_err(fail)
}

/// Lowers a limit for good; one that is lower already stays.
fn limit(what: &'static str, resource: Resource, most: u64) -> Result<(), JailError> {
    let fail = |error| JailError::new(what, error);
    let (_, hard) = getrlimit(resource).map_err(fail)?;
    let most = most.min(hard);
    setrlimit(resource, most, most).map_err(fail)
}

fn score_file() -> std::io::Result<File> {
    File::options()
        .write(true)
        .read(true)
        .open("/proc/self/oom_score_adj")
}

/// The dispatcher's own score, held open from before its walls go up: children inherit it at their start.
#[derive(Debug)]
pub struct OomScore {
    file: File,
    own: String,
}

impl OomScore {
    /// Opens it. `None` where there is none: then all processes are alike to the kernel.
    #[must_use]
    pub fn open() -> Option<Self> {
        let file = score_file().ok()?;
        let mut text = [0; 16];
        let read = file.read_at(&mut text, 0).ok()?;
        let own = std::str::from_utf8(&text[..read]).ok()?.trim().to_owned();
        Some(Self { file, own })
    }

    /// Starts a child that dies before its starter.
    pub fn start_expendable<T>(&self, start: impl FnOnce() -> T) -> T {
        let _ = self.file.write_all_at(EXPENDABLE.as_bytes(), 0);
        let started = start();
        let _ = self.file.write_all_at(self.own.as_bytes(), 0);
        started
    }
}
