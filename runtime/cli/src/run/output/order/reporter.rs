//! Reports what tasks print and their records in the order of tasks.

use std::io;
use std::sync::Arc;

use mpwasm::{LogLine, Outcome, PrintedOutput, Reporter, Source};

use crate::run::output::failure::{OutputFailures, OutputKind};
use crate::run::output::failure_line::failure_line;
use crate::run::output::order::buffer::{BufferedEvent, ReleasedReports};
use crate::run::output::order::{self, OutputOrder};
use crate::run::output::print_reporter::PrintReporter;
use crate::run::output::record_reporter::RecordReporter;
use crate::run::output::records::RecordWriter;

/// Passes events on in the order of tasks, to the reporter of prints and that of records.
///
/// Both share one buffer, as its bound applies to all that a task reports.
pub struct OrderedReporter {
    /// `None` once an event could not be buffered: all then pass at once.
    order: Option<OutputOrder>,
    prints: PrintReporter,
    records: Option<RecordReporter>,
    failures: Arc<OutputFailures>,
}

impl OrderedReporter {
    /// Returns a reporter that passes events on in this order.
    pub fn new(
        order: OutputOrder,
        prints: PrintReporter,
        records: Option<RecordReporter>,
        failures: Arc<OutputFailures>,
    ) -> Self {
        Self {
            order: Some(order),
            prints,
            records,
            failures,
        }
    }

    /// Returns whether an event of this source may pass now. If not, it is buffered.
    fn passes_now(&mut self, source: Source, size: usize, event: BufferedEvent<'_>) -> bool {
        let (Some(order), Source::Task(id) | Source::Callback(id)) = (&self.order, source) else {
            return true;
        };
        order
            .pass_or_buffer(id, size, false, || Ok(event.frame()))
            .unwrap_or_else(|error| {
                self.give_up_order(error);
                true
            })
    }

    /// Returns whether the end of a task may pass now. If not, it is buffered.
    fn end_passes_now(&mut self, outcome: &Outcome) -> bool {
        let Some(order) = &self.order else {
            return true;
        };
        let has_records = self.records.as_ref().is_some_and(RecordReporter::is_writing);
        let frame = || {
            let record = has_records
                .then(|| RecordWriter::serialize(outcome))
                .transpose()?;
            let failure = failure_line(outcome);
            let event = BufferedEvent::Ended {
                id: outcome.id,
                failure: failure.as_deref(),
                record: record.as_deref(),
            };
            Ok(event.frame())
        };
        order
            .pass_or_buffer(outcome.id, order::size(outcome), true, frame)
            .unwrap_or_else(|error| {
                self.give_up_order(error);
                true
            })
    }

    /// Stops keeping the order and ends the run, as an event can't be buffered.
    fn give_up_order(&mut self, error: io::Error) {
        self.failures.write_failed(OutputKind::OrderBuffer, error);
        // A second failure of the same buffer says nothing new.
        let _ = self.release_all();
    }

    /// Passes on all buffered events. From now on all events pass at once. Returns the first error, after all that can be read.
    fn release_all(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        if let Some(order) = self.order.take() {
            for reports in order.release_all() {
                result = result.and(self.release(reports));
            }
        }
        result
    }

    /// Passes on buffered events of a task.
    fn release(&mut self, reports: ReleasedReports) -> io::Result<()> {
        reports.each(|event| match event {
            BufferedEvent::Printed(output) => self.prints.print(&output),
            BufferedEvent::Logged(line) => self.prints.trace(&line),
            BufferedEvent::Ended { id, failure, record } => {
                self.prints.end_task(id, failure);
                if let (Some(records), Some(record)) = (&mut self.records, record) {
                    records.write_serialized(id, record);
                }
            }
        })
    }
}

impl Reporter for OrderedReporter {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.failures.note_report();
        if !self.end_passes_now(outcome) {
            return Ok(());
        }
        self.prints.end_task(outcome.id, failure_line(outcome).as_deref());
        if let Some(records) = &mut self.records {
            records.write(outcome);
        }
        let Some(order) = &self.order else {
            return Ok(());
        };
        let released = order.release_next(outcome.id);
        let mut result = Ok(());
        for reports in released {
            result = result.and(self.release(reports));
        }
        // An error that is returned would keep this reporter from its last outcomes, and from its end.
        if let Err(error) = result {
            self.give_up_order(error);
        }
        Ok(())
    }

    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        if !output.bytes.is_empty() {
            self.failures.note_report();
        }
        if self.passes_now(output.source, output.bytes.len(), BufferedEvent::Printed(*output)) {
            self.prints.print(output);
        }
        Ok(())
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        if self.prints.shows(line)
            && self.passes_now(line.source, line.text.len(), BufferedEvent::Logged(*line))
        {
            self.prints.trace(line);
        }
        Ok(())
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.prints.warning(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.prints.flush()?;
        self.records.as_mut().map_or(Ok(()), RecordReporter::flush)
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Err(error) = self.release_all() {
            self.failures.write_failed(OutputKind::OrderBuffer, error);
        }
        self.prints.finish()?;
        self.records.as_mut().map_or(Ok(()), RecordReporter::finish)
    }
}
