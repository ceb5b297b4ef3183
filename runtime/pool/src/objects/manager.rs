//! [`Manager`]: the process that holds objects.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use crate::builder::checks::check_processes;
use crate::error::Error;
use crate::objects::client::OwnerClient;
use crate::objects::dict::Dict;
use crate::objects::event::{Barrier, Event};
use crate::objects::list::List;
use crate::objects::lock::{BoundedSemaphore, Condition, Lock, RLock, Semaphore};
use crate::objects::namespace::Namespace;
use crate::objects::number::{Array, Number, Value};
use crate::objects::pipe::Connection;
use crate::objects::proxy::Proxy;
use crate::objects::queue::{JoinableQueue, Queue};
use crate::objects::start::ManagerProcess;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectSpec, ObjectsStatus};
use mpwasm_types::settings::{Jail, Settings, User};

/// Memory that the objects of a manager may use by default: 256 MiB.
const MEMORY: u64 = 256 << 20;

/// A process that holds objects for tasks, callbacks and this program, as `multiprocessing.Manager`.
///
/// The process is jailed like those of a pool, and runs no guest code. It ends when the last clone of the `Manager` is dropped; then
/// operations fail as [`Unavailable`](ObjectErrorKind::Unavailable). Proxies do not keep it alive. Any number of pools can use one
/// manager.
///
/// The methods that create an object return a typed proxy, which this program uses, passes to tasks in their args, and grants to
/// pools by name.
///
/// ```no_run
/// use mpwasm::Pool;
/// use mpwasm::objects::Manager;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     mpwasm::init();
///     let manager = Manager::start()?;
///     let jobs = manager.queue::<String>(100)?;
///     let counts = manager.dict::<String, u64>()?;
///     let pool = Pool::builder().object("jobs", &jobs).start()?; // guests open it by its name
///     let guest = pool.load("guest.wasm")?;
///     pool.push(guest.task((&counts, 7)))?; // or get a proxy in their args
///     jobs.put(&"first".to_owned())?;
///     pool.stop()?;
///     println!("{:?}", counts.items()?);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Manager {
    process: Arc<ManagerProcess>,
    /// Label of the objects that this handle creates; the manager chooses one if it is empty.
    label: String,
}

/// Builds a [`Manager`].
#[derive(Debug)]
pub struct ManagerBuilder {
    memory: u64,
    settings: Settings,
    executable: Option<PathBuf>,
}

impl ManagerBuilder {
    /// Sets the memory that all objects together may use, bytes; 256 MiB by default. An operation that needs more fails as
    /// [`OutOfMemory`](ObjectErrorKind::OutOfMemory).
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Sets which layers of the jail are required, as [`Builder::jail`](crate::Builder::jail).
    #[must_use]
    pub fn jail(mut self, jail: Jail) -> Self {
        self.settings.jail = jail;
        self
    }

    /// Sets user and group of the process, as [`Builder::user`](crate::Builder::user).
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.settings.user = Some(user);
        self
    }

    /// Sets the executable that the process runs, as [`Builder::executable`](crate::Builder::executable).
    #[must_use]
    pub fn executable(mut self, executable: impl Into<PathBuf>) -> Self {
        self.executable = Some(executable.into());
        self
    }

    /// Starts the manager. The calling thread may end before it.
    ///
    /// # Errors
    /// As [`Builder::start`](crate::Builder::start).
    pub fn start(self) -> Result<Manager, Error> {
        let executable = check_processes(&self.settings, self.executable)?;
        let process = ManagerProcess::start(executable, self.settings, self.memory)?;
        Ok(Manager {
            process: Arc::new(process),
            label: String::new(),
        })
    }
}

