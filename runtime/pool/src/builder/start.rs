//! Starts a pool: checks the settings, then starts the dispatcher and the threads of this process.

use crate::builder::Builder;
use crate::init;
use mpwasm_system::process;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::pipe2;

use crate::backend::local::diagnostics;
use crate::backend::local::task_pipe::TaskPipe;
use crate::builder::checks::{CheckedSettings, check};
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants;
use crate::guest::Guest;
use crate::ledger::Ledger;
use crate::pool::Pool;
use crate::pool::counters::Counters;
use crate::pool::events::Dispatcher;
use crate::pool::final_values::FinalValues;
use crate::pool::state::PoolLifecycle;
use crate::pool::state::PoolState;
use crate::pool::status_requests::StatusRequests;
use crate::report::terminal::Terminal;
use crate::report::{Reporter, SharedReporter};
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::{MemoryCgroup, SandboxLayer};
use mpwasm_system::inherited::explained;
use mpwasm_system::poll::set_nonblocking;
use mpwasm_system::standard_descriptors;
use mpwasm_types::ids::PoolId;
use mpwasm_types::settings::{Jail, Settings, User};
use mpwasm_types::time::Time;

/// Size of the task pipe, bytes: some thousands of small tasks. With more tasks on their way the parent's own memory of
/// them no longer fits into the CPU caches; with fewer there are more writes.
const PIPE_SIZE: i32 = 256 << 10;

/// Number of pools started in this process, which is the id of the next one.
static POOLS: AtomicU64 = AtomicU64::new(0);

/// Set once the warning about missing layers of the jail was reported. Each pool reports it, but a child, of which there
/// may be thousands, only if it has not been reported before.
static GAPS_REPORTED: AtomicBool = AtomicBool::new(false);

impl Builder {
    /// Starts the dispatcher. The workers are started when the first guest is loaded.
    ///
    /// The calling thread may end before the pool does.
    ///
    /// # Errors
    /// [`Error::BadSetting`]; [`Error::Grant`]; [`Error::Jail`]; [`Error::InitMissing`] when the builder names no
    /// executable and [`init`](crate::init) was not called; [`Error::Read`] when the executable does not exist;
    /// [`Error::Start`] when it can't be started, is not an mpwasm executable, or is of another build; [`Error::Io`] when
    /// the system is out of descriptors, memory or threads.
    pub fn start(mut self) -> Result<Pool, Error> {
        let (reporter, streams) = (self.reporter.take(), mem::take(&mut self.streams));
        let is_child = self.is_child;
        let lacking = missing_layers(self.settings.jail);
        let checked = self.checked()?;
        let settings = &checked.settings;
        let plan = jail::available_options(settings.jail, settings.user);
        let dirs = grants::open(&settings.grants, plan.as_ref(), &checked.trusted)?;
        let reporter = reporter.unwrap_or_else(|| Box::new(Terminal::default()));
        let (for_dispatcher, pipe) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| explained(errno.into()))?;
        set_nonblocking(pipe.as_fd())?;
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        let (diagnostics, for_children) = io::pipe().map_err(explained)?;
        if let Some(stdin) = &streams.stdin {
            set_nonblocking(stdin.as_fd())?;
        }
        let gone = diagnostics::log(diagnostics).map_err(explained)?;
        let (settings, executable) = (checked.settings.clone(), checked.executable.clone());
        let start = move || {
            let memory = memory_group(&settings);
            let dispatcher = Dispatcher::start(
                &executable,
                &settings,
                memory.as_ref(),
                for_dispatcher,
                &dirs,
                streams,
                for_children,
            )?;
            let state = new_state(checked, reporter, pipe, &dispatcher, memory)?;
            Ok((dispatcher, state))
        };
        let (receiver, shared) = start_receiver(start, gone)?;
        if let Some(lacking) = lacking
            && (!GAPS_REPORTED.swap(true, Ordering::Relaxed) || !is_child)
        {
            let text = format!("the jail has holes: this machine lacks {lacking}; `mpwasm doctor` says more");
            shared.report(|reporter| reporter.warning(&text));
        }
        Ok(Pool {
            shared,
            receiver: Mutex::new(Some(receiver)),
        })
    }

    /// Returns the builder of a child's pool: as the one that loaded the guest, but with other settings, which must lead
    /// to the same compiled code.
    pub(crate) fn for_child_of(guest: &Guest, settings: Settings) -> Self {
        let executable = match guest.executable() {
            Executable::Own => None,
            Executable::At(path) => Some(path.clone()),
        };
        Self {
            settings,
            executable,
            is_child: true,
            trusted: guest.trusted().clone(),
            ..Self::default()
        }
    }

    /// Checks what can be checked before any process is started.
    pub(crate) fn checked(self) -> Result<CheckedSettings, Error> {
        standard_descriptors::fill();
        let settings = self.settings;
        check(&settings)?;
        if settings.jail == Jail::Strict
            && let Some(lacking) = missing_layers(settings.jail)
        {
            return Err(Error::Jail(lacking));
        }
        // A child process that gets here has not taken its role in `init`. Without this check, a program that names
        // itself as the executable and does not call `init` would start itself without end.
        if process::role().is_some() {
            return Err(Error::InitMissing);
        }
        let executable = match self.executable.clone() {
            Some(path) => {
                Executable::At(std::fs::canonicalize(&path).map_err(|error| Error::Read { path, error })?)
            }
            // A copy of this executable takes its role in `init`.
            None => {
                init::check_initialised(settings.jail)?;
                Executable::Own
            }
        };
        if let Some(user) = settings.user {
            check_user(&executable, user)?;
        }
        let trusted = self
            .trusted
            .with(self.cache.as_ref(), &executable, self.executable);
        Ok(CheckedSettings {
            settings,
            executable,
            cache: self.cache,
            trusted,
        })
    }
}

