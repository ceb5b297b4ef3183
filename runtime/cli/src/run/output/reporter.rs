//! Handles the reports of the pool: records, guests' output, lines for the first failures, and counts.
//!
//! The pool calls a [`SharedReporter`](super::shared_reporter::SharedReporter) from its threads. The main thread reads the same
//! [`RunReporter`] at the end of the run.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use mpwasm::internal::prints::Prints;
use mpwasm::{LogLevel, LogLine, Outcome, Output, Source, TaskId};

use crate::run::end::halt::Halt;
use crate::run::output::failure::{OutputFailure, OutputKind};
use crate::run::output::failure_line::failure_line;
use crate::run::output::order::buffer::{ReleasedReports, TaskReport};
use crate::run::output::order::{self, OutputOrder};
use crate::run::output::records::RecordWriter;
use crate::run::output::results_dir::ResultsDir;
use crate::run::output::summary::OutcomeCounts;
use crate::run::output::tags::LineTagger;
use crate::run::output::task_identity::TaskIdentity;
use crate::run::output::task_metadata::TaskMetadata;
use crate::run::resume::SkippedTasks;

/// Most failures that are shown as lines: 10. More would hide other output, and the records have them all.
const SHOWN_FAILURES: u32 = 10;

/// Most bytes of output that are tagged at once: 4 KiB. The result is much larger if most lines are empty.
const TAG_CHUNK: usize = 4 << 10;

/// Optional parts of a reporter.
#[derive(Default)]
pub struct ReporterOptions {
    /// Keeps reports in the order of tasks.
    pub order: Option<OutputOrder>,
    /// Metadata of tasks in flight.
    pub task_metadata: Option<Arc<TaskMetadata>>,
    /// Tags lines of tasks.
    pub tags: Option<LineTagger>,
    /// Ends the run early.
    pub halt: Option<HaltHook>,
    /// Writes files for each task.
    pub results_dir: Option<ResultsDir>,
}

/// A condition that ends a run early, with its action.
pub struct HaltHook {
    /// The condition.
    pub halt: Halt,
    /// Ends the pool, so that no further task begins. Called once. It must not block.
    pub on_reached: Box<dyn FnOnce(Halt) + Send>,
}

impl HaltHook {
    /// Returns a hook that calls `on_reached` once the condition is met.
    pub fn new(halt: Halt, on_reached: impl FnOnce(Halt) + Send + 'static) -> Self {
        let on_reached = Box::new(on_reached);
        Self { halt, on_reached }
    }
}

/// Handles the reports of a run.
pub struct RunReporter {
    prints: Prints,
    records: Option<RecordWriter>,
    min_level: LogLevel,
    counts: OutcomeCounts,
    shown_failures: u32,
    failure: Option<OutputFailure>,
    on_failure: Box<dyn FnMut() + Send>,
    prints_failed: bool,
    records_failed: bool,
    options: ReporterOptions,
}

impl RunReporter {
    /// Returns a reporter that drops log lines less important than `min_level`.
    ///
    /// `on_failure` is called when a write has failed and the pool does not get the error. It must end the run, and must not
    /// block.
    pub fn new(prints: Prints, min_level: LogLevel, on_failure: impl FnMut() + Send + 'static) -> Self {
        Self {
            prints,
            records: None,
            min_level,
            counts: OutcomeCounts::default(),
            shown_failures: 0,
            failure: None,
            on_failure: Box::new(on_failure),
            prints_failed: false,
            records_failed: false,
            options: ReporterOptions::default(),
        }
    }

    /// Sets the optional parts.
    pub fn with_options(mut self, options: ReporterOptions) -> Self {
        self.options = options;
        self
    }

    /// Begins the run, with the writer of records and the numbers of skipped tasks.
    pub fn begin(&mut self, records: Option<RecordWriter>, skipped: SkippedTasks) {
        if self
            .options
            .task_metadata
            .as_ref()
            .is_some_and(|task_metadata| task_metadata.has_identities())
        {
            self.counts.set_log();
        }
        self.records = records;
        self.counts.skip(skipped);
    }

    /// Returns the writer of `--results-dir`, if there is one.
    pub fn results_dir(&mut self) -> Option<&mut ResultsDir> {
        self.options.results_dir.as_mut()
    }

    /// Notes that the run ended before all tasks were read.
    pub fn cut_short(&mut self) {
        self.counts.set_cut_short();
    }

    /// Returns the least important level of log lines that are not dropped.
    pub fn min_level(&self) -> LogLevel {
        self.min_level
    }

    /// Returns the numbers of outcomes.
    pub fn counts(&self) -> &OutcomeCounts {
        &self.counts
    }