impl Manager {
    /// Starts a manager with the default settings.
    ///
    /// # Errors
    /// As [`Builder::start`](crate::Builder::start).
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder {
            memory: MEMORY,
            settings: Settings::default(),
            executable: None,
        }
    }

    /// Returns a handle of the same manager that labels the objects that it creates. Errors, records and the status name an object
    /// by its label. Without one the manager chooses it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = mpwasm::objects::Manager::start()?;
    /// let jobs = manager.labelled("jobs").queue::<u64>(3)?;
    /// println!("{}", jobs.get_nowait().unwrap_err()); // queue `jobs`: get: empty
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn labelled(&self, label: impl Into<String>) -> Self {
        Self {
            process: Arc::clone(&self.process),
            label: label.into(),
        }
    }

    /// Creates a [`Queue`] of at most `max_size` items; 0 for no limit but the manager's memory.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`; `Invalid` when `max_size` is above four billion.
    pub fn queue<T>(&self, max_size: usize) -> Result<Queue<T>, ObjectError> {
        let max = self.count("max_size", max_size)?;
        self.create(ObjectSpec::Queue(NonZeroU32::new(max)))
            .map(Queue::new)
    }

    /// Creates a [`JoinableQueue`] of at most `max_size` items; 0 for no limit but the manager's memory.
    ///
    /// # Errors
    /// As [`Manager::queue`].
    pub fn joinable_queue<T>(&self, max_size: usize) -> Result<JoinableQueue<T>, ObjectError> {
        let max = self.count("max_size", max_size)?;
        self.create(ObjectSpec::JoinableQueue(NonZeroU32::new(max)))
            .map(JoinableQueue::new)
    }

    /// Creates a pipe, and returns its two ends. With `duplex` both send and receive; otherwise the first receives and the second
    /// sends.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn pipe<T>(&self, duplex: bool) -> Result<(Connection<T>, Connection<T>), ObjectError> {
        let ends = self.create_all(ObjectSpec::Pipe { duplex })?;
        match <[Proxy; 2]>::try_from(ends) {
            Ok([first, second]) => Ok((Connection::new(first), Connection::new(second))),
            Err(_) => Err(self.unavailable("its reply has not the two ends of a pipe")),
        }
    }

    /// Creates a [`Value`] that is `initial`.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn value<N: Number>(&self, initial: N) -> Result<Value<N>, ObjectError> {
        let value = self.create(ObjectSpec::Value(N::TYPE)).map(Value::new)?;
        value.store(initial);
        Ok(value)
    }

    /// Creates an [`Array`] of `length` zeros, at least one.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`; `Invalid` when the length is 0 or above four billion.
    pub fn array<N: Number>(&self, length: usize) -> Result<Array<N>, ObjectError> {
        let length = self.at_least_one("length", length)?;
        self.create(ObjectSpec::Array(N::TYPE, length)).map(Array::new)
    }

    /// Creates a [`Lock`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn lock(&self) -> Result<Lock, ObjectError> {
        self.create(ObjectSpec::Lock).map(Lock::new)
    }

    /// Creates an [`RLock`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn rlock(&self) -> Result<RLock, ObjectError> {
        self.create(ObjectSpec::RLock).map(RLock::new)
    }

    /// Creates a [`Semaphore`] with this many permits.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn semaphore(&self, permits: u32) -> Result<Semaphore, ObjectError> {
        self.create(ObjectSpec::Semaphore(permits)).map(Semaphore::new)
    }

    /// Creates a [`BoundedSemaphore`] with this many permits.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn bounded_semaphore(&self, permits: u32) -> Result<BoundedSemaphore, ObjectError> {
        self.create(ObjectSpec::BoundedSemaphore(permits))
            .map(BoundedSemaphore::new)
    }

    /// Creates an [`Event`], which is not set.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn event(&self) -> Result<Event, ObjectError> {
        self.create(ObjectSpec::Event).map(Event::new)
    }

    /// Creates a [`Condition`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn condition(&self) -> Result<Condition, ObjectError> {
        self.create(ObjectSpec::Condition).map(Condition::new)
    }

    /// Creates a [`Barrier`] for this many parties, at least one.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`; `Invalid` for no parties.
    pub fn barrier(&self, parties: u32) -> Result<Barrier, ObjectError> {
        let parties = self.at_least_one("parties", parties as usize)?;
        self.create(ObjectSpec::Barrier(parties)).map(Barrier::new)
    }

    /// Creates a [`Dict`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn dict<K, V>(&self) -> Result<Dict<K, V>, ObjectError> {
        self.create(ObjectSpec::Dict).map(Dict::new)
    }

    /// Creates a [`List`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn list<T>(&self) -> Result<List<T>, ObjectError> {
        self.create(ObjectSpec::List).map(List::new)
    }

    /// Creates a [`Namespace`].
    ///
    /// # Errors
    /// `OutOfMemory`, `Unavailable`.
    pub fn namespace(&self) -> Result<Namespace, ObjectError> {
        self.create(ObjectSpec::Namespace).map(Namespace::new)
    }

    /// Returns who waits for which object since when, and who holds what.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn status(&self) -> Result<ObjectsStatus, ObjectError> {
        self.process
            .client
            .status()
            .map_err(|failed| failed.of(NAME, "status"))
    }

    /// Returns the process id of the manager. It is meaningless once the manager has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns why the manager has ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        self.process.client.ended()
    }

    pub(crate) fn client(&self) -> &Arc<OwnerClient> {
        &self.process.client
    }

    fn create(&self, spec: ObjectSpec) -> Result<Proxy, ObjectError> {
        let proxies = self.create_all(spec)?;
        let first = proxies.into_iter().next();
        first.ok_or_else(|| self.unavailable("its reply has no object"))
    }

    /// Creates an object; both ends of a pipe.
    pub(crate) fn create_all(&self, spec: ObjectSpec) -> Result<Vec<Proxy>, ObjectError> {
        let client = &self.process.client;
        let opened = client.create(spec, &self.label);
        let opened = opened.map_err(|failed| failed.of(&self.label, "create"))?;
        opened
            .into_iter()
            .map(|(token, opened)| Proxy::new(Arc::clone(client), token, opened))
            .collect()
    }

    fn count(&self, what: &str, count: usize) -> Result<u32, ObjectError> {
        u32::try_from(count).map_err(|_| self.invalid(&format!("{what} is above {}", u32::MAX)))
    }

    fn at_least_one(&self, what: &str, count: usize) -> Result<NonZeroU32, ObjectError> {
        let count = self.count(what, count)?;
        NonZeroU32::new(count).ok_or_else(|| self.invalid(&format!("{what} is 0, and must be at least 1")))
    }

    fn invalid(&self, why: &str) -> ObjectError {
        ObjectError::new(ObjectErrorKind::Invalid, &self.label, "create").with_detail(why)
    }

    fn unavailable(&self, why: &str) -> ObjectError {
        ObjectError::new(ObjectErrorKind::Unavailable, &self.label, "create").with_detail(why)
    }
}

/// What errors name if they concern no object.
const NAME: &str = "manager";