/// Starts the receiver thread, on which `start` starts the dispatcher. The dispatcher's parent-death signal is tied to
/// the thread that starts it, and this one lives as long as the dispatcher.
fn start_receiver(
    start: impl FnOnce() -> Result<(Dispatcher, Arc<PoolState>), Error> + Send + 'static,
    gone: mpsc::Receiver<()>,
) -> Result<(JoinHandle<()>, Arc<PoolState>), Error> {
    let (started, result) = mpsc::channel();
    let run = move || match start() {
        Err(error) => drop(started.send(Err(error))),
        Ok((dispatcher, shared)) => {
            if started.send(Ok(Arc::clone(&shared))).is_ok() {
                // User code runs on this thread too, for example wakers. A panic in it must not leave other threads waiting.
                let receive = AssertUnwindSafe(|| dispatcher.receive_all(&shared, &gone));
                if panic::catch_unwind(receive).is_err() {
                    shared.conclude(Some("the pool's own thread panicked".to_owned()), None);
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("mpwasm-receiver".to_owned());
    let receiver = thread.spawn(run).map_err(explained)?;
    match result.recv() {
        Ok(started) => Ok((receiver, started?)),
        Err(_) => Err(Error::Io(io::Error::other("the receiver's thread ended"))),
    }
}

/// Creates the state of a pool whose dispatcher was started.
fn new_state(
    checked: CheckedSettings,
    reporter: Box<dyn Reporter>,
    pipe: OwnedFd,
    dispatcher: &Dispatcher,
    memory: Option<MemoryCgroup>,
) -> Result<Arc<PoolState>, Error> {
    let CheckedSettings {
        settings,
        executable,
        cache,
        trusted,
    } = checked;
    let max_result = settings.max_result;
    Ok(Arc::new(PoolState {
        id: PoolId(POOLS.fetch_add(1, Ordering::Relaxed)),
        owner: Owner::this(),
        settings,
        executable,
        cache,
        trusted,
        memory,
        ledger: Ledger::default(),
        counters: Counters::default(),
        status_requests: StatusRequests::default(),
        final_values: FinalValues::new(max_result),
        task_pipe: Mutex::new(TaskPipe::new(pipe)),
        socket: Mutex::new(dispatcher.socket()?),
        reporter: SharedReporter::new(reporter),
        done_callbacks: DoneCallbacks::default(),
        loading: Mutex::default(),
        lifecycle: Mutex::<PoolLifecycle>::default(),
        changed: Condvar::new(),
        closing: EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
        killing: EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
        kill_at: AtomicU64::new(Time::NEVER.0),
        cancelling: AtomicBool::new(false),
        dispatcher: dispatcher.pid(),
    }))
}

/// Checks that children that run as `user` may execute `executable`, as the dispatcher starts workers from it.
///
/// # Errors
/// [`Error::BadSetting`] when they can't.
fn check_user(executable: &Executable, user: User) -> Result<(), Error> {
    let metadata = std::fs::metadata(executable.path())?;
    let shift = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    if metadata.mode() >> shift & 1 == 1 {
        return Ok(());
    }
    let (uid, gid) = (user.uid, user.gid);
    Err(Error::BadSetting(format!(
        "user {uid}:{gid} may not execute this executable, of which the pool's processes are copies"
    )))
}

/// Returns the names of the mandatory layers that this machine lacks, if any.
fn missing_layers(jail: Jail) -> Option<String> {
    let missing = match jail {
        Jail::Off => Vec::new(),
        Jail::Strict | Jail::BestEffort => jail::missing_layers(),
    };
    let names: Vec<_> = missing.into_iter().map(SandboxLayer::name).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Creates the memory cgroup around the pool's processes, if the machine permits it; otherwise `mpwasm doctor` shows the
/// reason.
fn memory_group(settings: &Settings) -> Option<MemoryCgroup> {
    if settings.jail == Jail::Off {
        return None;
    }
    let made = MemoryCgroup::create(settings);
    made.inspect_err(|why| tracing::debug!("no limit of memory around the pool: {why}"))
        .ok()
}
