//! Every setting and default of a pool, with the limits and timeouts of its processes.
//!
//! The pool's builder or the command line creates [`Settings`]. They are sent to each process at its start and never change
//! afterwards. The constants are bounds that users do not set, in sections by subject. Sizes are in bytes unless the comment
//! says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::outcome::MAX_FAILURE_MESSAGE;
use crate::retry::Retry;

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
    /// make code that computes up to three times as slow.
    #[default]
    Epoch,
    /// The task's code has no checks. A task that computes or is in a host call ends with its worker process, which another
    /// replaces. A task that sleeps or waits for input ends alone.
    Kill,
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

/// Settings of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of worker processes, at least 1.
    pub size: u32,
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

// Tasks

/// Bytes of args at which a chunk is full, however few items it has. A chunk's frame is as large as that of one task plus this.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Inputs that a map reads ahead of the outcomes that were taken from it.
pub const MAX_INPUTS_AHEAD: u64 = 4096;

// Attempts

/// Workers that may die with a task in flight, claimed or not, before it ends as `crash`.
pub const MAX_WORKER_DEATHS: u32 = 3;
/// Bytes of such messages for all tasks that have not ended: about 16 000 of the longest.
pub const MAX_ATTEMPT_MESSAGES: usize = 16 << 20;

// Guests and their compilation

/// Largest file of a guest: 192 MiB. Compiling takes many times its size, and the parent, which holds the file while it
/// loads the guest, should stay below 256 MiB.
pub const MAX_GUEST_FILE: u64 = 192 << 20;
/// Address space of the compiler. Cranelift needs some hundred times the size of a large function.
pub const COMPILER_MEMORY: u64 = 4 << 30;
/// Address space that each thread of the compiler adds: its stack, an arena of the allocator (64 MiB reserved, twice that while
/// it is created) and a function of usual size.
pub const COMPILER_THREAD_MEMORY: u64 = 256 << 20;
/// Stack of a compiler thread: the default of a process's first thread. Deeply nested code needs much of it.
pub const COMPILER_STACK: usize = 8 << 20;
/// Bytes of a guest's file per compiler thread. Compiling that much takes some hundred times as long as starting a thread.
pub const BYTES_PER_COMPILER_THREAD: u64 = 32 << 10;
/// Bytes of functions that may be compiled at the same time in the worst case. A guest that could exceed it is compiled by one
/// thread, since [`COMPILER_MEMORY`] might be too little.
pub const MAX_PARALLEL_BODIES: usize = 4 << 20;
/// Time after which a compilation is announced on the terminal: about as long as a person waits before wondering why.
pub const COMPILE_NOTICE_DELAY: Duration = Duration::from_secs(1);
/// Default size of the cache of compiled guests: some hundreds of them.
pub const CACHE_LIMIT: u64 = 512 << 20;
/// Age at which an unfinished file in the cache counts as left over from a writer that died.
pub const STALE_CACHE_FILE_AGE: Duration = Duration::from_secs(3600);
/// Largest value of [`Settings::max_table`]: no module that the engine accepts starts with more elements.
pub const MAX_TABLE_ELEMENTS: u32 = 10_000_000;
/// Bytes of a table element.
pub const TABLE_ELEMENT_SIZE: u64 = 8;

// What guests get

/// Symbolic links that are followed along a path that must be trusted: as many as the kernel follows (path_resolution(7)).
pub const MAX_LINKS: usize = 40;
/// Default for the files that a task can have open at once: the usual limit of a process.
pub const MAX_FILES: u32 = 1024;

// Stacks

/// Smallest stack of a guest: a page more than the deepest frame of an import takes from it.
pub const MIN_STACK: u64 = 64 << 10;
/// Largest stack of a guest: the whole 32-bit memory of a program that keeps everything on its stack.
pub const MAX_STACK: u64 = 4 << 30;
/// Stack for host calls that a thread has beside the guest's stack.
const HOST_STACK: u64 = 3 << 20;
/// Stack of the command line's first thread: the default of Linux. Parsing the options takes some hundred KiB.
pub const MAIN_STACK: u64 = 8 << 20;
/// Smallest stack with which the command line starts: twice the deepest use seen in the command line or a child.
pub const MIN_MAIN_STACK: u64 = 512 << 10;

/// Returns the stack size of a thread that runs guests with a stack of `guest` bytes.
#[must_use]
pub const fn thread_stack(guest: u64) -> usize {
    // At most `MAX_STACK` and some MiB.
    guest.saturating_add(HOST_STACK) as usize
}

// Memory of processes

