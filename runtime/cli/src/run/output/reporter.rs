//! What the command line does with what the pool reports: records, guests' prints, the first failures, the counts.
//!
//! The pool calls a [`SharedReporter`] from its own threads. The main thread looks at the same [`RunReporter`] when
//! the run is over.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mpwasm::internal::prints::Prints;
use mpwasm::{LogLevel, LogLine, Outcome, Output, Source};

use crate::run::end::halt::Halt;
use crate::run::output::failure_line::failure_line;
use crate::run::output::job_log::TaskIdentity;
use crate::run::output::order::buffer::{ReleasedReports, TaskReport};
use crate::run::output::order::{self, OutputOrder};
use crate::run::output::records::RecordWriter;
use crate::run::output::results_dir::ResultsDir;
use crate::run::output::summary::OutcomeCounts;
use crate::run::output::tags::LineTagger;
use crate::run::output::task_metadata::TaskMetadata;
use crate::run::resume::SkippedTasks;
use crate::terminal::progress::ProgressCounter;

/// Failures that are shown as lines of their own.
const SHOWN_FAILURES: u32 = 10;

/// Bytes to which tags are added at once.
const TAGGED_AT_ONCE: usize = 4 << 10;

/// What could not be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Guests' prints.
    Prints,
    /// Records.
    Records,
    /// What waits for its turn.
    OrderBuffer,
}

/// The first write that failed: it ended the run.
#[derive(Debug)]
pub struct OutputFailure {
    /// What could not be written.
    pub place: OutputKind,
    /// Why.
    pub error: io::Error,
    /// Whether something was reported that was not written any more.
    pub lost: bool,
}

impl OutputFailure {
    /// Whether the reader went away, which is its right.
    pub fn is_closed_pipe(&self) -> bool {
        // A socket is reset when its other end is closed before all was read.
        matches!(
            self.error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )
    }
}

/// What a run may want of its reporter beyond the ordinary.
#[derive(Default)]
pub struct ReporterOptions {
    /// What is reported goes on in the order in which tasks were pushed.
    pub order: Option<OutputOrder>,
    /// What the feeder knows of tasks.
    pub roll: Option<Arc<TaskMetadata>>,
    /// Lines of tasks have tags.
    pub tags: Option<LineTagger>,
    /// The run may end early.
    pub halt: Option<HaltHook>,
    /// Each task has files of its own.
    pub folder: Option<ResultsDir>,
    /// What a bar on the terminal shows.
    pub counter: ProgressCounter,
}

/// When a run ends early.
pub struct HaltHook {
    /// When.
    pub halt: Halt,
    /// Ends the pool, so that no further task begins. Called once; it must not wait for anything.
    pub tell: Box<dyn FnOnce(Halt) + Send>,
}

/// Takes all that a run reports.
pub struct RunReporter {
    prints: Prints,
    records: Option<RecordWriter>,
    least_log: LogLevel,
    tally: OutcomeCounts,
    shown: u32,
    broken: Option<OutputFailure>,
    on_broken: Box<dyn FnMut() + Send>,
    prints_broken: bool,
    records_broken: bool,
    wishes: ReporterOptions,
}

impl RunReporter {
    /// Log lines less important than `least_log` are left out. `on_broken` is called when something can't be written
    /// any more and the pool doesn't learn it from the call that tried: the run is to be killed then, and it must not
    /// wait for anything.
    pub fn new(prints: Prints, least_log: LogLevel, on_broken: impl FnMut() + Send + 'static) -> Self {
        Self {
            prints,
            records: None,
            least_log,
            tally: OutcomeCounts::default(),
            shown: 0,
            broken: None,
            on_broken: Box::new(on_broken),
            prints_broken: false,
            records_broken: false,
            wishes: ReporterOptions::default(),
        }
    }

    /// With this, too.
    pub fn with(mut self, wishes: ReporterOptions) -> Self {
        self.wishes = wishes;
        self
    }

    /// The run begins: records go there, and so many tasks are left out.
    pub fn begin(&mut self, records: Option<RecordWriter>, skipped: SkippedTasks) {
        if self
            .wishes
            .roll
            .as_ref()
            .is_some_and(|roll| roll.has_identities())
        {
            self.tally.set_log();
        }
        self.records = records;
        self.tally.skip(skipped);
    }

    /// The files of tasks, where they have some.
    pub fn folder(&mut self) -> Option<&mut ResultsDir> {
        self.wishes.folder.as_mut()
    }

    /// Notes that the run ended before all tasks were read.
    pub fn cut_short(&mut self) {
        self.tally.set_cut_short();
    }

    /// The counts.
    pub fn tally(&self) -> &OutcomeCounts {
        &self.tally
    }

    /// What broke in the course of the run.
    pub fn broken(&self) -> Option<&OutputFailure> {
        self.broken.as_ref()
    }

