//! `mpwasm report`: summarises the records of runs.

mod destination;
pub mod options;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use mpwasm::escape::Untrusted;
use mpwasm_report::aggregator::Aggregator;
use mpwasm_report::html::{self, PageBuilder};
use mpwasm_report::junit::JunitReport;
use mpwasm_report::log_reader::{LogReader, ReadError, RecordSink};
use mpwasm_report::report::{BadLine, BadLines};
use mpwasm_report::task_table::TaskTable;
use mpwasm_report::text;

use crate::process::exit::{Exit, ExitError};
use crate::report::destination::{Destination, is_same_file};
use crate::report::options::{ReportArgs, ReportFormat};
use crate::terminal::stdio::{self, BlockingFile};

/// Size of the buffer of a log: 256 KiB, so that a system call reads hundreds of records.
const READ_BUFFER: usize = 256 << 10;

/// The name by which stdin is shown.
const STDIN: &str = "-";

/// Reads the logs and writes the report.
///
/// The exit code does not depend on whether tasks failed: the exit code of the run has reported that.
pub fn report(args: &ReportArgs) -> Result<Exit, ExitError> {
    check(args).map_err(ExitError::usage)?;
    let destination = Destination::open(args.output.as_deref(), args.format).map_err(ExitError::usage)?;
    let mut logs = Logs {
        paths: &args.logs,
        reader: LogReader::default(),
    };
    match logs.write(args, destination) {
        Err(Problem::Log(error)) => return Err(ExitError::usage(error)),
        // The reader of stdout has what it wanted.
        Err(Problem::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe && args.output.is_none() => {
        }
        Err(Problem::Output(error)) => {
            return Err(ExitError::internal(
                anyhow!(error).context("cannot write the report"),
            ));
        }
        Ok(()) => {}
    }
    if matches!(args.format, ReportFormat::Csv | ReportFormat::Junit) {
        show_bad_lines(&logs.reader.bad_lines());
    }
    Ok(Exit::Success)
}

/// Checks that no log is read twice, and that none would be replaced.
fn check(args: &ReportArgs) -> anyhow::Result<()> {
    for (n, log) in args.logs.iter().enumerate() {
        if args.logs[..n].contains(log) {
            return Err(anyhow!(
                "{} is given twice: its tasks would be counted twice",
                Untrusted::from(log)
            ));
        }
        if args
            .output
            .as_ref()
            .is_some_and(|output| is_same_file(output, log))
        {
            return Err(anyhow!(
                "{} is a log: the report would replace it",
                Untrusted::from(log)
            ));
        }
    }
    Ok(())
}

/// Why there is no report.
enum Problem {
    /// A log can't be read, or no line of the logs is a record.
    Log(anyhow::Error),
    /// The report can't be written.
    Output(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The logs of a report.
struct Logs<'a> {
    paths: &'a [PathBuf],
    reader: LogReader,
}

impl Logs<'_> {
    /// Writes the report in its form.
    fn write(&mut self, args: &ReportArgs, mut destination: Destination) -> Result<(), Problem> {
        let top = args.top as usize;
        match args.format {
            ReportFormat::Text | ReportFormat::Json => {
                let mut aggregator = Aggregator::new(top);
                self.read(&mut aggregator)?;
                let report = aggregator.finish(self.reader.bad_lines());
                if args.format == ReportFormat::Text {
                    text::write(&report, top, destination.has_colours(), &mut destination)?;
                } else {
                    serde_json::to_writer_pretty(&mut destination, &report).map_err(io::Error::from)?;
                    destination.write_all(b"\n")?;
                }
            }
            ReportFormat::Html => {
                let mut builder = PageBuilder::new(top);
                self.read(&mut builder)?;
                html::write(&builder.finish(self.reader.bad_lines()), &mut destination)?;
            }
            ReportFormat::Csv => {
                let mut table = TaskTable::new(&mut destination);
                self.read(&mut table)?;
                table.finish()?;
            }
            ReportFormat::Junit => {
                let mut junit = JunitReport::new(&mut destination);
                self.read(&mut junit)?;
                junit.finish()?;
            }
        }
        Ok(destination.finish()?)
    }

    /// Reads all logs into a sink.
    fn read(&mut self, sink: &mut impl RecordSink) -> Result<(), Problem> {
        for path in self.paths {
            let name = Untrusted::from(path);
            let log = open(path)
                .with_context(|| format!("cannot open {name}"))
                .map_err(Problem::Log)?;
            let log = BufReader::with_capacity(READ_BUFFER, log);
            match self.reader.read(&path.to_string_lossy(), log, sink) {
                Ok(()) => {}
                Err(ReadError::Sink(error)) => return Err(Problem::Output(error)),
                Err(error) => {
                    return Err(Problem::Log(
                        anyhow!(error).context(format!("cannot read {name}")),
                    ));
                }
            }
        }
        let bad = self.reader.bad_lines();
        match bad.first.first() {
            Some(line) if self.reader.records() == 0 => Err(Problem::Log(anyhow!(
                "there are no records in the logs: {}",
                describe(line)
            ))),
            _ => Ok(()),
        }
    }
}

/// Opens a log.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(match path == Path::new(STDIN) {
        true => Box::new(BlockingFile::stdin()?),
        false => Box::new(File::open(path)?),
    })
}

/// Prints the lines that were left out, for forms that have no place for them.
fn show_bad_lines(bad: &BadLines) {
    for line in &bad.first {
        stdio::print_message(&format!("left out: {}", describe(line)));
    }
    match bad.total - bad.first.len() as u64 {
        0 => {}
        more => stdio::print_message(&format!("left out: {more} more lines that are no records")),
    }
}

fn describe(line: &BadLine) -> String {
    let place = format!("{} line {}", Untrusted::from(&line.log), line.line);
    let why = line
        .why
        .as_ref()
        .map_or(String::new(), |why| format!(": {}", Untrusted::from(why)));
    format!("{place} is {}{why}", line.reason.as_str())
}
