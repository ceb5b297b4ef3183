//! The options of `mpwasm report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  mpwasm report log                                     what happened in a run with --results log
  mpwasm report --top 50 monday.log tuesday.log         several runs or slices as one
  mpwasm run demo.wasm --results - | mpwasm report -    without a file
  mpwasm report log --format json | jq .run_us.p99      for programs
  mpwasm report log --format html -o report.html        a page with charts, which loads nothing
  mpwasm report log --format csv -o tasks.csv           a row per task, for tables
  mpwasm report log --format junit -o junit.xml         a test case per task, for CI";

/// `mpwasm report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Files with records, as `run --results` writes them. `-` is stdin. Several are one report, in which tasks are known by their
    /// log and line: equal ids in different logs are different tasks.
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,

    /// The form of the report.
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    pub format: ReportFormat,

    /// Write the report to this file, which is replaced once the report is complete.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Most entries of each list: slowest and largest tasks, failures, workers. For `text`, `json` and `html`.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: u32,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A summary for people.
    Text,
    /// The summary as a JSON object.
    Json,
    /// The summary as a page: one file for a browser, with a timeline and other charts, which works offline.
    Html,
    /// A table with a row per task.
    Csv,
    /// Test results in JUnit's XML, with a test case per task.
    Junit,
}