/// Bytes that a worker needs beside the memory, stack, tables, args and results of its task: mostly the engine's structures.
pub const WORKER_OVERHEAD: u64 = 256 << 20;
/// Bytes of its tasks' memories that an idle worker keeps instead of giving their pages back to the kernel: 32 MiB. A task that writes
/// as much then runs without page faults, which cost about thirteen times as much as restoring the pages.
const KEEP_RESIDENT: u64 = 32 << 20;
/// Bytes that all workers of a pool keep in this way: 256 MiB, as long as each may keep [`MIN_KEEP_RESIDENT`].
const POOL_KEEP_RESIDENT: u64 = 256 << 20;
/// Bytes that a worker of any pool may keep in this way: 1 MiB, which is more than most tasks write.
const MIN_KEEP_RESIDENT: u64 = 1 << 20;
/// Time without a task after which a worker gives this memory back: 1 s. The pages of the next task cost some milliseconds then.
pub const RESIDENT_MEMORY_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the bytes of its tasks' memories that each of `size` workers keeps between tasks, where `memory` is the cap of a task.
#[must_use]
pub fn keep_resident(memory: u64, size: u32) -> u64 {
    let share = POOL_KEEP_RESIDENT / u64::from(size.max(1));
    KEEP_RESIDENT.min(memory).min(share).max(MIN_KEEP_RESIDENT)
}

/// Bytes that the dispatcher needs beside the memory of callbacks. What waits in it is bounded.
pub const DISPATCHER_MEMORY: u64 = 512 << 20;
/// Payload size from which bytes are passed on without a copy. Copying less costs less than counting references.
pub const LARGE_PAYLOAD: usize = 64 << 10;
/// Largest buffer that is kept for the next message. Getting its pages from the kernel again costs more than copying into them.
pub const MAX_RETAINED_BUFFER: usize = 4 << 20;
/// Bytes of freed heap that a process keeps, for the same reason: it holds the payloads that wait or run.
pub const RETAINED_HEAP: i32 = 16 << 20;

// File descriptors

/// Descriptors of a pool's process that opens none any more. It has about ten.
pub const BASE_DESCRIPTORS: u32 = 64;
/// Descriptors of a process that holds a pool's guests, beside those for guests and workers. It has about ten.
pub const OTHER_DESCRIPTORS: u64 = 32;
/// Descriptors that the dispatcher has for each worker slot: socket, pidfd and control pipe.
pub const WORKER_DESCRIPTORS: u64 = 3;
/// Descriptors that stay free for the program around a pool when its soft limit is raised.
pub const SPARE_DESCRIPTORS: u64 = 512;

// Workers

/// Workers of a pool. Each takes three of the dispatcher's descriptors, and more while its process is replaced.
pub const MAX_WORKERS: u32 = 4096;
/// Guests that a worker process loads at its start: all of the pool's, while there are no more. Each takes about 0.1 ms and one
/// descriptor of a message that can carry 253.
pub const MAX_LOADED_GUESTS: usize = 64;
/// Number of latest tasks whose guests count as recently used: about as many as wait in the dispatcher.
pub const RECENT_TASKS: u64 = 1024;
/// Time without a report after which a worker is assumed to run a long task. A task that only this worker could run is then
/// worth another process, which starts in some milliseconds.
pub const LONG_TASK_THRESHOLD: Duration = Duration::from_millis(20);
/// Longest time for which later tasks overtake one whose guest no worker has: enough to amortise the start of a process.
pub const MAX_OVERTAKING_TIME: Duration = Duration::from_millis(20);
/// Time from the start of a worker until it must be ready. After that it is killed.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from SIGKILL until a worker must be reaped. After that (state D) it is abandoned.
pub const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// Workers in a row that end before any becomes ready, after which the pool fails.
pub const MAX_FAILED_SPAWNS: u32 = 5;
/// First backoff after a failed spawn. It doubles up to [`MAX_RESPAWN_DELAY`].
pub const RESPAWN_DELAY: Duration = Duration::from_millis(10);
/// Longest backoff between two spawns in one slot.
pub const MAX_RESPAWN_DELAY: Duration = Duration::from_secs(1);

// Deadlines of tasks
//
// A task that does not end at its deadline is stopped in four steps: the watchdog interrupts it in the engine, its sleeps end, the
// watchdog ends the worker process, and the dispatcher sends SIGKILL.

/// Third step: time after a task's deadline at which the worker exits together with the task.
pub const WATCHDOG_GRACE: Duration = Duration::from_millis(100);
/// Fourth step: time after a task's deadline at which the dispatcher kills the worker.
pub const DISPATCHER_GRACE: Duration = Duration::from_millis(150);
/// Time in which an idle worker must claim an offer before another worker gets it. For large args it counts from the last
/// time that the worker read some of them.
pub const CLAIM_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest claim timeout of a task. It doubles each time that all workers have missed it.
pub const MAX_CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that a worker must read for each extension of its claim timeout.
pub const MIN_PROGRESS: usize = 64 << 10;
/// Time without a sign of life after which a worker that missed its claim timeout is killed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(2);

// Callbacks

