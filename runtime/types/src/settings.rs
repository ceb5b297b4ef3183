//! Every limit and every default, in one place.
//!
//! [`Settings`] is made by the pool's builder or the command line, travels to each process when it starts, and
//! never changes afterwards. The constants below it are the timeouts and bounds of the topology itself
//! (ARCHITECTURE.md), which users do not set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::retry::Retry;

/// How much of the second wall must hold: what stands around each process beside WebAssembly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Jail {
    /// A machine that lacks a mandatory layer is refused.
    Strict,
    /// All that the machine has is used. A mandatory layer that it lacks is told of, once.
    #[default]
    BestEffort,
    /// None of it.
    Off,
}

/// A user, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's; there are no supplementary ones.
    pub gid: u32,
}

/// What separates tasks from one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// A fresh instance per task, in a worker process that runs one task after the other.
    #[default]
    Instance,
    /// A fresh instance in a fresh worker process, which runs this one task, or the items of one chunk, and no other.
    Process,
}

/// Streams of a command that are reported to it as terminals: it then prints each line when the line is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminals {
    /// Whether stdin is one.
    pub stdin: bool,
    /// Whether stdout is one.
    pub stdout: bool,
    /// Whether stderr is one.
    pub stderr: bool,
}

/// What the user may set, for the whole pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Number of worker processes, at least 1.
    pub size: u32,
    /// What separates tasks from one another.
    pub isolation: Isolation,
    /// Timeout of a task that names none.
    pub timeout: Duration,
    /// Cap of a task's linear memory, bytes.
    pub memory: u64,
    /// Largest result, bytes.
    pub max_result: u64,
    /// Most bytes of stdout, stderr and log of one task or one callback; more is cut and flagged.
    pub max_output: u64,
    /// Whether what a command writes to its stdout and stderr is its result. Otherwise it is printed as it comes, and the
    /// result is the exit code alone.
    pub capture: bool,
    /// Largest args, bytes.
    pub max_args: u64,
    /// Deadline of one callback.
    pub callback_timeout: Duration,
    /// Cap of the linear memory of all callback instances of one guest, bytes.
    pub callback_memory: u64,
    /// Instruction budget of a task; `None` counts nothing.
    pub fuel: Option<u64>,
    /// Stack of a guest, bytes: how deep its calls can be. From [`MIN_STACK`] to [`MAX_STACK`]. What a program
    /// keeps on a stack of its own in its linear memory is not in it: the program's linker has set the size of that.
    pub stack: u64,
    /// Elements that each table of a guest may have, at the start and later; at most [`MAX_TABLE_ELEMENTS`].
    pub max_table: u32,
    /// Files that a task can have open at once. `None` for [`MAX_FILES`], or less where this process's own limit
    /// (`ulimit -Hn`) is lower.
    pub max_files: Option<u32>,
    /// Most tasks that a guest's `tasks` may push.
    pub max_tasks: u64,
    /// How much of the jail must hold.
    pub jail: Jail,
    /// Who the pool's processes shall be instead of root; `None` changes nothing.
    pub user: Option<User>,
    /// How long the compilation of one guest may take.
    pub compile_timeout: Duration,
    /// When a task that failed is tried again, where the task itself does not say.
    pub retry: Retry,
    /// Tasks that a worker process runs before another takes its place; `None` for any number.
    pub max_tasks_per_worker: Option<u32>,
    /// What tasks get beside their args.
    pub grants: Grants,
    /// Whether no task begins before the reporter has returned from the outcomes of all tasks that ended before it.
    pub confirm_outcomes: bool,
}

impl Settings {
    /// Bytes that a record can have: those of a failure have the args, the data and what else there is.
    #[must_use]
    pub const fn longest_record(&self) -> u64 {
        self.max_result
            .saturating_add(self.max_args)
            .saturating_add(RECORD_OVERHEAD)
    }

    /// What a task and its callback may print and log in one attempt, bytes: each has a cap of its own, and that a callback
    /// has failed is logged.
    pub const fn attempt_output_cap(&self) -> u64 {
        let failure = (MAX_LOG_TEXT + LOG_LINE_COST) as u64;
        log_cap(self.max_output).saturating_mul(2).saturating_add(failure)
    }

