//! Settings, and the start of a pool.

mod checks;

use crate::init;
use mpwasm_system::process;
use std::io::{self, PipeReader};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::pipe2;

use crate::builder::checks::check;
use crate::cache::Cache;
use crate::completion::done_callbacks::DoneCallbacks;
use crate::error::Error;
use crate::fork::Owner;
use crate::grants;
use crate::grants::trusted_paths::TrustedPaths;
use crate::guest::Guest;
use crate::local::final_values::FinalValues;
use crate::local::ledger::Ledger;
use crate::local::receiver;
use crate::local::receiver::Dispatcher;
use crate::local::state::PoolLifecycle;
use crate::local::state::PoolState;
use crate::local::stats::Counters;
use crate::local::status_requests::StatusRequests;
use crate::local::task_pipe::TaskPipe;
use crate::pool::Pool;
use crate::report::terminal::Terminal;
use crate::report::{Reporter, SharedReporter};
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::{MemoryCgroup, SandboxLayer};
use mpwasm_system::inherited::explained;
use mpwasm_system::poll::set_nonblocking;
use mpwasm_system::standard_descriptors;
use mpwasm_types::grants::DirGrant;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{Isolation, Jail, Settings, Terminals, User};
use mpwasm_types::time::Time;

/// Bytes that the pipe of tasks should hold: some thousands of small tasks. With more of them on their way the parent's
/// own memory of them no longer fits into the processor's caches, with less there are more writes.
const PIPE_SIZE: i32 = 256 << 10;

/// Pools that were started in this process: a guest remembers which of them loaded it.
static POOLS: AtomicU64 = AtomicU64::new(0);

/// Whether it was told in this process what the machine lacks: each pool tells it, but its children, of which there may be
/// thousands, do so only when nobody has.
static GAPS_REPORTED: AtomicBool = AtomicBool::new(false);

/// Builds a [`Pool`]. What is not set has the default of the command line; see [`Settings`].
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
/// Settings that make no sense are told by [`Builder::start`], before any process is started:
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
    /// What it starts is a child, which lacks what all others lack.
    is_child: bool,
    /// What its tasks must not be able to change, beside its own cache and executable.
    trusted: TrustedPaths,
}

/// The streams of a pool's commands.
#[derive(Debug, Default)]
pub(crate) struct CommandStreams {
    /// What they read after the stdin of their own.
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

/// A setter for a setting.
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
        /// callbacks included. A reporter that calls [`Pool::interrupt`] or [`Pool::terminate`] then decides exactly which
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

    /// Who the pool's processes shall be, when this process is root's. It takes a jail.
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

    /// All settings at once.
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

    /// Who hears of outcomes and prints. By default that is a [`Terminal`]: guests' prints go to this process's
    /// stdout and stderr, and outcomes only to those who wait for them.
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