    /// Writes out all that waits; the pool reports nothing more.
    pub fn finish(&mut self) {
        if let Some(order) = self.wishes.order.take() {
            order.rest().into_iter().for_each(|held| drop(self.release(held)));
        }
        // What fails here is kept in `broken`, as all else.
        let _ = self.printing(Prints::end_all);
        let _ = self.flush_all();
    }

    /// Nobody reads what is written there any more. Nothing more is, and the run is to be killed.
    fn reader_left(&mut self, place: OutputKind) {
        let is_broken = match place {
            OutputKind::Prints => &mut self.prints_broken,
            OutputKind::Records => &mut self.records_broken,
            OutputKind::OrderBuffer => return, // only this process reads it
        };
        if !std::mem::replace(is_broken, true) {
            self.break_off(place, ErrorKind::BrokenPipe.into());
            (self.on_broken)();
        }
    }

    /// Remembers the first failure of all.
    fn break_off(&mut self, place: OutputKind, error: io::Error) -> &mut OutputFailure {
        self.broken.get_or_insert(OutputFailure {
            place,
            error,
            lost: false,
        })
    }

    /// Remembers a write that failed, and returns its error.
    fn failed(&mut self, place: OutputKind, error: io::Error) -> io::Error {
        let told = io::Error::new(error.kind(), error.to_string());
        self.break_off(place, error).lost = true;
        told
    }

    /// Notes that a report came. After a reader has left it is not written.
    fn note_report(&mut self) {
        if let Some(broken) = &mut self.broken {
            broken.lost = true;
        }
    }

    fn printing(&mut self, write: impl FnOnce(&mut Prints) -> io::Result<()>) -> io::Result<()> {
        if self.prints_broken {
            return Ok(()); // it was said once, and the run is ending
        }
        let Err(error) = write(&mut self.prints) else {
            return Ok(());
        };
        self.prints_broken = true;
        self.failed(OutputKind::Prints, error);
        // The pool reports nothing more to a reporter that failed, and every accepted task has a right to its record
        // and to be counted.
        (self.on_broken)();
        Ok(())
    }

