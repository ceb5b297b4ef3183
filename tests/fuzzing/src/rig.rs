//! An executor with its environment in a worker: a deadline that is enforced, and a dispatcher that receives messages.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::frames::Worker as WorkerFrames;
use super::object_client::Objects;
use mpwasm_engine::{
    Call, CallReport, Deadline, EngineRole, Executor, Export, OutputSink, PushError, Pusher,
};
use mpwasm_host::dispatcher::WorkerPhase;
use mpwasm_protocol::messages::{CallResult, FromWorker, GuestOutput, ResourceUsage, worker_frame};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_system::clock;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId, OfferId, TaskId};
use mpwasm_types::memory::thread_stack;
use mpwasm_types::outcome::{Kind, LogLevel, Stream};
use mpwasm_types::settings::Settings;
use mpwasm_types::task::TaskInput;
use mpwasm_types::task_check::check_args;
use mpwasm_types::task_line::TaskLine;
use mpwasm_types::time::Time;

/// Deadline of a call. Most end at once, and those that sleep or spin must not delay the fuzzer. A test must see some
/// begin, even on a busy machine.
const TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 1000 } else { 20 });
/// Longest time from the deadline to the end of a call: far more than needed, as the machine may be busy and the code is
/// instrumented.
const PATIENCE: Duration = Duration::from_secs(10);
/// Cap of the linear memory of all kept instances of a guest, bytes.
const KEPT_MEMORY: u64 = 1 << 20;
/// Stack of a thread that compiles guests with instrumented code, bytes.
pub(super) const COMPILER_STACK: usize = 32 << 20;
/// Stack of a thread that runs them.
const GUEST_STACK: usize = 2 * thread_stack(1 << 20);
/// Stack of the other thread. The sanitizer takes longer to create a large stack than a call takes.
const WATCHDOG_STACK: usize = 256 << 10;
/// Largest piece of output in one message, as a worker's message batch creates it.
const PIECE: usize = 64 << 10;

/// Small caps, so that a guest of few bytes can exceed them.
pub(super) fn settings() -> Settings {
    Settings {
        memory: 1 << 20,
        max_result: 1024,
        max_output: 256,
        max_args: 1024,
        ..Settings::default()
    }
}

/// Returns the names of all functions that guests may import.
#[cfg(test)]
pub(super) fn import_names() -> Vec<String> {
    let engine = EngineSettings::from(&settings());
    mpwasm_engine::imports(&engine, Arc::new(Deadline::new()), Arc::new(Frames::default()))
        .expect("the engine starts with these settings")
}

/// Executes calls of one guest.
pub(super) struct Rig {
    executor: Executor,
    role: EngineRole,
    deadline: Arc<Deadline>,
    frames: Arc<Frames>,
}

impl Rig {
    /// Creates a rig for a guest that was compiled with [`settings`].
    pub(super) fn new(role: EngineRole, info: &GuestInfo, artifact: &[u8]) -> Self {
        let (deadline, frames) = (Arc::new(Deadline::new()), Arc::new(Frames::default()));
        let engine = EngineSettings::from(&settings());
        let mut executor = Executor::new(role, &engine, deadline.clone(), frames.clone())
            .expect("the engine starts with these settings");
        executor.set_pusher(Box::new(Tasks));
        executor
            .set_object_client(Box::new(Objects::new(deadline.clone())))
            .expect("there are file descriptors left");
        executor
            .load(memory_file(artifact), info)
            .expect("a worker has nothing to object to in what the compiler has accepted");
        Self {
            executor,
            role,
            deadline,
            frames,
        }
    }

    /// Makes a call. Whatever the guest does, the call ends in time, and the dispatcher accepts the messages that a
    /// worker would send.
    ///
    /// # Panics
    /// When that does not hold.
    pub(super) fn call(&mut self, export: Export, model: u32, input: TaskInput<&[u8]>) -> CallReport {
        self.frames
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let call = Call {
            guest: GuestId(0),
            model: ModelId(model),
            export,
            input,
            task_id: TaskId(7),
            attempt: 1,
        };
        let at = clock::now() + TIMEOUT;
        let report = self.watched(at, |rig| {
            rig.deadline.arm(at);
            let report = match rig.role {
                EngineRole::Callbacks => rig.executor.run_kept(&call, KEPT_MEMORY),
                _ => rig.executor.run(&call),
            };
            assert!(rig.deadline.disarm(), "nobody condemns it");
            report
        });
        assert!(clock::now() < at + PATIENCE, "it ended too late: {report:?}");
        let cap = match self.role {
            EngineRole::Callbacks => KEPT_MEMORY,
            _ => settings().memory,
        };
        assert!(report.memory_peak <= cap);
        let is_known = !matches!(report.result, Err(ref failure) if failure.kind == Kind::Invalid);
        assert!(is_known, "there is such an export: {report:?}");
        self.frames.end(&report);
        report
    }

