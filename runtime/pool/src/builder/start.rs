//! Starts a pool: checks the settings, then starts the dispatcher and the threads of this process.

use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::backend::connection::{AnySender, Connection};
use crate::backend::local::start::LocalStart;
use crate::backend::{Backend, BackendDied, EventSource};
use crate::builder::Builder;
use crate::builder::checks::{CheckedSettings, check_processes, missing_layers};
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants;
use crate::guest::Guest;
use crate::ledger::Ledger;
use crate::objects::granted::ParentObjects;
use crate::pool::Pool;
use crate::pool::counters::Counters;
use crate::pool::events;
use crate::pool::final_values::FinalValues;
use crate::pool::state::{PoolLifecycle, PoolState};
use crate::report::event::Event;
use crate::report::terminal::Terminal;
use crate::report::{Reporter, Reporters};
use crate::sync::{Condvar, Mutex};
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_system::inherited::explained;
use mpwasm_types::ids::PoolId;
use mpwasm_types::settings::Settings;

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
    /// executable and [`init`](crate::init) was not called; [`Error::InitLate`] when that came too late;
    /// [`Error::Read`] when the executable does not exist; [`Error::Start`] when it can't be started, is not an mpwasm
    /// executable, or is of another build; [`Error::Object`] when the manager of its objects has ended; [`Error::Io`] when the
    /// system is out of descriptors, memory or threads.
    pub fn start(mut self) -> Result<Pool, Error> {
        let streams = mem::take(&mut self.streams);
        let objects = mem::take(&mut self.objects);
        objects.check()?;
        let mut starting = self.prepare()?;
        let checked = &starting.checked;
        let sandbox = jail::available_options(checked.settings.jail, checked.settings.user);
        let dirs = grants::open(&checked.settings.grants, sandbox.as_ref(), &checked.trusted)?;
        let (settings, executable) = (checked.settings.clone(), checked.executable.clone());
        let wants_workers = starting.reporters.iter().any(|reporter| reporter.wants_workers());
        let mut local = LocalStart::prepare(settings, executable, dirs, streams, wants_workers)?;
        if let Some(objects) = objects.open()? {
            local = local.with_objects(objects.dispatcher);
            starting.objects = Some(objects.parent);
        }
        starting.start(move || local.start())
    }

    /// Starts a pool over another backend, which `connect` starts on the thread that receives its events.
    ///
    /// # Errors
    /// As [`Builder::start`], and what `connect` returns.
    #[doc(hidden)]
    pub fn start_over<S: EventSource + 'static>(
        self,
        connect: impl FnOnce() -> Result<Connection<S>, Error> + Send + 'static,
    ) -> Result<Pool, Error> {
        self.prepare()?.start(connect)
    }

    /// Checks the settings, and adds the default reporter if there is none.
    fn prepare(mut self) -> Result<StartingPool, Error> {
        let mut reporters = mem::take(&mut self.reporters);
        if reporters.is_empty() {
            reporters.push(Box::new(Terminal::default()));
        }
        Ok(StartingPool {
            reporters,
            lacking: missing_layers(self.settings.jail),
            is_child: self.is_child,
            objects: None,
            checked: self.checked()?,
        })
    }

    /// Returns the builder of a child's pool: that of the pool that loaded the guest, with other settings, which must lead to the
    /// same compiled code.
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

    /// Checks what can be checked before any process is started, and opens closed standard descriptors.
    pub(crate) fn checked(self) -> Result<CheckedSettings, Error> {
        let settings = self.settings;
        let executable = check_processes(&settings, self.executable.clone())?;
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

/// A pool whose settings were checked.
struct StartingPool {
    checked: CheckedSettings,
    reporters: Vec<Box<dyn Reporter>>,
    /// Names of the mandatory layers of the jail that this machine lacks.
    lacking: Option<String>,
    is_child: bool,
    /// Its connection to the manager of its objects.
    objects: Option<ParentObjects>,
}

impl StartingPool {
    /// Starts the pool over the backend that `connect` returns.
    fn start<S: EventSource + 'static>(
        self,
        connect: impl FnOnce() -> Result<Connection<S>, Error> + Send + 'static,
    ) -> Result<Pool, Error> {
        let Self {
            checked,
            reporters,
            lacking,
            is_child,
            objects,
        } = self;
        let start = move || {
            let Connection {
                backend,
                sender,
                source,
            } = connect()?;
            Ok((source, new_state(checked, reporters, backend, sender, objects)?))
        };
        let (receiver, shared) = start_receiver(start)?;
        if let Some(lacking) = lacking
            && (!GAPS_REPORTED.swap(true, Ordering::Relaxed) || !is_child)
        {
            let text =
                format!("the jail is incomplete: this machine lacks {lacking}; `mpwasm doctor` says more");
            shared.report(&Event::Warning(&text));
        }
        Ok(Pool {
            shared,
            receiver: Mutex::new(Some(receiver)),
        })
    }
}

/// Starts the receiver thread, on which `start` starts the backend. The dispatcher's parent-death signal is tied to
/// the thread that starts it, and this one lives as long as the dispatcher.
fn start_receiver<S: EventSource + 'static>(
    start: impl FnOnce() -> Result<(S, Arc<PoolState>), Error> + Send + 'static,
) -> Result<(JoinHandle<()>, Arc<PoolState>), Error> {
    let (started, result) = mpsc::channel();
    let run = move || match start() {
        Err(error) => drop(started.send(Err(error))),
        Ok((source, shared)) => {
            if started.send(Ok(Arc::clone(&shared))).is_ok() {
                // User code runs on this thread too, for example wakers. A panic in it must not leave other threads waiting.
                let receive = AssertUnwindSafe(|| events::receive_all(&shared, source));
                if panic::catch_unwind(receive).is_err() {
                    let why = "the pool's own thread panicked".to_owned();
                    shared.conclude(Some(BackendDied { why }), None);
                }
            }
        }
    };
    let thread = thread::Builder::new().name("mpwasm-receiver".to_owned());
    let receiver = thread.spawn(run).map_err(explained)?;
    match result.recv() {
        Ok(started) => Ok((receiver, started?)),
        Err(_) => Err(Error::Io(io::Error::other("the receiver's thread ended"))),
    }
}

/// Creates the state of a pool whose backend was started.
fn new_state(
    checked: CheckedSettings,
    reporters: Vec<Box<dyn Reporter>>,
    backend: Box<dyn Backend>,
    sender: AnySender,
    objects: Option<ParentObjects>,
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
        ledger: Ledger::default(),
        counters: Counters::default(),
        final_values: FinalValues::new(max_result),
        backend,
        sender: Mutex::new(sender),
        objects,
        reporters: Reporters::new(reporters),
        done_callbacks: DoneCallbacks::default(),
        loading: Mutex::default(),
        lifecycle: Mutex::<PoolLifecycle>::default(),
        changed: Condvar::new(),
        closing: EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
        cancelling: AtomicBool::new(false),
    }))
}
