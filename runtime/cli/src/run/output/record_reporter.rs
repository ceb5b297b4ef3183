//! Reports each outcome as a record.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mpwasm::{Event, Outcome, Reporter, TaskId};

use crate::run::output::failure::{OutputFailures, OutputKind, OutputWriter};
use crate::run::output::records::RecordWriter;
use crate::run::output::task_identity::TaskIdentity;
use crate::run::output::task_values::TaskValues;

/// Writes a record for each outcome.
pub struct RecordReporter {
    /// `None` until the run begins.
    records: OutputWriter<Option<RecordWriter>>,
    incoming: Receiver<RecordWriter>,
    /// The identities of tasks in flight, if a later run can resume from the records.
    identities: Option<Arc<TaskValues<TaskIdentity>>>,
}

impl RecordReporter {
    /// Returns a reporter, and the sender of its writer. The writer must be sent before the first task is pushed.
    pub fn new(
        identities: Option<Arc<TaskValues<TaskIdentity>>>,
        failures: Arc<OutputFailures>,
    ) -> (Self, Sender<RecordWriter>) {
        let (sender, incoming) = mpsc::channel();
        let reporter = Self {
            records: OutputWriter::new(None, OutputKind::Records, failures),
            incoming,
            identities,
        };
        (reporter, sender)
    }

    /// Returns whether records are still written.
    pub fn is_writing(&self) -> bool {
        !self.records.failures().has_failed(OutputKind::Records)
    }

    /// Writes the record of an outcome.
    pub fn write(&mut self, outcome: &Outcome) {
        self.write_with(outcome.id, |records, identity| records.write(outcome, identity));
    }

    /// Writes the record of a task that was serialized before.
    pub fn write_serialized(&mut self, id: TaskId, record: &[u8]) {
        self.write_with(id, |records, identity| records.write_serialized(record, identity));
    }

    fn write_with(
        &mut self,
        id: TaskId,
        write: impl FnOnce(&mut RecordWriter, Option<TaskIdentity>) -> io::Result<()>,
    ) {
        let identity = self.identities.as_ref().and_then(|all| all.remove(id));
        self.with_records(|records| write(records, identity));
    }

    fn with_records(&mut self, write: impl FnOnce(&mut RecordWriter) -> io::Result<()>) {
        self.records.write(|records| {
            if records.is_none() {
                *records = self.incoming.try_recv().ok();
            }
            records.as_mut().map_or(Ok(()), write)
        });
    }
}

impl Reporter for RecordReporter {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Ended(outcome) = event {
            self.write(outcome);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with_records(RecordWriter::flush);
        Ok(())
    }
}