    /// Runs `body` on a thread for guests, while another thread acts as the watchdog from `at` on.
    fn watched<R: Send>(&mut self, at: Time, body: impl FnOnce(&mut Self) -> R + Send) -> R {
        let (engine, deadline) = (self.executor.engine().clone(), self.deadline.clone());
        let (over, is_over) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watchdog = move || {
                let mut wait = at.since(clock::now());
                while is_over.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                    deadline.expire();
                    engine.increment_epoch();
                    wait = Duration::from_millis(1);
                }
            };
            let thread = thread::Builder::new().stack_size(WATCHDOG_STACK);
            let watchdog = thread
                .spawn_scoped(scope, watchdog)
                .expect("the system has threads");
            let result = on_thread(GUEST_STACK, || body(self));
            drop(over);
            // The scope alone would not wait for the thread's own storage, which the fuzzer would report as a leak.
            watchdog.join().expect("it only waits");
            result
        })
    }
}

/// Runs `body` on a thread with a stack of this number of bytes.
pub(super) fn on_thread<R: Send>(stack: usize, body: impl FnOnce() -> R + Send) -> R {
    let result = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(stack);
        let thread = thread.spawn_scoped(scope, body).expect("the system has threads");
        thread.join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn memory_file(bytes: &[u8]) -> File {
    let file = memfd_create("guest", MFdFlags::MFD_CLOEXEC).expect("the system has memory files");
    let mut file = File::from(file);
    file.write_all(bytes).expect("a memory file takes bytes");
    file
}

/// Collects the messages that a worker would send.
#[derive(Default)]
struct Frames(Mutex<SendBuffer>);

impl Frames {
    /// Ends the call, and passes all messages to the dispatcher.
    fn end(&self, report: &CallReport) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames.put(&FromWorker::Ended {
            offer: OfferId(0),
            ending: match &report.result {
                Ok(json) => CallResult::Ok(json.as_bytes()),
                Err(failure) => CallResult::Failed(failure.clone()),
            },
            run: TIMEOUT,
            measured: ResourceUsage {
                cpu: TIMEOUT,
                memory_peak: report.memory_peak,
                stdout_bytes: report.stdout_bytes,
                output_truncated: report.output_truncated,
            },
        });
        let settings = settings();
        let mut inbox = ReceiveBuffer::new(worker_frame(&settings));
        let mut dispatcher = WorkerFrames::new(WorkerPhase::Ready, &settings);
        let unsent = frames.unsent();
        let mut bytes = &unsent[..];
        while !bytes.is_empty() {
            let space = inbox.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
            while let Some(frame) = inbox
                .next_message()
                .expect("an honest worker's frames are within the cap")
            {
                dispatcher
                    .hear(frame)
                    .unwrap_or_else(|why| panic!("a guest made an honest worker say what none may: {why}"));
            }
        }
    }
}

impl OutputSink for Frames {
    fn print(&self, stream: Stream, bytes: &[u8]) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.chunks(PIECE) {
            frames.put(&FromWorker::Output(GuestOutput::Printed { stream, bytes: piece }));
        }
    }

    fn log(&self, level: LogLevel, text: &str) {
        let mut frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frames.put(&FromWorker::Output(GuestOutput::Logged { level, text }));
    }
}

/// Handles pushed tasks as the process that runs `tasks` and the parent do.
struct Tasks;

impl Pusher for Tasks {
    fn push(&mut self, task: &[u8]) -> Result<TaskId, PushError> {
        let line = TaskLine::parse_pushed(task)?;
        check_args(Cow::Owned(line.args), settings().max_args)?;
        Ok(TaskId(0))
    }
}