/// Callbacks that may wait before no more tasks are offered.
pub const CALLBACK_QUEUE: usize = 1024;
/// Bytes of results, errors and args that may wait for callbacks before no more tasks are offered. The callback thread may hold
/// as many again.
pub const CALLBACK_QUEUE_BYTES: usize = 8 << 20;
/// Time after a callback's deadline at which its thread is abandoned. A late callback delays only other callbacks, so a busy
/// machine gets the time to run the thread.
pub const CALLBACK_GRACE: Duration = Duration::from_secs(1);
/// Timeouts in a row after which a model's callbacks are switched off.
pub const MAX_CALLBACK_TIMEOUTS: u32 = 3;

// Messages between processes

/// Longest version or build in a child's handshake. Both are short, and a refused one is shown.
pub const MAX_HELLO: usize = 128;
/// Longest log line in a message: the message of a callback's failure and a sentence around it.
pub const MAX_LOG_TEXT: usize = MAX_FAILURE_MESSAGE + (1 << 10);
/// Longest output in one message. A longer write of a guest becomes several messages.
pub const OUTPUT_PIECE: usize = 64 << 10;
/// Bytes of outcomes and output that may wait in the dispatcher for the parent before it reads no more tasks.
pub const OUTCOME_HIGH_WATER: usize = 8 << 20;
/// Time to wait for the dispatcher's reply about what the pool is doing, which comes behind the outcomes, and for the rest of a
/// compiler's reply that had begun at its timeout.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

// Output and logs

/// Longest log line of a guest. The rest is cut.
pub const MAX_LOG_LINE: usize = 64 << 10;
/// Bytes that a log line takes of the output cap beside its text: each is a message of its own.
pub const LOG_LINE_COST: usize = 16;
/// Log cap of a command whose output has no cap. Its log is not streamed and may stay in memory.
pub const MAX_STREAMED_LOG: u64 = 1 << 20;
/// Longest time for which output waits in the worker for a newline.
pub const OUTPUT_FLUSH_DELAY: Duration = Duration::from_millis(50);
/// Size at which output without a newline is sent.
pub const OUTPUT_FLUSH_SIZE: usize = 4 << 10;
/// Bytes of incomplete output lines in the process that prints them: some thousand lines. Output beyond that is printed as it
/// comes.
pub const MAX_PARTIAL_LINES: usize = 16 << 20;
/// Bytes of log lines and warnings that wait unread where a child does not wait for its reader: more than a command may log with
/// every byte escaped. Lines beyond that are dropped.
pub const MAX_UNREAD_LOG: usize = 32 << 20;
/// Time without a reader after which output of a child past its deadline is dropped: longer than a worker takes to end.
pub const UNREAD_OUTPUT_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest name from a guest, or key of a task, that a message shows, in characters.
pub const MAX_DISPLAYED_NAME: usize = 64;
/// Longest message of the engine about a refused guest that is shown, in characters. It may quote the guest.
pub const MAX_DISPLAYED_ERROR: usize = 1000;

/// Returns how many bytes a task may log under this output cap.
#[must_use]
pub const fn log_cap(max_output: u64) -> u64 {
    match max_output {
        u64::MAX => MAX_STREAMED_LOG,
        capped => capped,
    }
}

// The command line

/// Bytes of a record beside args and data, with all escapes: messages of up to a hundred attempts, the key and a backtrace.
const RECORD_OVERHEAD: u64 = 2 << 20;
/// Bytes of results, output and log lines that may wait for their turn with `--keep-order` before no more tasks are pushed. What
/// the tasks in flight add is bounded by their number.
pub const ORDER_HIGH_WATER: usize = 64 << 20;
/// Bytes of them that wait in memory: a quarter of what the parent may have, since a growing buffer can take twice its size. The
/// others wait in a temporary file.
pub const ORDER_MEMORY: usize = 32 << 20;
/// Smallest block that is written to that file, and what each task may have in memory in any case. The index of the blocks is
/// small beside it.
pub const ORDER_BLOCK: usize = 32 << 10;
/// Bytes of tasks without a record that wait until `--resume` has read all records. Nothing runs until then, so they may take a
/// quarter of what the parent may have.
pub const RESUME_BUFFER: usize = 64 << 20;
/// Records that `--resume` can read. Each takes 33 bytes of a table that is at most seven eighths full and half of which may be
/// a copy while it grows.
pub const MAX_LOG_RECORDS: usize = 7 << 19;
/// Guests that the records of a file may name: more than a readable command line can.
pub const MAX_LOG_GUESTS: usize = 1024;
/// Keys that a run remembers to find duplicates. Each takes 25 bytes of a table that is at most seven eighths full: 105 MB, and
/// half as much more while it grows. Later keys are not compared.
pub const MAX_KEYS: usize = 7 << 19;
/// Bytes of all lists of inputs in files beside the first one, which is not kept: some million short inputs.
pub const MAX_COMBINED_INPUTS: usize = 64 << 20;
/// Longest input that `--tag` puts before a task's lines, in characters. It is kept for every task that has not ended and
/// written with each line.
pub const MAX_TAG: usize = 256;
/// Files of running tasks that `--results-dir` holds open: enough for those that print at the same moment, and far below the
/// usual limit of a process (1024).
pub const MAX_OPEN_OUTPUTS: usize = 64;
