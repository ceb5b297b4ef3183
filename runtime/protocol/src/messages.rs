//! The messages, one enum per direction.
//!
//! ```text
//! parent ──DispatcherStart────▶ dispatcher ──WorkerStart────────────▶ worker (start)
//!        ──Submission (pipe)──────▶             ──ToWorker (socket)──────▶ worker (task thread)
//!        ──ToDispatcher──────▶             ──Control (pipe)─────────▶ worker (watchdog)
//!        ◀─FromDispatcher─────             ◀─FromWorker (socket)─────
//! parent ──ToCompiler─▶ compiler ──FromCompiler─▶ parent
//! parent ──ToTasks────▶ `tasks`  ──FromTasks────▶ parent
//! ```
//!
//! Args, results and prints are borrowed from the frame that carries them: they are copied where they are kept
//! and nowhere else, and large args and results not even there. These end their message, so that they can be sent from
//! where they are.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::nanos;
use super::page::Offer;
use mpwasm_types::bounded;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Grants;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, LogLevel, Stream};
use mpwasm_types::retry::Retry;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::settings::{MAX_HELLO, MAX_LOG_TEXT, MAX_NOTE, OUTPUT_PIECE, Settings, Terminals};
use mpwasm_types::status::{Status, TaskStatus};
use mpwasm_types::time::Time;

/// What may surround the args, a result or a print in a frame: everything but the payload itself.
pub const OVERHEAD: usize = 64 << 10;
/// Largest frame from a worker: a result, or an error's data, message and backtrace; or a piece of print or log.
#[must_use]
pub fn worker_frame(settings: &Settings) -> usize {
    payload(settings.max_result).saturating_add(4 * OVERHEAD)
}

/// Largest frame from the dispatcher: what a worker may send, with what the dispatcher adds.
#[must_use]
pub fn dispatcher_frame(settings: &Settings) -> usize {
    worker_frame(settings).saturating_add(OVERHEAD)
}

/// Largest frame with a task, from whoever pushes: its args, and its key.
#[must_use]
pub fn task_frame(max_args: u64) -> usize {
    payload(max_args).saturating_add(2 * OVERHEAD)
}

fn payload(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Cap for frames that carry settings and guests' descriptions, which come from processes of higher trust.
pub const MAX_SETUP: usize = 64 << 20;
/// Args and results can be no larger, bytes, whatever the settings say: lengths in frames are 32 bits wide.
pub const MAX_PAYLOAD: u64 = 1 << 30;
/// Cap for a compiled artifact with its description.
pub const MAX_ARTIFACT: usize = 1 << 30;

/// Largest frame from the compiler of a guest with a file of `guest` bytes: its description, and an artifact. The artifact of
/// usual code has some five times the size of the file, that of empty functions thirty times.
#[must_use]
pub fn compiler_frame(guest: usize) -> usize {
    guest
        .saturating_mul(32)
        .saturating_add(64 << 20)
        .min(MAX_ARTIFACT)
}

/// The first frame of every child: proof that it is a re-execution of the same build.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The crate's version.
    #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_HELLO>")]
    pub version: &'a str,
    /// A hash of the crate's sources.
    #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_HELLO>")]
    pub build: &'a str,
}

impl Hello<'static> {
    /// This build's.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            build: env!("MPWASM_BUILD"),
        }
    }
}

