//! The definition of the command line, which clap parses.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use mpwasm::Settings;
use mpwasm::escape::Untrusted;
use mpwasm_types::task_line::duration;

use crate::build;
use crate::options::instance::InstanceOptions;
use crate::options::sandbox::SandboxOptions;
use crate::options::units::size;
use crate::process::exit::{Failure, OrExit};
use crate::run::input::combinations::{self, InputList};
use crate::run::input::options::InputOptions;
use crate::run::output::options::OutputOptions;
use crate::run::retry::RetryOptions;
use crate::terminal::logging::LogFormat;

/// A process pool for code that you do not trust: runs tasks in sandboxed WebAssembly guests.
#[derive(Debug, Parser)]
#[command(name = "mpwasm", version = VERSION.as_str(), max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more on stderr: once for guests' debug lines and what becomes of each process, twice
    /// for guests' trace lines.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// The form of log lines: guests' and mpwasm's own.
    #[arg(long, value_name = "FORM", value_enum, global = true, default_value = "text")]
    pub log_format: LogFormat,
}

/// The versions of mpwasm and of its engine.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} (wasmtime {})",
        env!("CARGO_PKG_VERSION"),
        mpwasm::ENGINE_VERSION
    )
});

impl Cli {
    /// Parses a command line, with the inputs after `:::`, which clap does not support.
    ///
    /// # Errors
    /// When the arguments are wrong, or ask for help.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let wrong = |kind, why: &str| {
            let mut definition = Self::command();
            definition.build();
            match definition.find_subcommand_mut("run") {
                Some(run) => run.error(kind, why),
                None => definition.error(kind, why),
            }
        };
        let mut line: Vec<_> = line.into_iter().collect();
        // In the arguments of `exec`, `:::` has no meaning.
        let listed = match is_exec(line.iter().cloned()) {
            true => None,
            false => {
                combinations::split_listed(&mut line).map_err(|why| wrong(ErrorKind::InvalidValue, &why))?
            }
        };
        let mut cli = Self::try_parse_from(line)?;
        match (&mut cli.command, listed) {
            (_, None) => {}
            (Command::Run(run), Some(lists)) => {
                run.like_options = options_among(&lists);
                let added = run.inputs.add_lists(lists);
                added.map_err(|(kind, why)| wrong(kind, why))?;
            }
            (_, Some(_)) => {
                return Err(wrong(
                    ErrorKind::UnknownArgument,
                    "only `run` takes inputs behind :::",
                ));
            }
        }
        if let Command::Run(run) = &cli.command {
            run.inputs.check().map_err(|(kind, why)| wrong(kind, why))?;
        }
        Ok(cli)
    }
}

/// Returns the first inputs after `:::` that look like options, which the user may have misplaced.
fn options_among(lists: &[InputList]) -> Vec<String> {
    const SHOWN: usize = 3;
    let definition = Cli::command();
    let run = definition.find_subcommand("run").into_iter();
    let options = || {
        run.clone()
            .chain([&definition])
            .flat_map(clap::Command::get_arguments)
    };
    let looks_so = |input: &&String| match input.as_bytes() {
        [b'-', b'-', letter, ..] => letter.is_ascii_alphabetic(),
        [b'-', letter] => options().any(|option| option.get_short() == Some(char::from(*letter))),
        _ => false,
    };
    let inputs = lists.iter().flat_map(|list| &list.inputs);
    inputs.filter(looks_so).take(SHOWN).cloned().collect()
}

