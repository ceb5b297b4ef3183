//! Resource limits, and the out-of-memory score, by which the kernel chooses the process to kill.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::error::JailError;
use mpwasm_types::grants::Access;
use mpwasm_types::grants::MAX_ENVIRONMENT;
use mpwasm_types::guest_info::{MAX_EXPORT_NAME, MAX_MODELS};
use mpwasm_types::objects::MAX_ARRAY_SIZE;
use mpwasm_types::role::Role;
use mpwasm_types::settings::MAX_LOADED_GUESTS;

/// Descriptors of a pool's process that opens none any more. It has about ten.
pub const BASE_DESCRIPTORS: u32 = 64;

/// Largest file that a dispatcher may write: 4 MiB. It writes the memory file with a worker's first message, most of which
/// is the names of guests' exports and the environment.
const LARGEST_FILE: u64 = 4 << 20;
const _: () = assert!(
    MAX_LOADED_GUESTS * MAX_MODELS * (MAX_EXPORT_NAME + 16) + 4 * MAX_ENVIRONMENT < LARGEST_FILE as usize
);
/// Added to the score of a process that the kernel should kill first, in thousandths of the machine's memory: 500, more
/// than the memory of the processes that manage it.
const EXPENDABLE: i32 = 500;
/// Highest score, see proc(5).
const MAX_SCORE: i32 = 1000;

/// Forbids core dumps, and raises the out-of-memory score (steps 1 and 2). Workers can't write their score any more, so they
/// inherit it ([`OomScore::start_expendable`]).
pub fn apply(role: Role) -> Result<(), JailError> {
    limit("core dumps", Resource::RLIMIT_CORE, 0)?;
    if matches!(role, Role::Compiler | Role::Tasks)
        && let Some(score) = OomScore::open()
    {
        score.write(score.expendable());
    }
    Ok(())
}

/// Lowers the limits of file sizes, descriptors and processes as far as the role permits (step 9).
pub fn forbid_new_resources(role: Role, files: Option<Access>) -> Result<(), JailError> {
    match role {
        // It spawns workers and threads, and opens file descriptors for each worker. For processes the kernel counts all
        // of a user. So only the size of files is limited. If the tasks of its workers may write files, the workers must
        // be able to raise that limit again.
        Role::Dispatcher => match files {
            Some(Access::ReadWrite) => {
                limit_softly("the size of files", Resource::RLIMIT_FSIZE, LARGEST_FILE)
            }
            _ => limit("the size of files", Resource::RLIMIT_FSIZE, LARGEST_FILE),
        },
        // It has a descriptor for each client, and one for each memory of numbers.
        Role::Manager => {
            limit("the size of files", Resource::RLIMIT_FSIZE, MAX_ARRAY_SIZE)?;
            limit("processes", Resource::RLIMIT_NPROC, 0)
        }
        Role::Worker | Role::Compiler | Role::Tasks => {
            let files = files.filter(|_| role == Role::Worker);
            match files {
                Some(Access::ReadWrite) => allow_largest_files()?,
                _ => limit("the size of files", Resource::RLIMIT_FSIZE, 0)?,
            }
            // A worker whose tasks may open files has lowered this limit at its start, by the number of those.
            let most = match files {
                Some(_) => getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(now, _)| now),
                None => u64::from(BASE_DESCRIPTORS),
            };
            limit("descriptors", Resource::RLIMIT_NOFILE, most)?;
            // The kernel does not apply it to root. Then only seccomp, which allows no clone, prevents new processes.
            limit("processes", Resource::RLIMIT_NPROC, 0)
        }
    }
}

/// Limits the CPU time that this process may use from its start on: the kernel ends it when it has used more. May be called
/// again to raise the limit.
///
/// # Errors
/// When the kernel refuses.
pub fn set_cpu_limit(most: Duration) -> Result<(), JailError> {
    let fail = |error| JailError::new("the limit of CPU time", error);
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU).map_err(fail)?;
    let seconds = most.as_secs().saturating_add(1).min(hard);
    setrlimit(Resource::RLIMIT_CPU, seconds, hard).map_err(fail)
}

/// Lowers the soft and hard limit to `most`. The process can't raise them again.
fn limit(what: &'static str, resource: Resource, most: u64) -> Result<(), JailError> {
    let fail = |error| JailError::new(what, error);
    let (_, hard) = getrlimit(resource).map_err(fail)?;
    let most = most.min(hard);
    setrlimit(resource, most, most).map_err(fail)
}

/// Lowers the soft limit only, which this process and its children can raise again.
fn limit_softly(what: &'static str, resource: Resource, most: u64) -> Result<(), JailError> {
    let fail = |error| JailError::new(what, error);
    let (_, hard) = getrlimit(resource).map_err(fail)?;
    setrlimit(resource, most.min(hard), hard).map_err(fail)
}

/// Raises the limit of file sizes to the hard limit of the user. A larger write fails for the guest; SIGXFSZ ends no child
/// of the pool ([`reset`](mpwasm_system::inherited::reset)).
fn allow_largest_files() -> Result<(), JailError> {
    limit_softly("the size of files", Resource::RLIMIT_FSIZE, u64::MAX)
}

/// The out-of-memory score of this process, opened before Landlock applies. Children inherit it when they are spawned.
#[derive(Debug)]
pub struct OomScore {
    file: File,
    own: i32,
}

impl OomScore {
    /// Opens it. Returns `None` where there is no such file: then the kernel chooses a process by its memory alone.
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

    /// Calls `start`, which spawns a child, with a higher score, which the child inherits. So the kernel kills the child before its
    /// starter.
    pub fn start_expendable<T>(&self, start: impl FnOnce() -> T) -> T {
        self.write(self.expendable());
        let started = start();
        self.write(self.own);
        started
    }

    fn expendable(&self) -> i32 {
        (self.own + EXPENDABLE).min(MAX_SCORE)
    }

    /// Errors are ignored: the score only improves the kernel's choice, and is not a layer of the sandbox.
    fn write(&self, score: i32) {
        let _ = self.file.write_all_at(score.to_string().as_bytes(), 0);
    }
}