/// Parent to dispatcher, through the pipe: what may be held back.
#[derive(Debug, Serialize, Deserialize)]
pub enum Submission<'a> {
    /// One more task.
    Task {
        /// Its id.
        id: u64,
        /// Its guest, in the order of loading.
        guest: u32,
        /// Its model, in the order of [`GuestInfo::models`].
        model: u32,
        /// How long it may run.
        #[serde(with = "nanos")]
        timeout: Duration,
        /// When it is tried again; `None` for what the settings say.
        retry: Option<Retry>,
        /// One line of JSON: an array. Or a command's [`Invocation`](mpwasm_types::invocation::Invocation), encoded.
        #[serde(with = "serde_bytes")]
        args: &'a [u8],
    },
    /// A chunk: items that travel together and share an instance. Each is a task with an id of its own.
    Chunk {
        /// The first item's id; the others follow.
        id: u64,
        /// Their guest.
        guest: u32,
        /// Their model.
        model: u32,
        /// How long each may run.
        #[serde(with = "nanos")]
        timeout: Duration,
        /// How many they are.
        items: u32,
        /// The args of each, see [`items`](mpwasm_types::items).
        #[serde(with = "serde_bytes")]
        args: &'a [u8],
    },
    /// No more tasks: the dispatcher drains and exits.
    Exit,
}

/// Parent to dispatcher, first, in a [memory file](super::in_memory). The read end of the task pipe comes with it, each
/// directory that the settings grant, and the read end of commands' stdin where there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct DispatcherStart {
    /// The pool's settings.
    pub settings: Settings,
    /// Whether there is a stdin for commands.
    pub stdin: bool,
    /// Which streams of commands are terminals.
    pub terminals: Terminals,
    /// The walls around it; `None` for none.
    pub jail: Option<SandboxOptions>,
    /// Whether it reports what becomes of its workers ([`FromDispatcher::Event`]).
    pub events: bool,
}

/// Parent to dispatcher, through the socket: what is never held back.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToDispatcher {
    /// A guest. With the message come its [`GuestInfo`] in a [memory file](super::in_memory), and its sealed artifact.
    Load,
    /// The task shall end as `cancelled`.
    Cancel {
        /// Its id.
        id: u64,
    },
    /// What is going on? The answer is [`FromDispatcher::Status`].
    Ask {
        /// By which the answer is known.
        question: u64,
        /// The task that it is about; the pool, when it is none.
        task: Option<u64>,
    },
    /// Confirms the outcomes that were reported so far. Sent with `Settings::confirm_outcomes`.
    Confirm {
        /// Number of outcomes since the pool started.
        outcomes: u64,
    },
    /// What has not started ends as `cancelled`; what runs may end.
    Interrupt,
    /// Everything ends as `cancelled`, now.
    Terminate,
    /// The workers are stopped, and the clocks of tasks.
    Pause,
    /// They go on.
    Resume,
}

/// Where a print or a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The task with this id, in a worker.
    Task(u64),
    /// The callback for the task with this id, in the dispatcher.
    Callback(u64),
    /// The `final_callback` of a model, in the dispatcher.
    FinalCallback {
        /// The guest, in the order of loading.
        guest: u32,
        /// The model, in the order of [`GuestInfo::models`].
        model: u32,
    },
    /// A guest's `tasks`.
    Tasks,
}

/// Where and how a task ran. Absent for one that never did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// The worker's slot.
    pub worker: u32,
    /// The worker's process id.
    pub pid: u32,
    /// When it was claimed.
    pub claimed: Time,
    /// Wall time from the claim to the end.
    #[serde(with = "nanos")]
    pub run: Duration,
    /// What the worker measured; `None` when it died.
    pub measured: Option<ResourceUsage>,
}

/// What a worker measured of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceUsage {
    /// Processor time of the task thread.
    #[serde(with = "nanos")]
    pub cpu: Duration,
    /// Largest size of the linear memory, bytes.
    pub memory_peak: u64,
    /// Bytes written to stdout, with what was cut.
    pub stdout_bytes: u64,
    /// Whether output was cut at the cap.
    pub output_truncated: bool,
}

/// Something that became of a worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEvent {
    /// The worker, as users know it.
    pub worker: u32,
    /// Its process id.
    pub pid: u32,
    /// The task that it was about, and which try of it.
    pub task: Option<(u64, u32)>,
    /// What, and why.
    #[serde(deserialize_with = "bounded::text::<_, MAX_NOTE>")]
    pub what: String,
}

