//! Options of `mpwasm run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use mpwasm::Settings;
use mpwasm_types::duration;

use crate::build::BuildOptions;
use crate::options::instance::InstanceOptions;
use crate::options::objects::ObjectOptions;
use crate::options::sandbox::JailOptions;
use crate::options::units::size;
use crate::run::input::options::InputOptions;
use crate::run::output::options::OutputOptions;
use crate::run::retry::RetryOptions;

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
    pub output: OutputOptions,

    /// End the run after this time: running tasks are killed, the others cancelled [default: none].
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub total_timeout: Option<Duration>,

    #[command(flatten)]
    pub limits: LimitOptions,

    #[command(flatten)]
    pub objects: ObjectOptions,

    #[command(flatten)]
    pub instances: InstanceOptions,

    #[command(flatten)]
    pub retries: RetryOptions,

    #[command(flatten)]
    pub sandbox: JailOptions,

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
                .sandbox
                .settings(self.instances.settings(self.limits.settings()))
        }
    }
}

/// Limits of a run's tasks and callbacks.
#[derive(Debug, Args)]
pub struct LimitOptions {
    /// Worker processes [default: the CPUs available].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub size: Option<u32>,

    /// Most further workers that run tasks while others wait for shared objects [default: as --size, at least 16].
    #[arg(long, value_name = "N")]
    pub max_waiting: Option<u32>,

    /// What separates tasks from one another.
    #[arg(long, value_name = "HOW", value_enum, default_value = "instance")]
    pub isolation: IsolationMode,

    /// Replace a worker process after this many tasks [default: never].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tasks_per_worker: Option<u32>,

    /// Timeout of a task that names none, such as 1s or 250ms.
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "30s")]
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
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "1s")]
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
            max_waiting: self.max_waiting,
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
pub enum IsolationMode {
    /// A fresh instance per task, in a warm worker process.
    Instance,
    /// A fresh worker process for every task.
    Process,
}

impl From<IsolationMode> for mpwasm::Isolation {
    fn from(isolation: IsolationMode) -> Self {
        match isolation {
            IsolationMode::Instance => Self::Instance,
            IsolationMode::Process => Self::Process,
        }
    }
}