    /// Tasks that one worker process may run.
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

/// Bytes of compiled guests that are kept on disk, where the user does not say otherwise: some hundreds of them.
pub const CACHE_LIMIT: u64 = 512 << 20;
/// A file that a writer of the cache has not finished after so long is left over from one that died.
pub const STALE_CACHE_FILE_AGE: Duration = Duration::from_secs(3600);
/// Bytes of a task's key in a task line, or pushed by a guest: the parent keeps it for every task that is on its way.
pub const MAX_KEY: usize = 4 << 10;
/// Bytes of the names and values of all variables of guests' environment: it is copied for each instance that asks for it.
pub const MAX_ENVIRONMENT: usize = 128 << 10;
/// Directories that a pool can grant: their descriptors travel in one message.
pub const MAX_DIRS: usize = 32;
/// Longest chain of symbolic links that is followed along a path to a place that is to be trusted: as many as the kernel
/// follows (path_resolution(7)).
pub const MAX_LINKS: usize = 40;
/// Bytes of a guest's file. What a guest has beyond code and data is better not in it, and compiling costs many times
/// its size. The parent holds the file while it loads the guest, and is to have no more than 256 MiB.
pub const MAX_GUEST_FILE: u64 = 192 << 20;
/// Address space of the compiler, bytes. Cranelift needs some hundred times the size of a large function.
pub const COMPILER_MEMORY: u64 = 4 << 30;
/// Address space of the compiler for each of its threads, bytes: a stack, a heap of the allocator's, which reserves 64 MiB
/// and twice that while it is made, and a function of usual size.
pub const COMPILER_THREAD_MEMORY: u64 = 256 << 20;
/// Stack of a thread of the compiler, bytes: what the first thread of a process has by default. Deeply nested code takes
/// much of it.
pub const COMPILER_STACK: usize = 8 << 20;
/// Bytes of a guest's file for each thread of its compiler: to compile these takes some hundred times as long as to start
/// a thread.
pub const BYTES_PER_COMPILER_THREAD: u64 = 32 << 10;
/// Bytes of functions that may be compiled at the same time, in the worst case: with more, [`COMPILER_MEMORY`] might be too
/// little, and a guest is compiled by one thread.
pub const MAX_PARALLEL_BODIES: usize = 4 << 20;
/// Time after which a compilation is announced on the terminal: about as long as a person waits before wondering why.
pub const COMPILE_NOTICE_DELAY: Duration = Duration::from_secs(1);
/// Models that one guest may have.
pub const MAX_MODELS: usize = 64;
/// Frames of a guest's backtrace that are kept.
pub const MAX_BACKTRACE: usize = 32;
/// Bytes of one frame of a backtrace, as one process tells it another: twice what the longest name takes, which has
/// 256 characters.
pub const MAX_BACKTRACE_FRAME: usize = 2 << 10;
/// Bytes of the message of a failure, as one process tells it another: twice what is kept of a guest's own message.
pub const MAX_FAILURE_MESSAGE: usize = 128 << 10;
/// Bytes of a log line, as one process tells it another: the message of a callback's failure, and a sentence around it.
pub const MAX_LOG_TEXT: usize = MAX_FAILURE_MESSAGE + (1 << 10);
/// Bytes of what a process of the pool says about itself or a guest in one message: a warning, a reason, an event. Each is
/// a sentence or two, which may quote [`MAX_DISPLAYED_ERROR`] characters, each escaped as ten bytes.
pub const MAX_NOTE: usize = 16 << 10;
/// Bytes of the version and of the build in a child's hello: both are short, and a refused one is shown.
pub const MAX_HELLO: usize = 128;
/// Bytes of one piece of output in a message. What a guest writes at once may be longer, and becomes several pieces.
pub const OUTPUT_PIECE: usize = 64 << 10;
/// Bytes of all lines of output that have begun and wait for their end, in the process that prints them. It is some
/// thousand lines. What does not fit goes out as it comes.
pub const MAX_PARTIAL_LINES: usize = 16 << 20;
/// Imports of a guest that its description names: mpwasm and WASI together have fewer than a hundred.
pub const MAX_IMPORTS: usize = 256;
/// Bytes of the module or name of an import in a guest's description: those that exist have fewer than fifty.
pub const MAX_IMPORT_NAME: usize = 64;
/// Reasons for which a guest is refused that are listed. The others are only counted, in one more line.
pub const MAX_REFUSALS: usize = 50;
/// Bytes of a guest's description, as the compiler reports it and the cache keeps it: more than all of its names and
/// sentences together may have.
pub const MAX_DESCRIPTION: usize = 4 << 20;
/// Bytes of the name of an export that mpwasm calls.
pub const MAX_EXPORT_NAME: usize = 256;
/// Characters of a guest's name for something, or of a task's key, that are shown in a message.
pub const MAX_DISPLAYED_NAME: usize = 64;
/// Characters of what the engine says of a guest that it does not accept: it may quote the guest.
pub const MAX_DISPLAYED_ERROR: usize = 1000;
/// What a log line takes of the most output besides its text, bytes: each is a message of its own.
pub const LOG_LINE_COST: usize = 16;
/// Bytes of one log line; the rest is cut.
pub const MAX_LOG_LINE: usize = 64 << 10;
/// What a worker needs at most beside the memory, stack, tables, args and results of its task, bytes: the engine's
/// structures, above all.
pub const WORKER_OVERHEAD: u64 = 256 << 20;
/// What the dispatcher needs at most beside the memory of callbacks, bytes: what waits in it is bounded.
pub const DISPATCHER_MEMORY: u64 = 512 << 20;
/// Workers that a pool may have: each takes three of the dispatcher's descriptors, and some more while one process
/// takes the place of another.
pub const MAX_WORKERS: u32 = 4096;
/// Guests that a worker process loads at its start, at most: all of a pool's while there are no more. Each takes some 0.1 ms
/// of the start and a descriptor of the one message in which the kernel lets 253 travel.
pub const MAX_LOADED_GUESTS: usize = 64;
/// Number of latest tasks whose guests count as recently used: about as many as wait in the dispatcher.
pub const RECENT_TASKS: u64 = 1024;
/// Descriptors that a process which holds a pool's guests needs beside one for each guest and those for workers: about ten
/// of its own.
pub const OTHER_DESCRIPTORS: u64 = 32;
/// Descriptors by which the soft limit of a process stays above what its guests need: for the program around a pool.
pub const SPARE_DESCRIPTORS: u64 = 512;
/// Descriptors that the dispatcher has for each slot of a worker: its socket, its end and its control pipe.
pub const WORKER_DESCRIPTORS: u64 = 3;
/// Time without a report after which a worker is taken to run a long task. A task that only this worker could run is then worth
/// another process, whose start takes some milliseconds.
pub const LONG_TASK_THRESHOLD: Duration = Duration::from_millis(20);
/// Longest time for which tasks overtake one for whose guest there is no worker: long enough to be worth the start of a
/// process for that guest.
pub const MAX_OVERTAKING_TIME: Duration = Duration::from_millis(20);
/// Nesting of JSON that is accepted from guests and task lines.
pub const MAX_JSON_DEPTH: usize = 128;
/// Tables that one guest may have: what a slot of a worker's pool holds. Compilers make one.
pub const MAX_TABLES: u32 = 4;
/// Largest value for the elements of a table: no module that the engine accepts starts with more.
pub const MAX_TABLE_ELEMENTS: u32 = 10_000_000;
/// Bytes of an element of a table.
pub const TABLE_ELEMENT_SIZE: u64 = 8;
/// Smallest stack of a guest, bytes: a page more than the deepest frame of an import takes off it.
pub const MIN_STACK: u64 = 64 << 10;
/// Largest stack of a guest, bytes: all of the 32-bit memory of a program that keeps everything on its stack.
pub const MAX_STACK: u64 = 4 << 30;
/// What a thread that runs guests has beside the guest's stack, bytes: for host calls.
const HOST_STACK: u64 = 3 << 20;
/// Files that a task can have open at once, where the user does not say: the usual limit of a process.
pub const MAX_FILES: u32 = 1024;
/// Descriptors of a process of the pool that opens none any more. It has about ten.
pub const BASE_DESCRIPTORS: u32 = 64;

/// Returns the stack of a thread that runs guests with this stack, bytes.
#[must_use]
pub const fn thread_stack(guest: u64) -> usize {
    // No more than `MAX_STACK` and some MiB.
    guest.saturating_add(HOST_STACK) as usize
}

/// Rung 3 of the timeout ladder: a task that has not ended this long after its deadline takes its process along.
pub const WATCHDOG_GRACE: Duration = Duration::from_millis(100);
/// Rung 4: the dispatcher kills a worker that has not answered this long after a task's deadline.
pub const DISPATCHER_GRACE: Duration = Duration::from_millis(150);
/// An idle worker that has not claimed what it was offered for so long loses it to another.
/// Large args take time to reach it: it has so long from the last time that it was seen to take some of them in.
pub const CLAIM_TIMEOUT: Duration = Duration::from_millis(100);
/// The patience with a task doubles each time that all workers have lost it, up to this.
pub const MAX_CLAIM_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that a worker must at least have taken in for each time that it is given patience anew.
pub const MIN_PROGRESS: usize = 64 << 10;
/// A worker that lost an offer so and shows no life for so much longer is killed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// An answer of the dispatcher to what the pool is doing is waited for so long: it comes behind the outcomes. So is the
/// rest of a compiler's answer, of which a part has come at its timeout.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// A worker that is not ready so long after its start is killed.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker that is not reaped so long after SIGKILL (state D) is given up.
pub const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// Workers that die in a row before any becomes ready, until the pool fails.
pub const MAX_FAILED_SPAWNS: u32 = 5;
/// Workers that may die with a task in hand, claimed or not, before it ends as `crash`.
pub const MAX_WORKER_DEATHS: u32 = 3;
/// Workers that may die under a task that is tried again, where its policy does not say.
pub const DEFAULT_CRASH_LIMIT: u32 = 3;
/// Attempts after the first that a task can have: each is kept until the task's record is written.
pub const MAX_RETRIES: u32 = 100;
/// Bytes of the message of an attempt that was not the last.
pub const MAX_ATTEMPT_MESSAGE: usize = 1000;
/// Bytes of the messages of all attempts that were not the last, of all tasks that have not ended: some ten thousand of the
/// longest.
pub const MAX_ATTEMPT_MESSAGES: usize = 16 << 20;
/// Bytes of the tasks without a record that wait until `--resume` has found all records. Nothing runs until then, so that
/// they may be a quarter of what the parent may have, beside the records.
pub const RESUME_BUFFER: usize = 64 << 20;
/// Bytes of a record beside args and data, with all escapes: above all messages, of a hundred attempts at most, the key
/// and a backtrace.
const RECORD_OVERHEAD: u64 = 2 << 20;
/// Records of a log with which `--resume` can go on: each takes 33 bytes of a table that is at most seven eighths full, and
/// half of which may be a copy while it grows.
pub const MAX_LOG_RECORDS: usize = 7 << 19;
/// Guests that the records of a log may be of: more than one can name on a command line that is read by people.
pub const MAX_LOG_GUESTS: usize = 1024;
/// Keys of the tasks of a run that are remembered, to find one that comes twice: each takes 25 bytes of a table that is at most
/// seven eighths full, which is 105 MB at most, and half as much more while it grows. Later keys are not compared.
pub const MAX_KEYS: usize = 7 << 19;
/// Bytes that all lists of inputs in files may take together, but for the first one, which is not kept: some million short
/// inputs.
pub const MAX_COMBINED_INPUTS: usize = 64 << 20;
/// Stack of the first thread of the command line, bytes: what Linux gives by default. Reading the options takes some hundred
/// KiB of it.
pub const MAIN_STACK: u64 = 8 << 20;
/// Least stack with which the command line starts, bytes: twice as much as the deepest call of the command line or of a child
/// was seen to take.
pub const MIN_MAIN_STACK: u64 = 512 << 10;
/// Characters of a task's input that `--tag` puts before its lines: it is kept for every task that is on its way, and
/// written as often as the task begins a line.
pub const MAX_TAG: usize = 256;
/// First delay before a slot is filled again after a start that failed; it doubles up to [`MAX_RESPAWN_DELAY`].
pub const RESPAWN_DELAY: Duration = Duration::from_millis(10);
/// Longest delay between two starts of one slot.
pub const MAX_RESPAWN_DELAY: Duration = Duration::from_secs(1);
/// Outcomes and output that may wait in the dispatcher for the parent, bytes, before it stops reading tasks.
pub const OUTCOME_HIGH_WATER: usize = 8 << 20;
/// Callbacks that may wait before assignment is held back.
pub const CALLBACK_QUEUE: usize = 1024;
/// Bytes of results, errors and args that may wait for callbacks before assignment is held back, and as many again may
/// be with the thread.
pub const CALLBACK_QUEUE_BYTES: usize = 8 << 20;
/// A callback that has not ended this long after its deadline is given up with its thread. It holds up other callbacks
/// only, so there is time for a thread that a busy machine does not run.
pub const CALLBACK_GRACE: Duration = Duration::from_secs(1);
/// Timeouts in a row after which a model's callbacks are switched off.
pub const MAX_CALLBACK_TIMEOUTS: u32 = 3;
/// What a guest printed is sent on after so long, even without a newline.
pub const OUTPUT_FLUSH_DELAY: Duration = Duration::from_millis(50);
/// What a guest printed is sent on at this size, bytes, even without a newline.
pub const OUTPUT_FLUSH_SIZE: usize = 4 << 10;
/// Most files of running tasks that `--results-dir` holds open: enough for those that print at the same moment, and far
/// below the descriptors that a process may usually have (1024).
pub const MAX_OPEN_OUTPUTS: usize = 64;
/// A payload of so many bytes is not copied where it only passes by: to copy what is smaller costs less than to keep
/// account of it.
pub const LARGE_PAYLOAD: usize = 64 << 10;
/// A buffer that messages or payloads pass through is kept for the next one up to this size, bytes: to have its pages
/// anew from the kernel costs more than to copy what goes into them.
pub const MAX_RETAINED_BUFFER: usize = 4 << 20;
/// What a process of the pool has allocated and freed is kept up to this size, bytes, at the end of its heap, for the same
/// reason: payloads that are waiting or running come and go in it.
pub const RETAINED_HEAP: i32 = 16 << 20;
/// Bytes of results, prints and log lines that may wait for their turn with `--keep-order` before no more tasks are
/// pushed. What the tasks in flight then add to it is bounded by their number.
pub const ORDER_HIGH_WATER: usize = 64 << 20;
/// Bytes of them that wait in memory: a quarter of what the parent may have, as a buffer that grows can take twice as much.
/// The others wait in a temporary file.
pub const ORDER_MEMORY: usize = 32 << 20;
/// Smallest block that is written to that file, bytes. Each task may have as much in memory in any case. The index of the
/// blocks is small beside it.
pub const ORDER_BLOCK: usize = 32 << 10;
/// Bytes of log of a command whose output has no cap: it is not streamed, and may go where it stays.
pub const MAX_STREAMED_LOG: u64 = 1 << 20;

/// What a task may log, with this cap of its output, bytes.
#[must_use]
pub const fn log_cap(max_output: u64) -> u64 {
    match max_output {
        u64::MAX => MAX_STREAMED_LOG,
        capped => capped,
    }
}

/// Bytes of log lines and warnings that wait for who takes them, where a child waits for nobody: more than a command may
/// log, with every byte escaped. What comes beyond that is dropped.
pub const MAX_UNREAD_LOG: usize = 32 << 20;

/// Output of a child whose deadline has passed is dropped when nobody takes it for so long: longer than a worker may take
/// to end.
pub const UNREAD_OUTPUT_TIMEOUT: Duration = Duration::from_millis(250);
/// Inputs that a map pulls ahead of who takes its outcomes, however fast those are taken.
pub const MAX_INPUTS_AHEAD: u64 = 4096;
/// Bytes of args with which a chunk is full, however few items they are: a chunk's frame is as large as a task's, and
/// this.
pub const CHUNK_BYTES: usize = 32 << 10;
