//! The task source: a process that runs the `tasks` export of one guest and sends the tasks that it pushes to the parent.
//!
//! It has two threads, like a worker. The main thread loads the guest and becomes the watchdog, and the other runs the guest.
//! Each push restarts the guest's timeout. The deadline is paused while a push waits for the parent, which stops reading
//! while the pool's queue is full (backpressure).

use std::borrow::Cow;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::ChildError;
use crate::guest_thread;
use crate::manager_client::ManagerClient;
use crate::message_batch::MessageBatch;
use mpwasm_engine::watchdog;
use mpwasm_engine::watchdog::{WatchdogContext, WatchdogHandle, WatchdogHandler};
use mpwasm_engine::{Call, Deadline, EngineRole, Executor, Export, LoadError, OutputSink, PushError, Pusher};
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{FromTasks, ToTasks, task_frame};
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::EXIT_WATCHDOG;
use mpwasm_sandbox::cpu_limit::CpuLimit;
use mpwasm_sandbox::jail;
use mpwasm_system::clock;
use mpwasm_system::clock::thread_cpu;
use mpwasm_system::process::exit_now;
use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::role::Role;
use mpwasm_types::settings::Interrupt;
use mpwasm_types::task::TaskInput;
use mpwasm_types::task_check::{check_input, find_model};
use mpwasm_types::task_line::TaskLine;
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::WATCHDOG_GRACE;

/// Runs the `tasks` export of a guest: receives the guest, sets up the sandbox, loads the guest and starts its thread. The
/// calling thread becomes the watchdog.
///
/// # Errors
/// When the process can't start.
pub fn main() -> Result<Infallible, ChildError> {
    let mut parent = child::start_up()?;
    let start: ToTasks = in_memory::receive(&mut parent)?;
    let artifact = parent
        .take_descriptor()
        .map(File::from)
        .ok_or(ChildError::NoDescriptor("the guest"))?;
    let objects = match start.objects {
        true => Some(
            parent
                .take_descriptor()
                .ok_or(ChildError::NoDescriptor("the connection to the manager"))?,
        ),
        false => None,
    };
    let socket = parent.as_fd().try_clone_to_owned()?;
    let watched = parent.as_fd().try_clone_to_owned()?;
    let watchdog = Arc::new(WatchdogHandle::new(Arc::new(Deadline::new()))?);
    let batch = MessageBatch::new(socket, Arc::clone(&watchdog), |frames, output| {
        frames.put(&FromTasks::Output(output));
    });
    let batch = Arc::new(batch);
    let prints: Arc<dyn OutputSink> = Arc::new(UntimedPrints {
        watchdog: Arc::clone(&watchdog),
        batch: Arc::clone(&batch),
    });
    let unable = |error: LoadError| -> ! {
        let failure = Failure::new(Kind::Error, format!("it can't be loaded: {error}"));
        batch.put(&FromTasks::Ended(Some(failure)), clock::now());
        batch.flush();
        exit_now(1);
    };
    let deadline = Arc::clone(watchdog.deadline());
    let mut executor = Executor::new(EngineRole::Tasks, &start.engine, Arc::clone(&deadline), prints)
        .unwrap_or_else(|error| unable(error));
    if let Some(socket) = objects {
        executor.set_object_client(Box::new(ManagerClient::new(socket, deadline)))?;
    }
    let engine = executor.engine().clone();
    if let Some(plan) = &start.jail {
        jail::isolate(Role::Tasks, plan, [])?;
    }
    // Only inside the sandbox: the artifact comes from the compiler, which read untrusted input.
    if let Err(error) = executor.load(artifact, &start.info) {
        unable(error);
    }
    let plan = start.jail.clone();
    let (for_guest, printing) = (Arc::clone(&watchdog), Arc::clone(&batch));
    let stack = start.engine.stack;
    guest_thread::start(Role::Tasks, stack, plan.as_ref(), move || {
        run(executor, &start, &for_guest, &printing);
    })?;
    watchdog::watch(
        &engine,
        Interrupt::Epoch,
        &watchdog,
        &mut TaskSourceWatchdog {
            socket: watched,
            batch,
        },
    )
}

