//! [`InvalidSetting`]: why a setting of a pool or of a command is refused.

use std::io;

use mpwasm_types::escape::Untrusted;
use mpwasm_types::grants::InvalidGrant;
use mpwasm_types::objects::{MAX_LABEL, MAX_OBJECT_NAMES};
use mpwasm_types::settings::{MAX_TABLE_ELEMENTS, MAX_WORKERS};

/// Why a setting of a pool or of a command is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// The pool has no worker.
    #[error("a pool of no workers runs no tasks: its size must be at least 1")]
    NoWorkers,
    /// The pool has more workers than a pool can have.
    #[error("a pool has at most {MAX_WORKERS} workers")]
    TooManyWorkers,
    /// A worker is replaced before its first task.
    #[error("a worker that is replaced after 0 tasks runs none: the number must be at least 1")]
    NoTasksPerWorker,
    /// A timeout is zero.
    #[error("a timeout is zero: it must be longer")]
    ZeroTimeout,
    /// Tasks are to be stopped by signals, on a processor where they can't be.
    #[error("tasks are stopped by signals (--interrupt signal) on x86-64 only: choose epoch or kill")]
    NoSignals,
    /// Another user is set, and this process does not run as root.
    #[error("only root can run the pool's processes as another user")]
    NotRoot,
    /// The other user is root.
    #[error("the user of the pool's processes is root: name another one, or none")]
    UserIsRoot,
    /// The number of the other user or group is the one that the kernel takes for "unchanged".
    #[error("4294967295 is the number of no user and no group")]
    NoUser,
    /// Another user is set, and the jail is off.
    #[error("another user is part of the jail, which is off")]
    UserWithoutJail,
    /// The other user may not execute the executable of the pool's processes.
    #[error("user {uid}:{gid} may not execute this executable, of which the pool's processes are copies")]
    NotExecutable {
        /// The user's id.
        uid: u32,
        /// The group's id.
        gid: u32,
    },
    /// The grants are invalid.
    #[error(transparent)]
    Grants(#[from] InvalidGrant),
    /// Scratch directories can't be created.
    #[error("scratch directories can't be made here{}: {why}", mount_hint(*.is_denied))]
    NoScratch {
        /// Whether this process lacks the right to mount file systems.
        is_denied: bool,
        /// The system's error.
        why: &'static str,
    },
    /// Args, results or output may be larger than a message can be.
    #[error("args, results and output are at most 1 GiB each")]
    PayloadTooLarge,
    /// The stack of a guest is too small or too large: this number of bytes.
    #[error("a guest's stack of {0} bytes (--stack) is not between 64 KiB and 4 GiB")]
    StackSize(u64),
    /// No thread can have such a stack here.
    #[error("no thread can have a guest's stack of {stack} bytes (--stack): {error}")]
    NoStack {
        /// The guest's stack, bytes.
        stack: u64,
        /// The system's error.
        error: io::Error,
    },
    /// Tables may have more elements than the engine supports: this number.
    #[error(
        "tables of {0} elements (--max-table) are larger than any that the engine has: {MAX_TABLE_ELEMENTS}"
    )]
    TablesTooLarge(u32),
    /// A task may have more files open than a process can have.
    #[error(
        "a task can't have {files} files open (--max-files): this process may have {hard} descriptors (ulimit -Hn), which \
         leaves a task {most}"
    )]
    TooManyFiles {
        /// The setting.
        files: u32,
        /// The hard limit of descriptors of this process.
        hard: u64,
        /// The most files that a task can have open under this limit.
        most: u64,
    },
    /// A command has an instruction budget, and its guest was loaded without one.
    #[error("{name} was compiled without a count of instructions: load it with some fuel")]
    NoFuelCount {
        /// The guest's name.
        name: String,
    },
    /// A pool is given objects of several managers.
    #[error("the objects of a pool have to be of one manager")]
    SeveralManagers,
    /// A pool is granted more objects by name than it can have: this number.
    #[error("{0} objects are granted by name; at most {MAX_OBJECT_NAMES} can be")]
    TooManyObjects(usize),
    /// No object can have this name in a pool.
    #[error(
        "`{}` can't be the name of an object: a name has 1 to {MAX_LABEL} bytes and does not begin with a brace",
        Untrusted::from(.0)
    )]
    ObjectName(String),
    /// Two objects have this name in a pool.
    #[error("two objects are granted as `{}`: names have to differ", Untrusted::from(.0))]
    ObjectTwice(String),
    /// There is input for a command without a stdin.
    #[error("there is input for a command whose stdin is not piped, or closed")]
    NoStdin,
}

fn mount_hint(is_denied: bool) -> &'static str {
    match is_denied {
        true => " (that takes root, or a machine with user namespaces)",
        false => "",
    }
}
