//! [`Builder`]: the settings of a pool.

mod checks;
mod start;

use std::io::PipeReader;
use std::path::PathBuf;
use std::time::Duration;

use mpwasm_types::grants::DirGrant;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Isolation, Jail, Settings, Terminals, User};

pub(crate) use self::start::CheckedSettings;
use crate::cache::Cache;
use crate::grants::trusted_paths::TrustedPaths;
use crate::report::Reporter;

/// Builds a [`Pool`](crate::Pool). Settings have the defaults of the command line; see [`Settings`].
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
    reporter: Option<Box<dyn Reporter>>,
    streams: CommandStreams,
    /// Whether the pool belongs to a child: missing layers are reported only once for all children.
    is_child: bool,
    /// Paths that its tasks must not be able to change, beside its cache and executable.
    trusted: TrustedPaths,
}

/// Streams of a pool's commands.
#[derive(Debug, Default)]
pub(crate) struct CommandStreams {
    /// Read by commands after their own stdin.
    pub stdin: Option<PipeReader>,
    pub terminals: Terminals,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Defines a setter for each setting.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.settings.$name = $name;
            self
        })*
    };
}

impl Builder {
    setters! {
        /// Number of worker processes, at least 1.
        size: u32,
        /// What separates tasks from one another: by default a fresh instance in a warm worker process, with
        /// [`Isolation::Process`] a fresh process, which costs some milliseconds per task.
        isolation: Isolation,
        /// Timeout of a task that names none, longer than zero.
        timeout: Duration,
        /// Cap of a task's linear memory, bytes. To grow past it fails in the guest, as `memory.grow` does.
        memory: u64,
        /// Stack of a guest, bytes, from 64 KiB to 4 GiB: 1 MiB by default. Calls that are nested deeper trap. A worker keeps
        /// as much of it as any of its tasks has used.
        stack: u64,
        /// Elements that each table of a guest may have, one million by default and ten at most. A guest that starts with
        /// more is refused. An instance pays 8 bytes for each element that it has, beside its memory.
        max_table: u32,
        /// Largest result, bytes, at most 1 GiB. A larger one ends the task as `limit`.
        max_result: u64,
        /// Most bytes of stdout, stderr and log of one task or one callback. More is cut and flagged.
        max_output: u64,
        /// Whether what a command writes to its stdout and stderr is its result, as it is by default. Otherwise it is
        /// printed as it comes, and the result is the exit code alone.
        capture: bool,
        /// Largest args, bytes of JSON, at most 1 GiB. Larger ones are refused when they are pushed.
        max_args: u64,
        /// Deadline of one callback, longer than zero.
        callback_timeout: Duration,
        /// Cap of the linear memory of all callback instances of one guest, bytes.
        callback_memory: u64,
        /// Most tasks that a guest's `tasks` may push.
        max_tasks: u64,
        /// How much of the jail around each process must hold; all that the machine has, by default.
        jail: Jail,
        /// How long the compilation of one guest may take, longer than zero. It covers no more than the compiler's
        /// own process: a guest that is in the [`Cache`] takes none of it.
        compile_timeout: Duration,
        /// When a task that failed is tried again, where the [task](crate::Task::retry) itself does not say. By default
        /// it never is.
        retry: Retry,
        /// Whether no task begins before the [`Reporter`] has returned from the outcomes of all tasks that ended before it, their
        /// callbacks included. A reporter that calls [`Pool::interrupt`](crate::Pool::interrupt) or [`Pool::terminate`](crate::Pool::terminate) then decides exactly which
        /// task was the last to begin, but for those that other workers run at that moment. Each outcome costs a round trip
        /// between the dispatcher and this process, in which no task begins.
        confirm_outcomes: bool,
    }

    /// Tasks that a worker process runs before another takes its place, at least 1; any number by default. A chunk counts
    /// as one. What they leave behind in the process goes with it. The next process is started while the one before goes.
    #[must_use]
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        self.settings.max_tasks_per_worker = Some(tasks);
        self
    }

    /// User and group of the pool's processes, if this process is root. Requires a jail.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.settings.user = Some(user);
        self
    }

    /// Deterministic budget of each task, in units of about one instruction; none is counted by default. A task
    /// that uses it up ends as `fuel`.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.settings.fuel = Some(fuel);
        self
    }

    /// Files that a task can have open at once, 1024 by default. [`start`](Builder::start) says so when this process's own
    /// limit (`ulimit -Hn`) is lower.
    #[must_use]
    pub fn max_files(mut self, files: u32) -> Self {
        self.settings.max_files = Some(files);
        self
    }

    /// A directory that all tasks in workers may use: opened once, when the pool starts, and held a second time by the
    /// jail. What is mounted in it belongs to it, but no procfs, sysfs or anything else that gives the kernel away.
    ///
    /// One that tasks may change is refused where it would let them change what this pool trusts, its [cache](Builder::cache) and
    /// its [executable](Builder::executable). [`Overlap::between`](crate::Overlap::between) tells the same of what the program itself trusts.
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
    #[must_use]
    pub fn dir(mut self, dir: DirGrant) -> Self {
        self.settings.grants.dirs.push(dir);
        self
    }

    /// A scratch directory of so many bytes for each task, which guests know as `/tmp`: empty when the task begins, and gone
    /// when it ends. It is in memory, and the kernel keeps it to its size. (The items of a chunk share one, as they share
    /// an instance.)
    ///
    /// An ordinary user needs a machine with user namespaces: where there are none, [`start`](Builder::start) says so.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// let pool = mpwasm::Pool::builder().tmp(64 << 20).start()?;
    /// # pool.stop()
    /// # }
    /// ```
    #[must_use]
    pub fn tmp(mut self, bytes: u64) -> Self {
        self.settings.grants.tmp = Some(bytes);
        self
    }

    /// A variable of the environment of all tasks in workers; they have no other. One of the same name that was set before
    /// is replaced. The name is not empty and has no `=`, and neither has a zero byte.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.grants.env.insert(name.into(), value.into());
        self
    }

    /// Sets all settings at once.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the executable that the pool's processes run: `mpwasm-host` or `mpwasm`, of the same version and build as this
    /// library. It is for programs that can't call [`mpwasm::init`](crate::init) first in `main`, such as tests, and for
    /// those that are not to be executed again.
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

    /// Where compiled guests are kept for later pools. Without this call the pool compiles every guest anew and leaves
    /// nothing on disk: a library should not do that unasked. The command line has the cache
    /// [of the user](Cache::of_user).
    ///
    /// Whatever is wrong with the cache, guests load: what can't be found there is compiled.
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

    /// Sets the reporter, which receives outcomes and output. By default a [`Terminal`](crate::Terminal): guests' output goes to this process's stdout
    /// and stderr, and outcomes only to task handles.
    #[must_use]
    pub fn reporter(mut self, reporter: impl Reporter + 'static) -> Self {
        self.reporter = Some(Box::new(reporter));
        self
    }

    /// What the pool's commands read, as it comes, once they have read the [`stdin`](crate::guest::Task::stdin) of their own: the
    /// end of a pipe that nobody else reads. It is for pools that run one command: several share it, in whatever order
    /// they read. A command that waits for it still ends at its deadline.
    #[must_use]
    pub fn stdin(mut self, pipe: PipeReader) -> Self {
        self.streams.stdin = Some(pipe);
        self
    }

    /// For a child: which of its streams are terminals.
    pub(crate) fn terminals(mut self, terminals: Terminals) -> Self {
        self.streams.terminals = terminals;
        self
    }
}
