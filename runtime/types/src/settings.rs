//! Every setting of a pool, with its default and bounds.
//!
//! The pool's builder or the command line creates [`Settings`]. They are sent to each process at its start and never change
//! afterwards. Sizes are in bytes unless the comment says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::output::{LOG_LINE_COST, MAX_LOG_TEXT, log_cap};
use crate::retry::Retry;

/// Workers of a pool. Each takes three of the dispatcher's descriptors, and more while its process is replaced.
pub const MAX_WORKERS: u32 = 4096;

/// Guests that a worker process loads at its start: all of the pool's, while there are no more. Each takes about 0.1 ms and one
/// descriptor of a message that can carry 253.
pub const MAX_LOADED_GUESTS: usize = 64;

/// Smallest stack of a guest: a page more than the deepest frame of an import takes from it.
pub const MIN_STACK: u64 = 64 << 10;

/// Largest stack of a guest: the whole 32-bit memory of a program that keeps everything on its stack.
pub const MAX_STACK: u64 = 4 << 30;

/// Largest value of [`Settings::max_table`]: no module that the engine accepts starts with more elements.
pub const MAX_TABLE_ELEMENTS: u32 = 10_000_000;

/// Default for the files that a task can have open at once: the usual limit of a process.
pub const MAX_FILES: u32 = 1024;

/// Bytes of a record beside args and data, with all escapes: messages of up to a hundred attempts, the key and a backtrace.
const RECORD_OVERHEAD: u64 = 2 << 20;

/// Says how strictly the sandbox around each process, beside WebAssembly, is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Jail {
    /// Refuses to start on a machine that lacks a mandatory layer.
    Strict,
    /// Uses every layer that the machine has, and warns once about a missing mandatory layer.
    #[default]
    BestEffort,
    /// Uses no layer.
    Off,
}

/// A user and group by their numeric ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id. There are no supplementary groups.
    pub gid: u32,
}

/// Says what separates tasks from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A fresh instance per task, in a worker process that runs one task after another.
    #[default]
    Instance,
    /// A fresh instance in a fresh worker process, which runs one task or the items of one chunk.
    Process,
}

/// Says how a running task is stopped: at its deadline, and when it is cancelled.
///
/// Callbacks, folds and `tasks` run outside of workers. They are always interrupted as with [`Interrupt::Epoch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Interrupt {
    /// The task's code checks at each call and each turn of a loop whether it has to end. The worker process is kept. The checks
    /// make code that computes up to 2.4 times as slow.
    #[default]
    Epoch,
    /// The task's code has no checks. A signal to the thread that runs it makes it trap, wherever it computes, and the worker
    /// process is kept. A task in a single operation that fills or copies much memory ends with its worker process, as with
    /// [`Interrupt::Kill`], 100 ms after its deadline. Only on x86-64.
    Signal,
    /// The task's code has no checks. A task that computes or is in a host call ends with its worker process, which another
    /// replaces. A task that sleeps or waits for input ends alone.
    Kill,
}

impl Interrupt {
    /// Returns whether tasks can be stopped in this way on this processor.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        !matches!(self, Self::Signal) || cfg!(target_arch = "x86_64")
    }
}

/// Streams of a command that it sees as terminals. A program then writes each line when it is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminals {
    /// Whether stdin is a terminal.
    pub stdin: bool,
    /// Whether stdout is a terminal.
    pub stdout: bool,
    /// Whether stderr is a terminal.
    pub stderr: bool,
}

/// Fewest workers that a pool has by default beyond its size while tasks wait: 16. Fewer would leave a small pool without a worker for
/// the producer behind some consumers.
pub const MIN_LENT_WORKERS: u32 = 16;

