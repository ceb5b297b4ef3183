//! Shares the reporter of a run between threads.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mpwasm::{LogLine, Outcome, Output};

use crate::run::output::failure::OutputKind;
use crate::run::output::order::buffer::TaskReport;
use crate::run::output::reporter::RunReporter;

/// A [`RunReporter`] that the pool and the main thread share.
#[derive(Clone)]
pub struct SharedReporter(Arc<Mutex<RunReporter>>);

impl SharedReporter {
    /// Wraps a reporter.
    pub fn new(reporter: RunReporter) -> Self {
        Self(Arc::new(Mutex::new(reporter)))
    }

    /// Locks the reporter. While the pool runs, this can block until the reader of stdout reads.
    pub fn lock(&self) -> MutexGuard<'_, RunReporter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run, as the reader of an output has closed it. Blocks like [`lock`](Self::lock).
    pub fn reader_closed(&self, output: OutputKind) {
        self.lock().reader_closed(output);
    }
}

impl mpwasm::Reporter for SharedReporter {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.lock().task_ended(outcome)
    }

    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        let mut reporter = self.lock();
        if !output.bytes.is_empty() {
            reporter.note_lost_report();
        }
        reporter.with_results_dir(|files| files.output(output));
        let report = TaskReport::Output {
            source: output.source,
            stream: output.stream,
            bytes: output.bytes,
            end: output.end,
        };
        if !reporter.passes_now(output.source, output.bytes.len(), || report.frame()) {
            return Ok(());
        }
        reporter.output(output)
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        let mut reporter = self.lock();
        if line.level > reporter.min_level() {
            return Ok(());
        }
        let report = TaskReport::Log {
            source: line.source,
            level: line.level,
            text: line.text,
            worker: line.worker,
            attempt: line.attempt,
        };
        if !reporter.passes_now(line.source, line.text.len(), || report.frame()) {
            return Ok(());
        }
        reporter.log(line)
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.lock().line(&format!("mpwasm: warning: {text}"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush_all()
    }
}
