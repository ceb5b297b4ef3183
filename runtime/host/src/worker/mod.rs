//! The worker process: runs tasks, one at a time, each in a fresh instance.
//!
//! A worker has two threads. The main thread loads the guests and becomes the watchdog, and the task thread runs them
//! ([`run_loop`]). Both send their messages to the dispatcher through the [`MessageBatch`]. The worker makes no scheduling
//! decision: it claims its offers in order and reports how their tasks ended.

mod meter;
mod run_loop;
mod shared;

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::error::ChildError;
use crate::guest_thread;
use crate::manager_client::ManagerClient;
use crate::message_batch::MessageBatch;
use mpwasm_engine::watchdog;
use mpwasm_engine::watchdog::{WatchdogContext, WatchdogHandle, WatchdogHandler};
use mpwasm_engine::{Deadline, EngineRole, Executor, OutputSink};
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{FromWorker, WorkerStart, control, task_frame};
use mpwasm_protocol::page::SharedPage;
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::EXIT_WATCHDOG;
use mpwasm_sandbox::cpu_affinity::CpuAffinity;
use mpwasm_sandbox::cpu_limit::CpuLimit;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::BASE_DESCRIPTORS;
use mpwasm_sandbox::scratch::ScratchDir;
use mpwasm_system::clock;
use mpwasm_system::poll;
use mpwasm_system::process;
use mpwasm_system::process::exit_now;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Granted;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::GuestId;
use mpwasm_types::role::Role;
use mpwasm_types::sandbox_options::SandboxOptions;
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::WATCHDOG_GRACE;

use shared::SharedWorkerState;

/// The start message of the dispatcher, with the file descriptors that came with it.
struct WorkerSetup {
    engine: EngineSettings,
    cpu_affinity: CpuAffinity,
    jail: Option<SandboxOptions>,
    page: SharedPage,
    stdin: Option<OwnedFd>,
    /// The connection to the manager of shared objects.
    objects: Option<OwnedFd>,
    granted: Granted,
    max_files: u32,
    /// The guests: number in the pool, artifact and description.
    guests: Vec<(GuestId, File, GuestInfo)>,
}

/// Runs a worker: creates the engine, sets up the sandbox, loads the guests and starts the task thread. The calling thread
/// becomes the watchdog.
///
/// # Errors
/// When it can't start. If it can't load its guests, it sends the reason to the dispatcher and exits.
pub fn main() -> Result<Infallible, ChildError> {
    let mut channel = child::start_up()?;
    let (control, start) = receive_start(&mut channel)?;
    poll::set_nonblocking(control.as_fd())?;
    let watchdog = Arc::new(WatchdogHandle::new(Arc::new(Deadline::new()))?);
    let socket = channel.as_fd().try_clone_to_owned()?;
    let batch = MessageBatch::new(socket, Arc::clone(&watchdog), |frames, output| {
        frames.put(&FromWorker::Output(output));
    });
    let shared = Arc::new(SharedWorkerState {
        batch: Arc::new(batch),
        watchdog,
        running: AtomicU64::new(0),
        cancelled: AtomicU64::new(0),
    });
    let prints: Arc<dyn OutputSink> = Arc::clone(&shared.batch) as _;
    let deadline = Arc::clone(shared.watchdog.deadline());
    // The engine opens its file descriptors before the sandbox is set up.
    let executor = Executor::new(EngineRole::Worker, &start.engine, deadline, prints)
        .unwrap_or_else(|error| shared.unable(&error.into()));
    let (engine, interrupt) = (executor.engine().clone(), start.engine.interrupt);
    load(channel, start, executor, &shared).unwrap_or_else(|error| shared.unable(&error));
    let mut handler = WorkerWatchdog {
        control: File::from(control),
        received: Vec::new(),
        shared: Arc::clone(&shared),
    };
    watchdog::watch(&engine, interrupt, &shared.watchdog, &mut handler);
}