/// Returns whether a command line, which may be wrong, is one of `mpwasm exec`.
pub fn is_exec(line: impl IntoIterator<Item = OsString>) -> bool {
    let definition = Cli::command();
    let value_follows = |word: &OsString| {
        let takes = |option: &clap::Arg| option.get_action().takes_values();
        let options = definition.get_arguments().filter(|option| takes(option));
        let mut names = options.filter_map(|option| option.get_long());
        word.to_str()
            .and_then(|word| word.strip_prefix("--"))
            .is_some_and(|word| names.any(|name| name == word))
    };
    let mut words = line.into_iter().skip(1);
    while let Some(word) = words.next() {
        if !word.as_encoded_bytes().starts_with(b"-") {
            return word == "exec";
        }
        if value_follows(&word) {
            words.next();
        }
    }
    false
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a guest's tasks in a pool of worker processes.
    ///
    /// Exit codes: 0 every task and callback was ok; 1 some failed; 2 wrong usage or a bad guest, nothing ran;
    /// 3 mpwasm itself failed; 129, 130 and 143 ended by SIGHUP, SIGINT or SIGTERM; 141 the reader of its output left before
    /// all was written. The first of these signals lets running tasks end, the second kills them, the third does not even wait
    /// for the records. SIGTSTP (Ctrl-Z) stops the workers and the clocks of tasks, and SIGCONT continues them. SIGUSR1 prints
    /// what each worker is doing.
    #[command(override_usage = "mpwasm run [OPTIONS] <GUEST[#MODEL]>... [-- ARG...] [::: INPUT...]...")]
    Run(Box<RunArgs>),
    /// Run one command (a guest with `_start`) as if it were a program of this machine, with this stdin, stdout and
    /// stderr.
    ///
    /// Exit codes: the command's own (255 for one that no process can have); 124 it ran out of time; 125 mpwasm itself
    /// failed or was used wrongly; 126 a bad guest; 129, 130 and 143 ended by SIGHUP, SIGINT or SIGTERM; 134 it trapped, or ran
    /// out of memory or fuel; 141 the reader of its stdout is gone.
    Exec(Box<ExecArgs>),
    /// Build a guest crate for wasm32-wasip1 and print the path of the module.
    Build {
        /// Directory of the crate.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Write a guest crate that builds and runs at once.
    New {
        /// Name of the crate, or a path that ends in it.
        #[arg(value_name = "NAME")]
        name: PathBuf,
    },
    /// Show a guest's models, imports and memory, and what would be refused and why.
    ///
    /// Exit codes: 0 the guest would be accepted; 2 it would be refused.
    Inspect(InspectArgs),
    /// Show which layers of the jail this machine has, and try them on a worker.
    ///
    /// Exit codes: 0 all mandatory layers hold; 1 one does not.
    Doctor,
    /// Look after the cache of compiled guests, which lets a guest start quickly that has run before.
    ///
    /// It is in $MPWASM_CACHE_DIR, or else in the folder mpwasm of the user's cache directory ($XDG_CACHE_HOME or
    /// ~/.cache). When it is full, what was not used for longest goes.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Print a script that completes mpwasm's command lines in a shell.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Print a manual page, for `man -l -`.
    Man {
        /// The sub-command that it is of [default: mpwasm as a whole].
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// `mpwasm cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show where the cache is, and how much is in it.
    Stats,
    /// Remove all compiled guests.
    Clear,
}

/// `mpwasm run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// .wasm or .wat files, or directories of guest crates (which are built first); with #MODEL, the model of tasks
    /// that name none. With several guests, each task line names its own: {"guest": FILE, "args": ...}.
    #[arg(value_name = "GUEST[#MODEL]", required = true)]
    pub guests: Vec<OsString>,

    #[command(flatten)]
    pub building: BuildOptions,

    #[command(flatten)]
    pub inputs: InputOptions,

    #[command(flatten)]
    pub showing: OutputOptions,

    /// End the run after so long: running tasks are killed, the others cancelled [default: none].
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub total_timeout: Option<Duration>,

    #[command(flatten)]
    pub limits: LimitOptions,

    #[command(flatten)]
    pub instances: InstanceOptions,

    #[command(flatten)]
    pub retries: RetryOptions,

    #[command(flatten)]
    pub walls: SandboxOptions,

    /// Inputs that look like options.
    #[arg(skip)]
    pub like_options: Vec<String>,
}

impl RunArgs {
    /// Returns the settings of the pool.
    pub fn settings(&self) -> Settings {
        Settings {
            retry: self.retries.policy(),
            ..self
                .walls
                .settings(self.instances.settings(self.limits.settings()))
        }
    }
}

/// `mpwasm exec`.
#[derive(Debug, Args)]
#[command(override_usage = "mpwasm exec [OPTIONS] <GUEST> [ARG]...")]
pub struct ExecArgs {
    /// A .wasm or .wat file, and the command's arguments: all that follows, options too.
    #[arg(value_name = "GUEST [ARG]", trailing_var_arg = true, required = true)]
    pub command: Vec<OsString>,

    /// End the command after so long [default: never].
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub timeout: Option<Duration>,

    #[command(flatten)]
    pub instances: InstanceOptions,

    #[command(flatten)]
    pub walls: SandboxOptions,
}

impl ExecArgs {
    /// Returns the settings of the pool for this one command.
    pub fn settings(&self) -> Settings {
        self.walls.settings(self.instances.settings(Settings {
            size: 1,
            timeout: self.timeout.unwrap_or(NEVER),
            capture: false,
            max_output: u64::MAX,
            ..Settings::default()
        }))
    }
}

/// A timeout that never expires: 100 years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Limits of a run's tasks and callbacks.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Worker processes [default: the CPUs available].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub size: Option<u32>,

    /// What separates tasks from one another.
    #[arg(long, value_name = "HOW", value_enum, default_value = "instance")]
    pub isolation: Isolation,

    /// Replace a worker process after so many tasks [default: never].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tasks_per_worker: Option<u32>,

    /// Timeout of a task that names none, such as 1s or 250ms.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "30s")]
    pub timeout: Duration,

    /// Largest result; a larger one ends its task as `limit`.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "16MiB")]
    pub max_result: u64,

    /// Most that a task, or a callback, may print and log; more is cut and flagged.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1MiB")]
    pub max_output: u64,

    /// Largest args; a task with larger ones ends as `invalid`.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "16MiB")]
    pub max_args: u64,

    /// Most tasks that the guest's `tasks` export may push.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub max_tasks: u64,

    /// Timeout of one callback.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "1s")]
    pub callback_timeout: Duration,

    /// Cap of the linear memory of all of a guest's callback instances.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64MiB")]
    pub callback_memory: u64,
}