    fn recording(&mut self, write: impl FnOnce(&mut RecordWriter) -> io::Result<()>) -> io::Result<()> {
        if self.records_broken {
            return Ok(());
        }
        match self.records.as_mut().map(write) {
            Some(Err(error)) => {
                self.records_broken = true;
                Err(self.failed(OutputKind::Records, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes to the files of tasks. They are records, too: a failure ends the run, but the other records are written.
    fn filing(&mut self, write: impl FnOnce(&mut ResultsDir) -> io::Result<()>) {
        if let Some(Err(error)) = self.wishes.folder.as_mut().map(write) {
            self.wishes.folder = None;
            self.failed(OutputKind::Records, error);
            // Not by an error of the call, after which nothing more would be reported: see `printing`.
            (self.on_broken)();
        }
    }

    /// A line on stderr.
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.printing(|prints| prints.line(text))
    }

    fn flush_all(&mut self) -> io::Result<()> {
        let prints = self.printing(Prints::flush);
        self.recording(RecordWriter::flush).and(prints)
    }

    fn show_failure(&mut self, line: Option<&str>) -> io::Result<()> {
        let Some(line) = line else {
            return Ok(());
        };
        self.shown += 1;
        match self.shown {
            1..=SHOWN_FAILURES => self.line(line),
            n if n == SHOWN_FAILURES + 1 => self.line(match self.records {
                Some(_) => "mpwasm: further failures are not shown; the records have them all",
                None => "mpwasm: further failures are not shown; --results FILE has them all",
            }),
            _ => {
                self.shown = SHOWN_FAILURES + 1;
                Ok(())
            }
        }
    }

    /// A task has ended.
    fn ended(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.note_report();
        self.tally.count(outcome);
        self.wishes.counter.ended(outcome.is_success());
        self.filing(|folder| folder.outcome(outcome));
        let (ok, failed) = self.tally.ended();
        let reached = |halting: &mut HaltHook| halting.halt.is_reached(ok, failed);
        if let Some(HaltHook { halt, tell }) = self.wishes.halt.take_if(reached) {
            tell(halt);
        }
        let Some(order) = self.wishes.order.clone() else {
            return self.outcome(outcome);
        };
        let has_records = self.records.is_some() && !self.records_broken;
        let frame = || {
            let record = has_records.then(|| RecordWriter::render(outcome)).transpose()?;
            let failure = failure_line(outcome);
            let told = TaskReport::Ended {
                id: outcome.id,
                failure: failure.as_deref(),
                record: record.as_deref(),
            };
            Ok(told.frame())
        };
        match order.turn(outcome.id, order::size(outcome), true, frame) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => self.give_up_order(error),
        }
        let mut result = self.outcome(outcome);
        for held in order.next(outcome.id) {
            result = result.and(self.release(held));
        }
        result
    }

    /// Whether it is the turn of this source. If not, the frame is kept until it is.
    fn is_its_turn(&mut self, source: Source, size: usize, frame: impl FnOnce() -> Vec<u8>) -> bool {
        let (Some(order), Source::Task(id) | Source::Callback(id)) = (&self.wishes.order, source) else {
            return true;
        };
        order
            .turn(id, size, false, || Ok(frame()))
            .unwrap_or_else(|error| {
                self.give_up_order(error);
                true
            })
    }

    /// What waits for its turn can't be kept: nothing waits any more, and the run is to be killed.
    fn give_up_order(&mut self, error: io::Error) {
        self.failed(OutputKind::OrderBuffer, error);
        if let Some(order) = self.wishes.order.take() {
            // What fails now is not the first failure.
            order.rest().into_iter().for_each(|held| drop(self.release(held)));
        }
        (self.on_broken)();
    }

    /// It is the turn of what waited.
    fn release(&mut self, held: ReleasedReports) -> io::Result<()> {
        held.each(|told| self.told(told))
    }

    fn told(&mut self, told: TaskReport<'_>) -> io::Result<()> {
        match told {
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
            TaskReport::Ended { id, failure, record } => self.finished(id, failure, |records, identity| {
                record.map_or(Ok(()), |record| records.write_rendered(record, identity))
            }),
        }
    }

    /// A line in the log, which comes after what was printed before it.
    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        self.printing(Prints::flush)?;
        line.trace();
        Ok(())
    }

    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        if self.wishes.tags.is_none() {
            return self.printing(|prints| prints.print(output));
        }
        // A tag before each of many empty lines is much more than these.
        let mut rest = output.bytes;
        loop {
            let (bytes, more) = rest.split_at(rest.len().min(TAGGED_AT_ONCE));
            let end = output.end && more.is_empty();
            self.tagged(&Output {
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

    fn tagged(&mut self, output: &Output<'_>) -> io::Result<()> {
        let tagged = self.wishes.tags.as_mut().and_then(|tags| {
            let tagged = tags.tagged(output);
            if output.end {
                tags.end(output.source);
            }
            tagged
        });
        let bytes = tagged.as_deref().unwrap_or(output.bytes);
        self.printing(|prints| prints.print(&Output { bytes, ..*output }))
    }

    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.finished(
            outcome.id,
            failure_line(outcome).as_deref(),
            |records, identity| records.write(outcome, identity),
        )
    }

    /// A task has ended, and it is its turn.
    fn finished(
        &mut self,
        id: u64,
        failure: Option<&str>,
        record: impl FnOnce(&mut RecordWriter, Option<TaskIdentity>) -> io::Result<()>,
    ) -> io::Result<()> {
        // Whatever these printed ended before; should its end have got lost, nothing of it may stay behind.
        let ended = self
            .printing(|prints| prints.end(Source::Task(id)))
            .and_then(|()| self.printing(|prints| prints.end(Source::Callback(id))));
        let shown = self.show_failure(failure);
        // The record comes last and always: a stdout that cannot be written does not lose records.
        let listed = self.wishes.roll.as_ref().and_then(|roll| roll.remove(id));
        let recorded = self.recording(|records| record(records, listed.and_then(|task| task.identity)));
        ended.and(shown).and(recorded)
    }
}

/// The reporter as the pool and the main thread share it.
#[derive(Clone)]
pub struct SharedReporter(Arc<Mutex<RunReporter>>);

impl SharedReporter {
    /// Shares a reporter.
    pub fn new(reporter: RunReporter) -> Self {
        Self(Arc::new(Mutex::new(reporter)))
    }

    /// The reporter itself. While the pool runs, this can wait for as long as a reader of stdout does not read.
    pub fn lock(&self) -> MutexGuard<'_, RunReporter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedReporter {
    /// The reader of this pipe went away. Waits, as [`lock`](Self::lock) does.
    pub fn reader_left(&self, place: OutputKind) {
        self.lock().reader_left(place);
    }
}

impl mpwasm::Reporter for SharedReporter {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.lock().ended(outcome)
    }

    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        let mut reporter = self.lock();
        if !output.bytes.is_empty() {
            reporter.note_report();
        }
        reporter.filing(|folder| folder.output(output));
        let told = TaskReport::Output {
            source: output.source,
            stream: output.stream,
            bytes: output.bytes,
            end: output.end,
        };
        if !reporter.is_its_turn(output.source, output.bytes.len(), || told.frame()) {
            return Ok(());
        }
        reporter.output(output)
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        let mut reporter = self.lock();
        if line.level > reporter.least_log {
            return Ok(());
        }
        let told = TaskReport::Log {
            source: line.source,
            level: line.level,
            text: line.text,
            worker: line.worker,
            attempt: line.attempt,
        };
        if !reporter.is_its_turn(line.source, line.text.len(), || told.frame()) {
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

#[cfg(test)]
pub mod tests;