/// Receives the start message and maps the page. Returns the control pipe beside it.
fn receive_start(channel: &mut Channel) -> Result<(OwnedFd, WorkerSetup), ChildError> {
    let WorkerStart {
        stdin,
        objects,
        engine,
        max_args,
        cpu,
        jail,
        grants,
        max_files,
        guests,
    } = in_memory::receive(channel)?;
    let mut descriptor = |name| channel.take_descriptor().ok_or(ChildError::NoDescriptor(name));
    let control = descriptor("the control pipe")?;
    let page = SharedPage::map(descriptor("the shared page")?)?;
    let granted = Granted::of_worker(grants, || descriptor("a granted directory"))?;
    let stdin = match stdin {
        true => Some(descriptor("the stdin of commands")?),
        false => None,
    };
    let objects = match objects {
        true => Some(descriptor("the connection to the manager")?),
        false => None,
    };
    let mut loaded = Vec::new();
    for (number, info) in guests {
        let artifact = File::from(descriptor("an artifact")?);
        loaded.push((number, artifact, info.into_owned()));
    }
    // Tasks follow, whose frames may be larger than the start message.
    channel.inbox().set_max(task_frame(max_args));
    let start = WorkerSetup {
        engine,
        cpu_affinity: CpuAffinity::new(cpu),
        jail,
        page,
        stdin,
        objects,
        granted,
        max_files,
        guests: loaded,
    };
    Ok((control, start))
}

/// Sets up the sandbox, loads the guests and starts the task thread.
fn load(
    channel: Channel,
    start: WorkerSetup,
    mut executor: Executor,
    shared: &Arc<SharedWorkerState>,
) -> Result<(), ChildError> {
    // Both threads use it until the process exits.
    let page: &'static SharedPage = Box::leak(Box::new(start.page));
    clock::follow(page.skipped_cell());
    if let Some(stdin) = start.stdin {
        executor.set_stdin(stdin)?;
    }
    if let Some(socket) = start.objects {
        let deadline = Arc::clone(shared.watchdog.deadline());
        let client = ManagerClient::new(socket, deadline);
        executor.set_object_client(Box::new(client.with_reporter(Box::new(Arc::clone(shared)))))?;
    }
    let has_files = start.granted.all_dirs().next().is_some();
    if let Some(plan) = &start.jail {
        // SAFETY: the page is leaked, so its cell is valid until the process exits.
        unsafe { jail::violation::report_in(page.violation_cell()) };
        jail::isolate(Role::Worker, plan, start.granted.all_dirs())?;
    }
    // Opened inside the sandbox, as tasks will open it.
    let scratch = ScratchDir::of(&start.granted)?;
    // The previous process of this worker may have been killed before it cleared the directory.
    scratch
        .clear()
        .map_err(|error| ChildError::ClearScratch(error.into()))?;
    executor.grant(start.granted)?;
    // Only inside the sandbox, as they come from the compiler, which read untrusted input.
    for (number, artifact, info) in start.guests {
        executor.load_as(number, artifact, &info)?;
    }
    if has_files {
        process::limit_files(u64::from(start.max_files) + u64::from(BASE_DESCRIPTORS))?;
    }
    let shared = Arc::clone(shared);
    let (cpu_affinity, cpu_limit) = (start.cpu_affinity, CpuLimit::new(start.jail.is_some()));
    guest_thread::start(Role::Worker, start.engine.stack, start.jail.as_ref(), move || {
        run_loop::run(
            channel,
            page,
            executor,
            &shared,
            &cpu_affinity,
            cpu_limit,
            &scratch,
        );
    })
}

/// Cancels calls on request, exits when the dispatcher closes the control pipe, and flushes the message batch when it is
/// due.
struct WorkerWatchdog {
    control: File,
    /// Bytes of a message that has not fully arrived.
    received: Vec<u8>,
    shared: Arc<SharedWorkerState>,
}

impl WatchdogHandler for WorkerWatchdog {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.control.as_fd())
    }

    fn on_readable(&mut self, context: &WatchdogContext<'_>) {
        let mut bytes = [0; 64 * control::SIZE];
        match self.control.read(&mut bytes) {
            Ok(0) => exit_now(0),
            Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            Err(_) => return,
        }
        while let Some((message, rest)) = self.received.split_first_chunk::<{ control::SIZE }>() {
            let offer = control::parse(*message);
            self.received = rest.to_vec();
            // Stored before `running` is read: a call that begins after the read sees the cancellation itself.
            self.shared.cancelled.store(offer.0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let before = context.call();
            let running = self.shared.running.load(Ordering::SeqCst);
            if let Some(call) = before
                && context.call() == before
                && running == offer.0
            {
                context.cancel(call);
            }
        }
    }

    fn timer_due(&self) -> Time {
        self.shared.batch.due()
    }

    fn on_timer(&mut self) {
        self.shared.batch.flush_due();
    }

    fn grace(&self) -> Duration {
        WATCHDOG_GRACE
    }

    fn on_stuck(&self) -> ! {
        // Among what is pending may be the results of earlier items of the chunk.
        self.shared.batch.flush_before_exit();
        exit_now(EXIT_WATCHDOG);
    }
}