    /// Starts the dispatcher. The workers are started when the first guest is loaded.
    ///
    /// The thread that calls this may end before the pool does.
    ///
    /// # Errors
    /// [`Error::BadSetting`]; [`Error::Grant`]; [`Error::Jail`]; [`Error::InitMissing`] when the builder names no
    /// executable and [`init`](crate::init) was not called; [`Error::Read`] when the executable is not there; [`Error::Start`] when
    /// it can't be started, does not behave like mpwasm, or is of another build; [`Error::Io`] when the system is
    /// out of descriptors, memory or threads.
    pub fn start(mut self) -> Result<Pool, Error> {
        let (reporter, streams) = (self.reporter.take(), mem::take(&mut self.streams));
        let is_child = self.is_child;
        let lacking = missing_layers(self.settings.jail);
        let CheckedSettings {
            settings,
            executable,
            cache,
            trusted,
        } = self.checked()?;
        let plan = jail::available_options(settings.jail, settings.user);
        let dirs = grants::open(&settings.grants, plan.as_ref(), &trusted)?;
        let reporter = reporter.unwrap_or_else(|| Box::new(Terminal::default()));
        let (for_dispatcher, pipe) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| explained(errno.into()))?;
        set_nonblocking(pipe.as_fd())?;
        let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        let (diagnostics, for_children) = io::pipe().map_err(explained)?;
        // The thread that starts the dispatcher must live as long as it does: its death signal is tied to it.
        let (started, outcome) = mpsc::channel();
        if let Some(stdin) = &streams.stdin {
            set_nonblocking(stdin.as_fd())?;
        }
        let make_shared = {
            let (settings, executable) = (settings.clone(), executable.clone());
            let final_values = FinalValues::new(settings.max_result);
            move |socket, dispatcher, memory| -> Result<Arc<PoolState>, Error> {
                Ok(Arc::new(PoolState {
                    number: POOLS.fetch_add(1, Ordering::Relaxed),
                    owner: Owner::this(),
                    settings,
                    executable,
                    cache,
                    trusted,
                    memory,
                    ledger: Ledger::default(),
                    counters: Counters::default(),
                    status_requests: StatusRequests::default(),
                    final_values,
                    task_pipe: Mutex::new(TaskPipe::new(pipe)),
                    socket: Mutex::new(socket),
                    reporter: SharedReporter::new(reporter),
                    done_callbacks: DoneCallbacks::default(),
                    loading: Mutex::default(),
                    lifecycle: Mutex::<PoolLifecycle>::default(),
                    changed: Condvar::new(),
                    closing: EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
                    killing: EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(io::Error::from)?,
                    kill_at: AtomicU64::new(Time::NEVER.0),
                    cancelling: AtomicBool::new(false),
                    dispatcher,
                }))
            }
        };
        let (alive, gone) = mpsc::channel();
        std::thread::Builder::new()
            .name("mpwasm-diagnostics".to_owned())
            .spawn(move || {
                let _until_the_last_has_ended = alive;
                receiver::pass_on_diagnostics(diagnostics);
            })
            .map_err(explained)?;
        let receiver = std::thread::Builder::new()
            .name("mpwasm-receiver".to_owned())
            .spawn(move || {
                let start = || {
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
                    let shared = make_shared(dispatcher.socket()?, dispatcher.pid(), memory)?;
                    Ok((dispatcher, shared))
                };
                match start() {
                    Err(error) => drop(started.send(Err(error))),
                    Ok((dispatcher, shared)) => {
                        if started.send(Ok(Arc::clone(&shared))).is_ok() {
                            // User code runs on this thread too (wakers, for one). Whatever it does, nobody may wait
                            // for ever.
                            let receive_all = AssertUnwindSafe(|| dispatcher.receive_all(&shared, &gone));
                            if panic::catch_unwind(receive_all).is_err() {
                                shared.conclude(Some("the pool's own thread panicked".to_owned()), None);
                            }
                        }
                    }
                }
            })
            .map_err(explained)?;
        match outcome.recv() {
            Ok(Ok(shared)) => {
                if let Some(lacking) = lacking
                    && (!GAPS_REPORTED.swap(true, Ordering::Relaxed) || !is_child)
                {
                    let text = format!(
                        "the jail has holes: this machine lacks {lacking}; `mpwasm doctor` says more"
                    );
                    shared.report(|reporter| reporter.warning(&text));
                }
                Ok(Pool {
                    shared,
                    receiver: Mutex::new(Some(receiver)),
                })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Io(io::Error::other("the receiver's thread ended"))),
        }
    }

    /// For a child: as the guest's pool was built, but with other settings, which must lead to the same code.
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
        // A copy that got here did not know what it is. Without this, a program that names itself as the executable
        // and does not call `init` would start itself without end.
        if process::role().is_some() {
            return Err(Error::InitMissing);
        }
        let executable = match self.executable.clone() {
            Some(path) => {
                Executable::At(std::fs::canonicalize(&path).map_err(|error| Error::Read { path, error })?)
            }
            // A copy of this executable must know what it is.
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

/// Checks that children that run as `user` can become copies of `executable` in their turn.
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

/// What is left of a builder whose settings make sense, on a machine that has what they ask for.
pub(crate) struct CheckedSettings {
    pub settings: Settings,
    pub executable: Executable,
    pub cache: Option<Cache>,
    pub trusted: TrustedPaths,
}

/// The names of the mandatory layers that this machine lacks, if any is.
fn missing_layers(jail: Jail) -> Option<String> {
    let missing = match jail {
        Jail::Off => Vec::new(),
        Jail::Strict | Jail::BestEffort => jail::missing_layers(),
    };
    let names: Vec<_> = missing.into_iter().map(SandboxLayer::name).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// The limit of memory around the pool's processes: where the machine has none, `mpwasm doctor` says why.
fn memory_group(settings: &Settings) -> Option<MemoryCgroup> {
    if settings.jail == Jail::Off {
        return None;
    }
    let made = MemoryCgroup::create(settings);
    made.inspect_err(|why| tracing::debug!("no limit of memory around the pool: {why}"))
        .ok()
}
