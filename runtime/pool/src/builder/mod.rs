//! [`Builder`]: the settings of a pool.

pub(crate) mod checks;
mod start;

use std::io::PipeReader;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::local::start::CommandStreams;
use crate::cache::Cache;
use crate::grants::trusted_paths::TrustedPaths;
use crate::objects::granted::GrantedObjects;
use crate::objects::manager::Manager;
use crate::objects::proxy::{Proxy, Shared};
use crate::pool::Pool;
use crate::report::Reporter;
use crate::setters::{grant_setters, setters};
use mpwasm_types::grants::DirGrant;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Interrupt, Isolation, Jail, Settings, Terminals, User};

/// Builds a [`Pool`]. Settings have the defaults of the command line; see [`Settings`].
///
/// ```no_run
/// use std::time::Duration;
///
/// # fn main() -> Result<(), mpwasm::Error> {
/// let pool = mpwasm::Pool::builder()
///     .size(8) // worker processes
///     .timeout(Duration::from_millis(500)) // per task, where the task names none
///     .memory(64 << 20) // bytes of linear memory that a task may use
///     .start()?;
/// # pool.stop()
/// # }
/// ```
///
/// [`Builder::start`] returns an error for invalid settings before it starts any process:
///
/// ```
/// let refused = mpwasm::Pool::builder().size(0).start();
/// assert!(matches!(refused, Err(mpwasm::Error::BadSetting(_))));
/// ```
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    executable: Option<PathBuf>,
    cache: Option<Cache>,
    /// The reporters that were added. [`Terminal`](crate::Terminal) is used if there are none.
    reporters: Vec<Box<dyn Reporter>>,
    streams: CommandStreams,
    /// Whether the pool belongs to a child: missing layers are reported only once for all children.
    is_child: bool,
    /// Paths that its tasks must not be able to change, besides its cache and executable.
    trusted: TrustedPaths,
    objects: GrantedObjects,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    setters! {
        /// Sets the number of worker processes, at least 1. By default it is the number of CPUs available.
        size: u32,
        /// Sets how many more workers may run while tasks wait for [shared objects](crate::objects); as many as the pool's
        /// size by default, and at least 16. A task that waits lends its place to another, so that a producer is not kept waiting by the consumers
        /// before it.
        max_waiting: u32 => Some,
        /// Sets the isolation between tasks. By default each has a fresh instance in a warm worker process. With
        /// [`Isolation::Process`] each has a fresh process, which costs some milliseconds per task.
        isolation: Isolation,
        /// Sets the timeout of a task that names none, longer than zero; 30 s by default.
        timeout: Duration,
        /// Sets how a running task is stopped at its deadline, and when it is cancelled. The default, [`Interrupt::Epoch`], keeps
        /// the worker process, and makes code that computes up to 2.4 times as slow. [`Interrupt::Signal`] works on x86-64 only, and a
        /// pool does not start with it elsewhere. A guest's code depends on this setting:
        /// [commands](crate::command::Command) are interrupted as the builder that loaded their guest says.
        interrupt: Interrupt,
        /// Sets the cap of a task's linear memory, bytes; 256 MiB by default. Beyond it `memory.grow` fails in the guest.
        memory: u64,
        /// Sets the stack of a guest, bytes, from 64 KiB to 4 GiB; 1 MiB by default. Deeper calls trap. A worker keeps as much
        /// stack memory as any of its tasks has used.
        stack: u64,
        /// Sets the most elements of each table of a guest: one million by default, ten million at most. A guest that starts with
        /// more is refused. Each element takes 8 bytes of memory per instance, in addition to linear memory.
        max_table: u32,
        /// Sets the largest result, bytes, at most 1 GiB; 16 MiB by default. A larger one ends the task as `limit`.
        max_result: u64,
        /// Sets the most bytes of stdout, stderr and log of one task or one callback; 1 MiB by default. More is dropped, and the
        /// outcome says so.
        max_output: u64,
        /// Sets whether a command's stdout and stderr become its result, as by default. Otherwise they are printed as they are
        /// written, and the result is the exit code alone.
        capture: bool,
        /// Sets the largest args, bytes of JSON, at most 1 GiB; 16 MiB by default. Pushing a task with larger ones returns an error.
        max_args: u64,
        /// Sets the timeout of one callback, longer than zero; 1 s by default.
        callback_timeout: Duration,
        /// Sets the cap of the linear memory of all callback instances of one guest together, bytes; 64 MiB by default.
        callback_memory: u64,
        /// Sets how many tasks a guest's `tasks` may push; one million by default.
        max_tasks: u64,
        /// Sets which layers of the jail around each process are required. By default every layer that the machine has is
        /// used, and none is required.
        jail: Jail,
        /// Sets the timeout of the compilation of one guest, longer than zero; 30 s by default. It covers the compiler
        /// process only; a guest from the [`Cache`] is not compiled.
        compile_timeout: Duration,
        /// Sets when a failed task is retried, unless the [task](crate::Task::retry) itself sets this. By default tasks are
        /// not retried.
        retry: Retry,
        /// Sets whether a task starts only after the [`Reporter`] has received the outcomes of all tasks that ended before,
        /// callbacks included. By default tasks do not wait for it. A reporter that calls
        /// [`Pool::interrupt`](crate::Pool::interrupt) or [`Pool::terminate`](crate::Pool::terminate) then decides exactly
        /// which task is the last to start, except for those that other workers run at that moment. Each outcome costs a
        /// round trip between the dispatcher and this process, during which no task starts.
        confirm_outcomes: bool,
        /// Sets how many tasks a worker process runs before it is replaced, at least 1; unlimited by default. A chunk counts
        /// as one task. State that tasks leave in the process ends with it. The next process is started while the previous
        /// one exits.
        max_tasks_per_worker: u32 => Some,
        /// Sets user and group of the pool's processes. Requires that this process is root, and a jail.
        user: User => Some,
        /// Sets the fuel of each task: a deterministic limit, in units of about one instruction. By default instructions are
        /// not counted. A task that runs out of fuel ends as `fuel`.
        fuel: u64 => Some,
        /// Sets how many files a task may have open at once, 1024 by default. [`start`](Builder::start) returns an error when
        /// this process's own limit (`ulimit -Hn`) is lower.
        max_files: u32 => Some,
    }

    grant_setters! {
        /// Grants a directory to all tasks in workers. It is opened once, when the pool starts, and the jail enforces the
        /// grant a second time. File systems mounted beneath it are included. A directory with procfs, sysfs or another file
        /// system that exposes the kernel is refused.
        ///
        /// A directory that tasks may change is refused if they could change the pool's [cache](Builder::cache) or
        /// [executable](Builder::executable) through it. For paths that the program itself trusts,
        /// [`Overlap::between`](crate::Overlap::between) makes the same check.
        ///
        /// ```no_run
        /// use mpwasm::{Access, DirGrant, Pool};
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let data = DirGrant::new("/srv/data", "/data", Access::ReadOnly)?;
        /// let pool = Pool::builder().dir(data).start()?;
        /// # Ok(pool.stop()?)
        /// # }
        /// ```
        dir,
        /// Gives each task a scratch directory of `bytes` bytes, `/tmp` for the guest. It is empty when the task starts, and
        /// removed when the task ends. It is in memory, and the kernel enforces its size. (The items of a chunk share one, as
        /// they share an instance.)
        ///
        /// An ordinary user needs a machine with user namespaces for it. Where there are none, [`start`](Builder::start)
        /// returns an error.
        ///
        /// ```no_run
        /// # fn main() -> Result<(), mpwasm::Error> {
        /// let pool = mpwasm::Pool::builder().tmp(64 << 20).start()?;
        /// # pool.stop()
        /// # }
        /// ```
        tmp,
        /// Sets an environment variable for all tasks in workers, which have no others. Replaces a variable of the same name.
        /// The name must not be empty or contain `=`, and neither name nor value may contain a zero byte.
        env,
    }

    /// Sets all settings at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the executable that the pool's processes run: `mpwasm-host` or `mpwasm`, of the same version and build as this
    /// library. It is for programs that can't call [`mpwasm::init`](crate::init) first in `main`, such as tests, and for
    /// those that must not be executed a second time.
    ///
    /// `mpwasm-host` is the smaller one. It contains the child processes only. The crate `mpwasm-host` builds it.
    ///
    /// [`start`](Self::start) fails when the executable is of another build.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// let pool = mpwasm::Pool::builder().executable("/usr/local/bin/mpwasm-host").start()?;
    /// # pool.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn executable(mut self, executable: impl Into<PathBuf>) -> Self {
        self.executable = Some(executable.into());
        self
    }

    /// Sets the cache, in which compiled guests are kept for later pools. Without this call the pool compiles every guest
    /// and leaves nothing on disk, as a library should not write files unasked. The command line uses the cache [of the
    /// user](Cache::of_user).
    ///
    /// A problem with the cache never fails a load: the guest is compiled instead.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// use mpwasm::{Cache, Pool};
    ///
    /// let pool = match Cache::of_user() {
    ///     Some(cache) => Pool::builder().cache(cache),
    ///     None => Pool::builder(),
    /// };
    /// # let pool = pool.start()?;
    /// # pool.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Lets tasks and callbacks use the objects of a manager that they get in their args. Those that they open by name are added
    /// by [`object`](Self::object), which includes this call.
    ///
    /// In a pool without a manager all objects are unavailable.
    #[must_use]
    pub fn manager(mut self, manager: &Manager) -> Self {
        self.objects.set_manager(manager.client());
        self
    }

    /// Grants an object to all tasks and callbacks, which open it by `name`. All objects of a pool are of one manager.
    ///
    /// ```no_run
    /// use mpwasm::{Pool, objects::Manager};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = Manager::start()?;
    /// let jobs = manager.queue::<u64>(100)?;
    /// let pool = Pool::builder().object("jobs", &jobs).start()?;
    /// # Ok(pool.stop()?)
    /// # }
    /// ```
    #[must_use]
    pub fn object(self, name: impl Into<String>, object: &impl Shared) -> Self {
        self.granting(name.into(), object.proxy())
    }

    /// Grants an object to all tasks and callbacks under a name.
    pub(crate) fn granting(mut self, name: String, object: &Proxy) -> Self {
        self.objects.add(name, object);
        self
    }

    /// Adds a reporter, which receives outcomes, output and everything else that [happens](crate::Event). Each of several receives
    /// everything, in the order in which they were added.
    ///
    /// Without any, the pool has a [`Terminal`](crate::Terminal), which writes guests' output to this process's stdout and stderr;
    /// outcomes go only to task handles then. A pool with a reporter that is to print, too, adds a `Terminal` to it.
    ///
    /// Each reporter that does not implement [`log`](crate::Reporter::log) and [`warning`](crate::Reporter::warning) emits them to
    /// `tracing`: all but one should implement them.
    #[must_use]
    pub fn reporter(mut self, reporter: impl Reporter + 'static) -> Self {
        self.reporters.push(Box::new(reporter));
        self
    }

    /// Sets a pipe that the pool's commands read after the [`stdin`](crate::guest::Task::stdin) of their own. No other
    /// reader may use the pipe. It is meant for pools that run one command: several would share it, in whatever order
    /// they read. A command that waits for it still ends at its deadline.
    #[must_use]
    pub fn stdin(mut self, pipe: PipeReader) -> Self {
        self.streams.stdin = Some(pipe);
        self
    }

    /// Sets which streams of a child are terminals.
    pub(crate) fn terminals(mut self, terminals: Terminals) -> Self {
        self.streams.terminals = terminals;
        self
    }
}