/// Settings of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of worker processes, at least 1.
    pub size: u32,
    /// Most further workers that run tasks while others wait for shared objects. `None` means as many as
    /// [`size`](Self::size), and at least [`MIN_LENT_WORKERS`].
    pub max_waiting: Option<u32>,
    /// What separates tasks from one another.
    pub isolation: Isolation,
    /// Timeout of a task that has none of its own.
    pub timeout: Duration,
    /// How a running task is stopped.
    pub interrupt: Interrupt,
    /// Largest linear memory of a task.
    pub memory: u64,
    /// Largest result.
    pub max_result: u64,
    /// Bytes of stdout, stderr and log of one task or callback. More is cut, and the outcome says so.
    pub max_output: u64,
    /// Whether a command's stdout and stderr become its result. Otherwise they are printed as they come, and the result has
    /// only the exit code.
    pub capture: bool,
    /// Largest args.
    pub max_args: u64,
    /// Timeout of one callback.
    pub callback_timeout: Duration,
    /// Largest linear memory of all callback instances of one guest together.
    pub callback_memory: u64,
    /// Instruction budget of a task. `None` counts no instructions.
    pub fuel: Option<u64>,
    /// Stack of a guest's calls, from [`MIN_STACK`] to [`MAX_STACK`]. A stack that the program keeps in its linear memory is not
    /// part of it: the program's linker sets its size.
    pub stack: u64,
    /// Elements of each table of a guest, at the start and later. At most [`MAX_TABLE_ELEMENTS`].
    pub max_table: u32,
    /// Files that a task can have open at once. `None` means [`MAX_FILES`], or fewer where the hard limit of this process
    /// (`ulimit -Hn`) is lower.
    pub max_files: Option<u32>,
    /// Tasks that a guest's `tasks` export may push.
    pub max_tasks: u64,
    /// How strictly the sandbox is required.
    pub jail: Jail,
    /// User that the pool's processes switch to from root. `None` keeps the user.
    pub user: Option<User>,
    /// Timeout of the compilation of one guest.
    pub compile_timeout: Duration,
    /// Retry policy of a task that has none of its own.
    pub retry: Retry,
    /// Tasks after which a worker process is replaced. `None` never replaces it.
    pub max_tasks_per_worker: Option<u32>,
    /// Directories, variables and scratch space that tasks get.
    pub grants: Grants,
    /// Whether a task begins only after the reporter has returned from the outcomes of all tasks that ended before.
    pub confirm_outcomes: bool,
}

impl Settings {
    /// Returns the largest size of a record. The record of a failure has args, data and the rest.
    #[must_use]
    pub const fn longest_record(&self) -> u64 {
        self.max_result
            .saturating_add(self.max_args)
            .saturating_add(RECORD_OVERHEAD)
    }

    /// Returns how much a task and its callback may print and log in one attempt. Each has a cap of its own, and a failed
    /// callback adds a log line.
    #[must_use]
    pub const fn attempt_output_cap(&self) -> u64 {
        let failure = (MAX_LOG_TEXT + LOG_LINE_COST) as u64;
        log_cap(self.max_output).saturating_mul(2).saturating_add(failure)
    }

    /// Returns how many workers the pool may have beyond [`size`](Self::size) while tasks wait for shared objects. All together are
    /// at most [`MAX_WORKERS`].
    #[must_use]
    pub fn lent_workers(&self) -> u32 {
        let most = self.max_waiting.unwrap_or(self.size.max(MIN_LENT_WORKERS));
        most.min(MAX_WORKERS.saturating_sub(self.size))
    }

    /// Returns the number of tasks after which a worker process is replaced.
    #[must_use]
    pub fn tasks_per_process(&self) -> Option<u32> {
        match self.isolation {
            Isolation::Instance => self.max_tasks_per_worker,
            Isolation::Process => Some(1),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            max_waiting: None,
            isolation: Isolation::default(),
            timeout: Duration::from_secs(30),
            interrupt: Interrupt::default(),
            memory: 256 << 20,
            max_result: 16 << 20,
            max_output: 1 << 20,
            capture: true,
            max_args: 16 << 20,
            callback_timeout: Duration::from_secs(1),
            callback_memory: 64 << 20,
            fuel: None,
            stack: 1 << 20,
            max_table: 1_000_000,
            max_files: None,
            max_tasks: 1_000_000,
            jail: Jail::default(),
            user: None,
            compile_timeout: Duration::from_secs(30),
            retry: Retry::default(),
            max_tasks_per_worker: None,
            grants: Grants::default(),
            confirm_outcomes: false,
        }
    }
}
