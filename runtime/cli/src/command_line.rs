//! The definition of the command line, which clap parses.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cache::CacheCommand;
use crate::exec::ExecArgs;
use crate::inspect::InspectArgs;
use crate::report::options::ReportArgs;
use crate::run::input::combinations::{self, InputList};
use crate::run::options::RunArgs;
use crate::terminal::logging::LogFormat;

/// A process pool for code that you do not trust: runs tasks in sandboxed WebAssembly guests.
#[derive(Debug, Parser)]
#[command(name = "mpwasm", version = VERSION.as_str(), max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,

    /// Log more on stderr: once for guests' debug lines and events of the pool's processes, twice also for guests' trace
    /// lines.
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
            false => combinations::split_listed(&mut line)
                .map_err(|error| wrong(ErrorKind::InvalidValue, &error.to_string()))?,
        };
        let mut cli = Self::try_parse_from(line)?;
        match (&mut cli.command, listed) {
            (_, None) => {}
            (CliCommand::Run(run), Some(lists)) => {
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
        if let CliCommand::Run(run) = &cli.command {
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
pub enum CliCommand {
    /// Run a guest's tasks in a pool of worker processes.
    ///
    /// Exit codes: 0 every task and callback was ok; 1 some failed; 2 wrong usage or a bad guest, nothing ran;
    /// 3 mpwasm itself failed; 129, 130 and 143 ended by SIGHUP, SIGINT or SIGTERM; 141 the reader of its output closed it
    /// before everything was written. The first of these signals lets running tasks end, the second kills them, and the third does
    /// not wait for the records. SIGTSTP (Ctrl-Z) stops the workers and the clocks of tasks, and SIGCONT continues them. SIGUSR1 prints
    /// what each worker is doing.
    #[command(override_usage = "mpwasm run [OPTIONS] <GUEST[#MODEL]>... [-- ARG...] [::: INPUT...]...")]
    Run(Box<RunArgs>),
    /// Run one command (a guest with `_start`) as if it were a program of this machine, with this stdin, stdout and
    /// stderr.
    ///
    /// Exit codes: the command's own (255 for one that no process can have); 124 it ran out of time; 125 mpwasm itself
    /// failed or was used wrongly; 126 a bad guest; 129, 130 and 143 ended by SIGHUP, SIGINT or SIGTERM; 134 it trapped, or ran
    /// out of memory or fuel; 141 the reader of its stdout closed it.
    Exec(Box<ExecArgs>),
    /// Build a guest crate for wasm32-wasip1 and print the path of the module. It has SIMD instructions, unless the environment or a
    /// configuration of cargo gives flags for the compiler.
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
    /// Summarise the records of runs: outcomes, percentiles, throughput, slow tasks, failures by message, workers.
    ///
    /// Lines of a log that are no records are named in the report, and the others are used.
    ///
    /// Exit codes: 0 the report was written, whatever the outcomes in it; 2 wrong usage, a log that can't be read, or logs without
    /// any record; 3 the report could not be written.
    #[command(after_help = crate::report::options::EXAMPLES)]
    Report(ReportArgs),
    /// Show a guest's models, imports and memory, and what would be refused and why.
    ///
    /// Exit codes: 0 the guest would be accepted; 2 it would be refused.
    Inspect(InspectArgs),
    /// Show which layers of the jail this machine has, and try them on a worker.
    ///
    /// Exit codes: 0 all mandatory layers are active; 1 one is not, or no task could be run in them.
    Doctor,
    /// Show or clear the cache of compiled guests, by which a guest that has run before starts quickly.
    ///
    /// It is in $MPWASM_CACHE_DIR, or else in the folder mpwasm of the user's cache directory ($XDG_CACHE_HOME or
    /// ~/.cache). When it is full, the guests that were not used for the longest time are removed.
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
        /// The sub-command that it describes [default: mpwasm as a whole].
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

#[cfg(test)]
mod tests;
