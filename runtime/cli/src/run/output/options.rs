//! Options of a run's output, and of resuming an earlier run.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use crate::run::end::halt::Halt;
use crate::run::output::results::EarlierResults;
use crate::terminal::progress::ProgressMode;

/// Options of a run's output.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kept").args(["results", "results_dir"]).multiple(true))]
pub struct OutputOptions {
    /// Write a record per outcome to this file, or to stdout for `-`, as tasks end; guests' prints then go to stderr. A file
    /// that is not empty needs --resume, --retry-failed or --overwrite.
    #[arg(long, value_name = "FILE|-")]
    pub results: Option<PathBuf>,

    /// Resume the run whose records are in the file of --results: tasks that have a record there are skipped, and
    /// their callbacks are not run again. Tasks that were cancelled run. The guests and the tasks have to be the same.
    #[arg(long, requires = "results")]
    pub resume: bool,

    /// Like --resume, but tasks that failed are run again, and their records are replaced.
    #[arg(long, requires = "results")]
    pub retry_failed: bool,

    /// Replace the results of an earlier run: those in the file of --results, and the folders of tasks in --results-dir.
    #[arg(long, requires = "kept", conflicts_with_all = ["resume", "retry_failed"])]
    pub overwrite: bool,

    /// Write what each task prints and its record into files of this folder: ID/stdout, ID/stderr and ID/record.json. A
    /// folder with results of an earlier run needs --resume, --retry-failed or --overwrite.
    #[arg(long, value_name = "DIR")]
    pub results_dir: Option<PathBuf>,

    /// Write records and what tasks print in the order in which the tasks were pushed.
    #[arg(short = 'k', long)]
    pub keep_order: bool,

    /// Begin each line that a task prints with its input (of -a or :::), else its key, else its id, and a tab.
    #[arg(long)]
    pub tag: bool,

    /// End the run when this many tasks have failed or succeeded: now (running tasks are killed) or soon (they may end),
    /// as in now,fail=1 or soon,success=10 or soon,fail=25%.
    #[arg(long, value_name = "WHEN,WHY")]
    pub halt: Option<Halt>,

    /// Print the tasks that would run, as task lines, and run none.
    #[arg(long)]
    pub dry_run: bool,

    /// When to show a progress bar on the terminal: how many tasks have ended and failed, the rate, and the time left.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub progress: ProgressMode,

    /// Format of the summary, the last line on stderr.
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub summary: SummaryFormat,
}

impl OutputOptions {
    /// Returns what the run does with the results of an earlier run.
    pub fn earlier(&self) -> EarlierResults {
        match (self.retry_failed, self.resume, self.overwrite) {
            (true, ..) => EarlierResults::RetryFailed,
            (_, true, _) => EarlierResults::Resume,
            (_, _, true) => EarlierResults::Overwrite,
            _ => EarlierResults::Refuse,
        }
    }
}

/// The format of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}