/// The end of a call: one line of JSON, or the failure.
#[derive(Debug, Serialize, Deserialize)]
pub enum CallResult<'a> {
    /// The result.
    Ok(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Why there is none.
    Failed(Failure),
}

/// The answer to [`ToDispatcher::Ask`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StatusReply {
    /// What the pool is doing.
    Pool(Status),
    /// Where the task is; `None` when it is not with the dispatcher.
    Task(Option<TaskStatus>),
}

/// Dispatcher to parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromDispatcher<'a> {
    /// An attempt of a task has failed, and another will follow.
    Tried {
        /// The task's id.
        id: u64,
        /// How it failed.
        attempt: Attempt,
    },
    /// A task has ended, and its callback has run.
    Outcome {
        /// The task's id.
        id: u64,
        /// Where it ran.
        ran: Option<Execution>,
        /// How its callback went.
        callback: CallbackStatus,
        /// Its result or failure: last, as a large one is sent from where it is.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// The fold of a model's results, when all tasks have ended.
    Final {
        /// The guest, in the order of loading.
        guest: u32,
        /// The model.
        model: u32,
        /// Its final value, or why there is none.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// A piece of what a guest printed.
    Output {
        /// Who printed it.
        source: Source,
        /// Where to.
        stream: Stream,
        /// What.
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "bounded::borrowed_bytes::<_, OUTPUT_PIECE>"
        )]
        bytes: &'a [u8],
    },
    /// A callback that has printed, or a `final_callback`, will print no more. (The end of a task is its outcome.)
    OutputEnd {
        /// Whose output has ended.
        source: Source,
    },
    /// A line that a guest logged.
    Log {
        /// Who logged it.
        source: Source,
        /// How bad it is.
        level: LogLevel,
        /// The line.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LOG_TEXT>")]
        text: &'a str,
        /// The worker that it came from, as users know it, and the attempt of the task; `None` when it came from a
        /// callback.
        at: Option<(u32, u32)>,
    },
    /// The answer to [`ToDispatcher::Load`]: tasks of the guest may come.
    Loaded,
    /// The answer to [`ToDispatcher::Ask`].
    Status {
        /// The question's.
        question: u64,
        /// What there is to say.
        answer: StatusReply,
    },
    /// Something that the user should know once.
    Warning(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// What became of a worker, for who asked for it.
    Event(WorkerEvent),
    /// The pool has failed; outcomes for everything accepted are on their way.
    Failed(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// The last message.
    Bye,
}

/// Dispatcher to worker, first, in a [memory file](super::in_memory). With it come the read end of the control pipe, the
/// shared page, each directory that is granted, the read end of commands' stdin where there is one, and the sealed artifact
/// of each guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerStart<'a> {
    /// Whether there is a stdin for commands.
    pub stdin: bool,
    /// What shapes the engine.
    pub engine: EngineSettings,
    /// Largest args of a task, bytes.
    pub max_args: u64,
    /// The processor that it should be on while many tasks come.
    pub cpu: Option<u32>,
    /// The walls around it.
    pub jail: Option<SandboxOptions>,
    /// What its tasks get beside their args.
    pub grants: Grants,
    /// Files that a task can have open.
    pub max_files: u32,
    /// The guests that it loads, each with its number in the pool.
    pub guests: Vec<(u32, Cow<'a, GuestInfo>)>,
}

/// Dispatcher to worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker<'a> {
    /// A task.
    #[serde(borrow)]
    Task(CallRequest<'a>),
    /// A chunk: each of its items is a call of its own, in the instance of the one before as long as that is in order.
    /// Each is answered by a [`FromWorker::Ended`].
    Chunk(CallRequest<'a>),
}

/// What a worker is to call.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest<'a> {
    /// The offer to claim before it starts.
    pub offer: Offer,
    /// The task's id, or that of the chunk's first item.
    pub id: u64,
    /// Its guest.
    pub guest: u32,
    /// Its model.
    pub model: u32,
    /// How long it may run, from the claim; or each item, from the end of the one before.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// One line of JSON: an array. Or those of a chunk, see [`items`](mpwasm_types::items).
    #[serde(with = "serde_bytes")]
    pub args: &'a [u8],
}

/// Dispatcher to a worker's watchdog: fixed size, so that a write to the pipe is whole or not at all.
/// The end of the pipe's file is the end of the worker's life.
pub mod control {
    use super::Offer;

    /// Bytes of a message: the offer whose task shall end as `cancelled`.
    pub const SIZE: usize = 8;

    /// Encodes it.
    #[must_use]
    pub fn cancel(offer: Offer) -> [u8; SIZE] {
        offer.to_bits().to_le_bytes()
    }

    /// Decodes it.
    #[must_use]
    pub fn parse(bytes: [u8; SIZE]) -> Offer {
        Offer::from_bits(u64::from_le_bytes(bytes))
    }
}

/// Worker to dispatcher.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker<'a> {
    /// Its guests are loaded.
    Ready,
    /// A guest can't be loaded: the worker exits.
    Unable(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// The task of this offer has ended, or the next item of its chunk.
    Ended {
        /// Whose task.
        offer: Offer,
        /// Wall time from the claim to the end.
        #[serde(with = "nanos")]
        run: Duration,
        /// What else was measured.
        measured: ResourceUsage,
        /// How: last, as a large result is sent from where it is.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// The offer had been revoked when its turn came.
    Skipped(Offer),
    /// A piece of what the running task printed.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "bounded::borrowed_bytes::<_, OUTPUT_PIECE>"
        )]
        bytes: &'a [u8],
    },
    /// A line that the running task logged.
    Log {
        /// How bad it is.
        level: LogLevel,
        /// The line.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LOG_TEXT>")]
        text: &'a str,
    },
}