    /// Returns the first write that failed.
    pub fn failure(&self) -> Option<&OutputFailure> {
        self.failure.as_ref()
    }

    /// Writes all buffered reports after the last report of the pool.
    pub fn finish(&mut self) {
        if let Some(order) = self.options.order.take() {
            order
                .release_all()
                .into_iter()
                .for_each(|reports| drop(self.release(reports)));
        }
        // An error is kept in `failure`.
        let _ = self.with_prints(Prints::end_all);
        let _ = self.flush_all();
    }

    /// Stops writing to an output whose reader has closed it, and ends the run.
    pub fn reader_closed(&mut self, output: OutputKind) {
        let has_failed = match output {
            OutputKind::Prints => &mut self.prints_failed,
            OutputKind::Records => &mut self.records_failed,
            OutputKind::OrderBuffer => return, // only this process reads it
        };
        if !std::mem::replace(has_failed, true) {
            self.keep_failure(output, ErrorKind::BrokenPipe.into());
            (self.on_failure)();
        }
    }

    /// Keeps the first failure.
    fn keep_failure(&mut self, output: OutputKind, error: io::Error) -> &mut OutputFailure {
        self.failure.get_or_insert(OutputFailure {
            output,
            error,
            lost: false,
        })
    }

    /// Keeps a failed write, and returns its error.
    fn write_failed(&mut self, output: OutputKind, error: io::Error) -> io::Error {
        let copy = io::Error::new(error.kind(), error.to_string());
        self.keep_failure(output, error).lost = true;
        copy
    }

    /// Notes that a report was lost, if an output has failed before.
    pub fn note_lost_report(&mut self) {
        if let Some(failure) = &mut self.failure {
            failure.lost = true;
        }
    }

    /// Writes to the targets of guests' output. An error ends the run, but is not returned.
    fn with_prints(&mut self, write: impl FnOnce(&mut Prints) -> io::Result<()>) -> io::Result<()> {
        if self.prints_failed {
            return Ok(()); // the run is ending
        }
        let Err(error) = write(&mut self.prints) else {
            return Ok(());
        };
        self.prints_failed = true;
        self.write_failed(OutputKind::Prints, error);
        // After an error the pool would stop reporting, but every accepted task needs its record.
        (self.on_failure)();
        Ok(())
    }

