//! Options of `run` and `exec` for instances of guests: limits, compilation and grants.

use std::env::{self, VarError};
use std::time::Duration;

use anyhow::{Error, Result, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use mpwasm::{DirGrant, Grants, Settings};
use mpwasm_types::duration;

use crate::options::units::size;

/// Limits and grants of an instance, and limits of its compilation.
#[derive(Debug, Args)]
pub struct InstanceOptions {
    /// Cap of the linear memory of a task or command; growing past it fails in the guest.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256MiB")]
    pub memory: u64,

    /// Instruction budget of a task or command, counted deterministically [default: not counted].
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,

    /// How a task or command is stopped at its timeout, and when it is cancelled. Callbacks and `tasks` are always stopped as
    /// with epoch.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = InterruptMode::Epoch)]
    pub interrupt: InterruptMode,

    /// Stack of a task or command, which limits how deep its calls can be nested. (Its linker sets the size of the stack that it
    /// has in its linear memory.)
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "1MiB")]
    pub stack: u64,

    /// Most elements of each table of a guest: mainly functions that are called through pointers.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub max_table: u32,

    /// Files that a task, or the command, can have open at once [default: 1024, or what `ulimit -Hn` leaves].
    #[arg(long, value_name = "N")]
    pub max_files: Option<u32>,

    /// Let tasks, or the command, use this directory, as GUEST if that is given; with :ro they can only read it. Callbacks
    /// can't use it. Repeatable.
    #[arg(long, value_name = "HOST[::GUEST][:ro]", value_parser = OsStringValueParser::new().try_map(DirGrant::parse))]
    pub dir: Vec<DirGrant>,

    /// Give each task, or the command, a scratch directory of this size, /tmp: in memory, and removed when the task ends.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub tmp: Option<u64>,

    /// Set an environment variable of tasks, or of the command; they have no others. NAME alone passes on its value from
    /// mpwasm's own environment. Repeatable.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Longest time that the compilation of the guest may take.
    #[arg(long, value_name = "DUR", value_parser = duration::parse, default_value = "30s")]
    pub compile_timeout: Duration,

    /// Compile the guest even if the cache has it, and leave the cache as it is.
    #[arg(long)]
    pub no_cache: bool,
}

impl InstanceOptions {
    /// Returns `settings` with these options applied.
    pub fn settings(&self, settings: Settings) -> Settings {
        Settings {
            memory: self.memory,
            fuel: self.fuel,
            interrupt: self.interrupt.into(),
            stack: self.stack,
            max_table: self.max_table,
            max_files: self.max_files,
            compile_timeout: self.compile_timeout,
            grants: self.grants(),
            ..settings
        }
    }

    fn grants(&self) -> Grants {
        Grants {
            dirs: self.dir.clone(),
            env: self.env.iter().cloned().collect(),
            tmp: self.tmp,
        }
    }
}

/// [`mpwasm::Interrupt`] as a value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InterruptMode {
    /// By checks in its code, which cost time where it computes; its worker process is kept.
    Epoch,
    /// By a signal to its thread; its code has no checks and is faster, and its worker process is kept; on x86-64 only.
    Signal,
    /// By ending its worker process, which another replaces; its code has no checks and is faster.
    Kill,
}

impl From<InterruptMode> for mpwasm::Interrupt {
    fn from(interrupt: InterruptMode) -> Self {
        match interrupt {
            InterruptMode::Epoch => Self::Epoch,
            InterruptMode::Signal => Self::Signal,
            InterruptMode::Kill => Self::Kill,
        }
    }
}

/// Parses `NAME=VALUE`, or `NAME` for a variable of mpwasm's own environment.
fn variable(text: &str) -> Result<(String, String)> {
    let checked = |text: &str| Grants::variable(text).map_err(Error::from);
    if text.is_empty() || text.contains('=') {
        return checked(text);
    }
    match env::var(text) {
        Ok(value) => checked(&format!("{text}={value}")),
        Err(VarError::NotPresent) => {
            bail!("{text} is not set in the environment of mpwasm: set it, or write {text}=VALUE")
        }
        Err(VarError::NotUnicode(_)) => {
            bail!("the value of {text} is not UTF-8, as guests' variables have to be")
        }
    }
}