/// Calls the guest's `tasks` export, reports how it ended and exits.
fn run(mut executor: Executor, start: &ToTasks, watchdog: &Arc<WatchdogHandle>, batch: &Arc<MessageBatch>) {
    let mut cpu_limit = CpuLimit::new(start.jail.is_some());
    cpu_limit.reserve(start.timeout, thread_cpu());
    executor.set_pusher(Box::new(GuestTaskPusher {
        start: start.clone(),
        cpu_limit,
        pushed: 0,
        watchdog: Arc::clone(watchdog),
        batch: Arc::clone(batch),
    }));
    let deadline = clock::now() + start.timeout;
    watchdog.deadline().arm(deadline);
    watchdog.wake_by(deadline);
    let call = Call {
        guest: GuestId(0),
        model: ModelId(0),
        export: Export::Tasks,
        input: TaskInput::Json(b"null"),
        task_id: TaskId(0),
        attempt: 1,
    };
    let report = executor.run(&call);
    if watchdog.deadline().disarm() {
        batch.put(&FromTasks::Ended(report.result.err()), clock::now());
        batch.flush();
        exit_now(0);
    }
    loop {
        std::thread::park();
    }
}

/// Sends output and log lines with the deadline paused: the parent does not read while it waits for the pool.
struct UntimedPrints {
    watchdog: Arc<WatchdogHandle>,
    batch: Arc<MessageBatch>,
}

impl UntimedPrints {
    fn with_deadline_paused(&self, say: impl FnOnce()) {
        let pause = self.watchdog.pause();
        say();
        drop(pause);
        self.watchdog.wake_by(self.batch.due());
    }
}

impl OutputSink for UntimedPrints {
    fn print(&self, stream: Stream, bytes: &[u8]) {
        self.with_deadline_paused(|| self.batch.print(stream, bytes));
    }

    fn log(&self, level: LogLevel, text: &str) {
        self.with_deadline_paused(|| self.batch.log(level, text));
    }
}

/// Checks the tasks that the guest pushes and sends them to the parent.
struct GuestTaskPusher {
    start: ToTasks,
    cpu_limit: CpuLimit,
    pushed: u64,
    watchdog: Arc<WatchdogHandle>,
    batch: Arc<MessageBatch>,
}

impl Pusher for GuestTaskPusher {
    fn push(&mut self, task: &[u8]) -> Result<TaskId, PushError> {
        if self.pushed == self.start.max_tasks {
            return Err(PushError::TooMany(self.pushed));
        }
        if task.len() > task_frame(self.start.max_args) {
            return Err(PushError::TooLarge(task.len()));
        }
        let line = TaskLine::parse_pushed(task)?;
        find_model(&self.start.info, line.model.as_deref().unwrap_or_default())?;
        let stdin = line.stdin.as_deref();
        check_input(
            &self.start.info,
            Cow::Owned(line.args),
            stdin,
            self.start.max_args,
        )?;
        // The send may wait for the parent, which waits for the pool. That time does not count towards the timeout.
        let pause = self.watchdog.pause();
        self.batch.put(&FromTasks::Push(task), clock::now());
        self.cpu_limit.reserve(self.start.timeout, thread_cpu());
        pause.resume_with(self.start.timeout);
        self.watchdog.wake_by(self.batch.due());
        let id = self.start.first + self.pushed;
        self.pushed += 1;
        Ok(id)
    }
}

/// Exits when the parent closes the socket, and flushes the message batch when it is due.
struct TaskSourceWatchdog {
    socket: OwnedFd,
    batch: Arc<MessageBatch>,
}

impl WatchdogHandler for TaskSourceWatchdog {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn on_readable(&mut self, _context: &WatchdogContext<'_>) {
        // The parent sends nothing after the start message, so the socket becomes readable only when the parent closes it.
        exit_now(0);
    }

    fn timer_due(&self) -> Time {
        self.batch.due()
    }

    fn on_timer(&mut self) {
        self.batch.flush_due();
    }

    fn grace(&self) -> Duration {
        WATCHDOG_GRACE
    }

    fn on_stuck(&self) -> ! {
        exit_now(EXIT_WATCHDOG);
    }
}