    /// Writes to the records. An error is returned, and ends the reports of the pool.
    fn with_records(&mut self, write: impl FnOnce(&mut RecordWriter) -> io::Result<()>) -> io::Result<()> {
        if self.records_failed {
            return Ok(());
        }
        match self.records.as_mut().map(write) {
            Some(Err(error)) => {
                self.records_failed = true;
                Err(self.write_failed(OutputKind::Records, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes to the files of tasks. An error ends the run, but the other records are still written.
    pub fn with_results_dir(&mut self, write: impl FnOnce(&mut ResultsDir) -> io::Result<()>) {
        if let Some(Err(error)) = self.options.results_dir.as_mut().map(write) {
            self.options.results_dir = None;
            self.write_failed(OutputKind::Records, error);
            // The error is not returned, for the reason given in `with_prints`.
            (self.on_failure)();
        }
    }

    /// Prints a line on stderr.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.with_prints(|prints| prints.line(text))
    }

    pub fn flush_all(&mut self) -> io::Result<()> {
        let prints = self.with_prints(Prints::flush);
        self.with_records(RecordWriter::flush).and(prints)
    }

    /// Prints the line of a failure, up to [`SHOWN_FAILURES`].
    fn show_failure(&mut self, line: Option<&str>) -> io::Result<()> {
        let Some(line) = line else {
            return Ok(());
        };
        self.shown_failures += 1;
        match self.shown_failures {
            1..=SHOWN_FAILURES => self.line(line),
            n if n == SHOWN_FAILURES + 1 => self.line(match self.records {
                Some(_) => "mpwasm: further failures are not shown; the records have them all",
                None => "mpwasm: further failures are not shown; --results FILE has them all",
            }),
            _ => {
                self.shown_failures = SHOWN_FAILURES + 1;
                Ok(())
            }
        }
    }

    /// Handles the outcome of a task: counts it, and reports it now or in its order.
    pub fn task_ended(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.note_lost_report();
        self.counts.count(outcome);
        self.with_results_dir(|files| files.outcome(outcome));
        let (ok, failed) = self.counts.ended();
        let reached = |hook: &mut HaltHook| hook.halt.is_reached(ok, failed);
        if let Some(HaltHook { halt, on_reached }) = self.options.halt.take_if(reached) {
            on_reached(halt);
        }
        let Some(order) = self.options.order.clone() else {
            return self.write_outcome(outcome);
        };
        let has_records = self.records.is_some() && !self.records_failed;
        let frame = || {
            let record = has_records
                .then(|| RecordWriter::serialize(outcome))
                .transpose()?;
            let failure = failure_line(outcome);
            let report = TaskReport::Ended {
                id: outcome.id,
                failure: failure.as_deref(),
                record: record.as_deref(),
            };
            Ok(report.frame())
        };
        match order.pass_or_buffer(outcome.id, order::size(outcome), true, frame) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => self.give_up_order(error),
        }
        let mut result = self.write_outcome(outcome);
        for reports in order.release_next(outcome.id) {
            result = result.and(self.release(reports));
        }
        result
    }

    /// Returns whether a report of this source may pass now. If not, its frame is buffered.
    pub fn passes_now(&mut self, source: Source, size: usize, frame: impl FnOnce() -> Vec<u8>) -> bool {
        let (Some(order), Source::Task(id) | Source::Callback(id)) = (&self.options.order, source) else {
            return true;
        };
        order
            .pass_or_buffer(id, size, false, || Ok(frame()))
            .unwrap_or_else(|error| {
                self.give_up_order(error);
                true
            })
    }

    /// Stops keeping the order and ends the run, as a report can't be buffered.
    fn give_up_order(&mut self, error: io::Error) {
        self.write_failed(OutputKind::OrderBuffer, error);
        if let Some(order) = self.options.order.take() {
            // A further error is not the first failure.
            order
                .release_all()
                .into_iter()
                .for_each(|reports| drop(self.release(reports)));
        }
        (self.on_failure)();
    }

    /// Writes buffered reports.
    fn release(&mut self, reports: ReleasedReports) -> io::Result<()> {
        reports.each(|report| self.write_report(report))
    }

    fn write_report(&mut self, report: TaskReport<'_>) -> io::Result<()> {
        match report {
            TaskReport::Output {
                source,
                stream,
                bytes,
                end,
            } => self.output(&Output {
                source,
                stream,
                bytes,
                end,
            }),
            TaskReport::Log {
                source,
                level,
                text,
                worker,
                attempt,
            } => self.log(&LogLine {
                source,
                level,
                text,
                worker,
                attempt,
            }),
            TaskReport::Ended { id, failure, record } => self.write_end(id, failure, |records, identity| {
                record.map_or(Ok(()), |record| records.write_serialized(record, identity))
            }),
        }
    }

    /// Logs a line, after all output before it.
    pub fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        self.with_prints(Prints::flush)?;
        line.trace();
        Ok(())
    }

    /// Prints output, with tags if the run has them.
    pub fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        if self.options.tags.is_none() {
            return self.with_prints(|prints| prints.print(output));
        }
        // In chunks, as tags before empty lines multiply the size.
        let mut rest = output.bytes;
        loop {
            let (bytes, more) = rest.split_at(rest.len().min(TAG_CHUNK));
            let end = output.end && more.is_empty();
            self.print_tagged(&Output {
                bytes,
                end,
                ..*output
            })?;
            if more.is_empty() {
                return Ok(());
            }
            rest = more;
        }
    }

    fn print_tagged(&mut self, output: &Output<'_>) -> io::Result<()> {
        let tagged = self.options.tags.as_mut().and_then(|tags| {
            let tagged = tags.tagged(output);
            if output.end {
                tags.end(output.source);
            }
            tagged
        });
        let bytes = tagged.as_deref().unwrap_or(output.bytes);
        self.with_prints(|prints| prints.print(&Output { bytes, ..*output }))
    }

    /// Writes the outcome of a task.
    fn write_outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.write_end(
            outcome.id,
            failure_line(outcome).as_deref(),
            |records, identity| records.write(outcome, identity),
        )
    }

    /// Ends the output of a task, and writes the line of its failure and its record.
    fn write_end(
        &mut self,
        id: TaskId,
        failure: Option<&str>,
        record: impl FnOnce(&mut RecordWriter, Option<TaskIdentity>) -> io::Result<()>,
    ) -> io::Result<()> {
        // Normally the output has ended before. If its end was lost, buffered output is written here.
        let ended = self
            .with_prints(|prints| prints.end(Source::Task(id)))
            .and_then(|()| self.with_prints(|prints| prints.end(Source::Callback(id))));
        let shown = self.show_failure(failure);
        // The record is written even if stdout can't be.
        let entry = self
            .options
            .task_metadata
            .as_ref()
            .and_then(|task_metadata| task_metadata.remove(id));
        let recorded = self.with_records(|records| record(records, entry.and_then(|entry| entry.identity)));
        ended.and(shown).and(recorded)
    }
}

#[cfg(test)]
pub mod tests;