/// Parent to compiler: its only message. The guest (a binary module or text) comes with it, as a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToCompiler {
    /// What shapes the code.
    pub engine: EngineSettings,
    /// How long it may take.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// The walls around it.
    pub jail: Option<SandboxOptions>,
}

/// Compiler to parent: `Checked` and then `Compiled` or `Refused`, or one of the others alone.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromCompiler<'a> {
    /// What is in the guest. It passed all checks that need no limits, and its code is being compiled.
    Checked(GuestInfo),
    /// The artifact.
    Compiled(#[serde(with = "serde_bytes")] &'a [u8]),
    /// It is a module, but not one that may run.
    Refused(GuestInfo),
    /// It is no module.
    NotWasm(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
}

/// Parent to the process that runs a guest's `tasks`, in a [memory file](super::in_memory). The sealed artifact comes with
/// the message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToTasks {
    /// What shapes the engine.
    pub engine: EngineSettings,
    /// What the compiler found in the guest.
    pub info: GuestInfo,
    /// Until the first push, and between two.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// The id that the first push will get, if nobody else pushes meanwhile.
    pub first: u64,
    /// How many may be pushed.
    pub max_tasks: u64,
    /// Largest task, bytes.
    pub max_args: u64,
    /// The walls around it.
    pub jail: Option<SandboxOptions>,
}

/// The process that runs a guest's `tasks`, to the parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromTasks<'a> {
    /// A task: JSON, as the guest gave it.
    Push(#[serde(with = "serde_bytes")] &'a [u8]),
    /// A piece of what it printed.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "bounded::borrowed_bytes::<_, OUTPUT_PIECE>"
        )]
        bytes: &'a [u8],
    },
    /// A line that it logged.
    Log {
        /// How bad it is.
        level: LogLevel,
        /// The line.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LOG_TEXT>")]
        text: &'a str,
    },
    /// The end: `None` when it went well.
    Ended(Option<Failure>),
}