impl LimitOptions {
    /// Returns the default settings with these limits.
    fn settings(&self) -> Settings {
        Settings {
            size: self.size.unwrap_or_else(|| Settings::default().size),
            isolation: self.isolation.into(),
            max_tasks_per_worker: self.max_tasks_per_worker,
            timeout: self.timeout,
            max_result: self.max_result,
            max_output: self.max_output,
            max_args: self.max_args,
            callback_timeout: self.callback_timeout,
            callback_memory: self.callback_memory,
            max_tasks: self.max_tasks,
            ..Settings::default()
        }
    }
}

/// [`mpwasm::Isolation`] as a value of an option.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Isolation {
    /// A fresh instance per task, in a warm worker process.
    Instance,
    /// A fresh worker process for every task.
    Process,
}

impl From<Isolation> for mpwasm::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Instance => Self::Instance,
            Isolation::Process => Self::Process,
        }
    }
}

/// `mpwasm inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A .wasm or .wat file, or the directory of a guest crate (which is built first).
    #[arg(value_name = "GUEST")]
    pub guest: PathBuf,

    #[command(flatten)]
    pub building: BuildOptions,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The cap of linear memory that the guest's initial memory is held against.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MiB")]
    pub memory: u64,

    /// The elements of a table that the guest's tables are held against.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub max_table: u32,

    /// Longest time that the compilation of the guest may take.
    #[arg(long, value_name = "DUR", value_parser = duration, default_value = "30s")]
    pub compile_timeout: Duration,
}

/// Options of building a crate directory.
#[derive(Debug, Args)]
pub struct BuildOptions {
    /// Refuse to build: a crate's build scripts and macros run outside of every sandbox.
    #[arg(long)]
    pub no_build: bool,
}

impl BuildOptions {
    /// Returns the module of a guest: the file itself, or the result of building a crate directory.
    ///
    /// # Errors
    /// When the build fails, or is needed but not allowed.
    pub fn module(&self, guest: &Path) -> Result<PathBuf, Failure> {
        if !guest.is_dir() {
            return Ok(guest.to_owned());
        }
        if self.no_build {
            let dir = Untrusted::from(guest);
            return Err(Failure::usage(anyhow!(
                "{dir} is a crate directory, which --no-build forbids to build: run `mpwasm build {dir}` and name \
                 the .wasm that it prints"
            )));
        }
        build::build(guest).or_usage()
    }
}

#[cfg(test)]
mod tests;
