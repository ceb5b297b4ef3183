//! What a process may use: resource limits, and who dies first when the machine is out of memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::JailError;
use mpwasm_types::grants::Access;
use mpwasm_types::role::Role;
use mpwasm_types::settings::{
    BASE_DESCRIPTORS, MAX_ENVIRONMENT, MAX_EXPORT_NAME, MAX_LOADED_GUESTS, MAX_MODELS,
};

/// Largest file that a dispatcher may make: the memory file with what a worker has to know at its start, which is mostly the
/// names of its guests' exports and its environment.
const LARGEST_FILE: u64 = 4 << 20;
const _: () = assert!(
    MAX_LOADED_GUESTS * MAX_MODELS * (MAX_EXPORT_NAME + 16) + 4 * MAX_ENVIRONMENT < LARGEST_FILE as usize
);
/// What is added to the score of a process that may die, in thousandths of the machine's memory: far above those that
/// look after it, which are small.
const EXPENDABLE: i32 = 500;
/// The highest score that there is.
const HIGHEST: i32 = 1000;

/// Steps 1 and 2, but for the workers' score: those can't write it any more, so the dispatcher starts them with it.
pub fn apply(role: Role) -> Result<(), JailError> {
    limit("core dumps", Resource::RLIMIT_CORE, 0)?;
    if matches!(role, Role::Compiler | Role::Tasks)
        && let Some(score) = OomScore::open()
    {
        score.write(score.expendable());
    }
    Ok(())
}

/// Step 9.
pub fn no_more(role: Role, files: Option<Access>) -> Result<(), JailError> {
    match role {
        // It starts workers and threads; its descriptors are some for each worker. And for an ordinary user all processes
        // count, of everybody.
        // Where its workers' tasks may write, these must be able to raise the limit again.
        Role::Dispatcher => match files {
            Some(Access::ReadWrite) => {
                limit_for_now("the size of files", Resource::RLIMIT_FSIZE, LARGEST_FILE)
            }
            _ => limit("the size of files", Resource::RLIMIT_FSIZE, LARGEST_FILE),
        },
        Role::Worker | Role::Compiler | Role::Tasks => {
            let files = files.filter(|_| role == Role::Worker);
            match files {
                Some(Access::ReadWrite) => files_as_large_as_can_be()?,
                _ => limit("the size of files", Resource::RLIMIT_FSIZE, 0)?,
            }
            // A worker whose tasks have files has set the limit for these itself, and can't raise it any more.
            let most = match files {
                Some(_) => getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now),
                None => u64::from(BASE_DESCRIPTORS),
            };
            limit("descriptors", Resource::RLIMIT_NOFILE, most)?;
            // For root the kernel does not count; then seccomp stands alone, which has no clone.
            limit("processes", Resource::RLIMIT_NPROC, 0)
        }
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

/// As [`limit`], but this process and its children may raise it again.
fn limit_for_now(what: &'static str, resource: Resource, most: u64) -> Result<(), JailError> {
    let fail = |error| JailError::new(what, error);
    let (_, hard) = getrlimit(resource).map_err(fail)?;
    setrlimit(resource, most.min(hard), hard).map_err(fail)
}

/// Files may be as large as the user's own limit lets them be. A write past it fails for the guest: no child of the pool
/// is ended by SIGXFSZ ([`reset`](mpwasm_system::inherited::reset)).
fn files_as_large_as_can_be() -> Result<(), JailError> {
    limit_for_now("the size of files", Resource::RLIMIT_FSIZE, u64::MAX)
}

/// The score of this process, held open from before its walls go up: children inherit it at their start.
#[derive(Debug)]
pub struct OomScore {
    file: File,
    own: i32,
}

impl OomScore {
    /// Opens it. `None` where there is none: then all processes are alike to the kernel.
    #[must_use]
    pub fn open() -> Option<Self> {
        let file = File::options()
            .write(true)
            .read(true)
            .open("/proc/self/oom_score_adj")
            .ok()?;
        let mut text = [0; 16];
        let read = file.read_at(&mut text, 0).ok()?;
        let own = std::str::from_utf8(&text[..read]).ok()?.trim().parse().ok()?;
        Some(Self { file, own })
    }

    /// Starts a child that dies before its starter.
    pub fn start_expendable<T>(&self, start: impl FnOnce() -> T) -> T {
        self.write(self.expendable());
        let started = start();
        self.write(self.own);
        started
    }

    fn expendable(&self) -> i32 {
        (self.own + EXPENDABLE).min(HIGHEST)
    }

    /// Where it can't be written the kernel chooses as it does among all others: no wall, and no reason to fail.
    fn write(&self, score: i32) {
        let _ = self.file.write_all_at(score.to_string().as_bytes(), 0);
    }
}
