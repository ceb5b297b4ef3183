//! Tests of the reporters of prints and records, with and without `--keep-order`, and outcomes for other tests.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use mpwasm::internal::prints::{Prints, Target, Targets};
use mpwasm::{
    CallbackStatus, Event, Kind, LogLevel, Outcome, PrintedOutput, Reporter, Source, Stream, TaskError,
    TaskId, Usage,
};
use serde_json::value::RawValue;

use crate::run::output::failure::{OutputFailure, OutputFailures, OutputKind};
use crate::run::output::order::OutputOrder;
use crate::run::output::order::buffer::ORDER_MEMORY;
use crate::run::output::order::reporter::OrderedReporter;
use crate::run::output::print_reporter::{PrintOptions, PrintReporter};
use crate::run::output::record_reporter::RecordReporter;
use crate::run::output::records::RecordWriter;
use crate::terminal::stdio::BestEffort;

/// A file in memory that can be made to fail.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<(Vec<u8>, Option<ErrorKind>)>>);

impl Shared {
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub fn fail(&self, kind: ErrorKind) {
        self.0.lock().unwrap().1 = Some(kind);
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap();
        if let Some(kind) = file.1 {
            return Err(kind.into());
        }
        file.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn ok(id: u64, result: &str) -> Outcome {
    Outcome {
        id: TaskId(id),
        key: None,
        model: String::new(),
        result: Ok(RawValue::from_string(result.into()).unwrap()),
        attempts: 1,
        tried: Vec::new(),
        usage: Usage::default(),
        callback: CallbackStatus::None,
    }
}

pub fn failed(id: u64, kind: Kind, message: &str) -> Outcome {
    let error = TaskError {
        kind,
        message: message.into(),
        data: None,
        code: None,
        signal: None,
        backtrace: Vec::new(),
        args: RawValue::from_string("[1]".into()).unwrap(),
        id: TaskId(id),
        attempt: 1,
    };
    Outcome {
        result: Err(error),
        ..ok(id, "null")
    }
}

/// Returns an order to which this many tasks were added.
fn order_of(tasks: u64) -> OutputOrder {
    let order = OutputOrder::new(1);
    order.add_tasks(TaskId(0), tasks);
    order
}

/// Returns a run of this many tasks in order. What one of them printed was moved to the file, which is lost.
fn run_that_lost_its_file(tasks: u64, printing: u64) -> Run {
    let order = order_of(tasks);
    let mut run = Run::new(Some(order.clone()));
    let piece = vec![b'x'; 1 << 20];
    (0..=ORDER_MEMORY >> 20).for_each(|_| run.print(printing, &piece));
    order.lose_file();
    run
}

/// The reporters of a run, which are called as a pool does.
struct Run {
    reporters: Vec<Box<dyn Reporter>>,
    failures: Arc<OutputFailures>,
    stdout: Shared,
    stderr: Shared,
    results: Shared,
    kills: Arc<AtomicU32>,
}

impl Run {
    /// Returns a run with records. With `order` they and the prints are in that order.
    fn new(order: Option<OutputOrder>) -> Self {
        let (stdout, stderr, results) = (Shared::default(), Shared::default(), Shared::default());
        let prints = Prints::new(Targets::Apart {
            stdout: Target::new(Box::new(stdout.clone()), false),
            stderr: Target::new(Box::new(BestEffort(stderr.clone())), false),
        });
        let kills = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&kills);
        let on_failure = move || _ = counter.fetch_add(1, Ordering::Relaxed);
        let failures = Arc::new(OutputFailures::new(on_failure));
        let options = PrintOptions {
            min_level: LogLevel::Info,
            tags: None,
            has_records: true,
        };
        let prints = PrintReporter::new(prints, options, Arc::clone(&failures));
        let (records, sender) = RecordReporter::new(None, Arc::clone(&failures));
        let writer = RecordWriter::new(Box::new(results.clone()), false);
        assert!(sender.send(writer).is_ok());
        let reporters: Vec<Box<dyn Reporter>> = match order {
            None => vec![Box::new(prints), Box::new(records)],
            Some(order) => {
                let failures = Arc::clone(&failures);
                vec![Box::new(OrderedReporter::new(
                    order,
                    prints,
                    Some(records),
                    failures,
                ))]
            }
        };
        Self {
            reporters,
            failures,
            stdout,
            stderr,
            results,
            kills,
        }
    }

    fn event(&mut self, event: &Event<'_>) {
        for reporter in &mut self.reporters {
            reporter.event(event).unwrap();
        }
    }

    fn print(&mut self, id: u64, bytes: &[u8]) {
        self.event(&Event::Printed(PrintedOutput {
            source: Source::Task(TaskId(id)),
            stream: Stream::Stdout,
            bytes,
            end: false,
        }));
    }

    fn end(&mut self, outcome: &Outcome) {
        self.event(&Event::Ended(outcome));
    }

    fn flush(&mut self) {
        for reporter in &mut self.reporters {
            reporter.flush().unwrap();
        }
    }

    /// Returns how often the run was ended.
    fn kills(&self) -> u32 {
        self.kills.load(Ordering::Relaxed)
    }

    fn records(&self) -> usize {
        self.results.text().lines().count()
    }

    fn finish(mut self) -> Option<OutputFailure> {
        for reporter in &mut self.reporters {
            reporter.finish().unwrap();
        }
        self.failures.take_first()
    }
}

#[test]
fn output_and_records_are_written_at_the_flush() {
    let mut run = Run::new(None);
    run.print(0, b"hello\n");
    run.end(&ok(0, "1"));
    assert_eq!(run.stdout.text() + &run.results.text(), "");
    run.flush();
    assert_eq!(run.stdout.text(), "hello\n");
    assert_eq!(run.records(), 1);
}

#[test]
fn the_first_ten_failures_are_shown_and_the_rest_is_mentioned_once() {
    let mut run = Run::new(None);
    for id in 0..30 {
        run.end(&failed(id, Kind::Timeout, "too\nlate"));
    }
    run.flush();
    let stderr = run.stderr.text();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 11, "{stderr}");
    assert!(lines[0].starts_with("mpwasm: task 0: timeout: too") && lines[0].ends_with("late"));
    assert!(lines[10].contains("further failures are not shown"));
    assert_eq!(run.records(), 30);
}

#[test]
fn an_outcome_ends_the_lines_of_its_task() {
    let mut run = Run::new(None);
    run.print(0, b"no newline");
    run.end(&ok(0, "1"));
    run.flush();
    assert_eq!(run.stdout.text(), "no newline\n");
}

#[test]
fn lines_that_no_outcome_ends_are_written_at_the_end() {
    let mut run = Run::new(None);
    run.event(&Event::Printed(PrintedOutput {
        source: Source::Tasks,
        stream: Stream::Stdout,
        bytes: b"no newline",
        end: false,
    }));
    run.flush();
    let stdout = run.stdout.clone();
    assert_eq!(stdout.text(), "");
    assert!(run.finish().is_none());
    assert_eq!(stdout.text(), "no newline\n");
}

#[test]
fn a_closed_stdout_ends_the_run_and_loses_no_record() {
    for order in [None, Some(order_of(2))] {
        let mut run = Run::new(order);
        run.print(1, b"second\n");
        run.end(&ok(1, "1"));
        run.stdout.fail(ErrorKind::BrokenPipe);
        for _ in 0..2 {
            run.print(0, b"x\n");
            run.flush(); // an error here would be the last thing that the pool reports
        }
        assert_eq!(run.kills(), 1);
        run.end(&failed(0, Kind::Cancelled, ""));
        run.flush();
        assert_eq!(run.records(), 2);
        let failure = run.finish().unwrap();
        assert!(failure.is_closed_pipe() && failure.output == OutputKind::Prints && failure.lost);
    }
}

#[test]
fn a_closed_reader_ends_the_run_once_and_later_reports_are_lost() {
    for output in [OutputKind::Prints, OutputKind::Records] {
        let mut run = Run::new(None);
        for _ in 0..2 {
            run.failures.reader_closed(output);
        }
        assert_eq!(run.kills(), 1);
        run.flush();
        let failure = run.failures.take_first().unwrap();
        assert!(!failure.lost && failure.is_closed_pipe(), "no report was lost");

        let mut run = Run::new(None);
        run.failures.reader_closed(output);
        run.end(&failed(0, Kind::Cancelled, ""));
        run.flush();
        assert_eq!(run.records(), usize::from(output == OutputKind::Prints));
        let failure = run.finish().unwrap();
        assert!(failure.is_closed_pipe() && failure.output == output && failure.lost);
    }
}

#[test]
fn a_full_disk_fails_the_records_and_output_is_still_written() {
    for order in [None, Some(order_of(2))] {
        let mut run = Run::new(order);
        run.results.fail(ErrorKind::StorageFull);
        run.end(&failed(0, Kind::Trap, "unreachable"));
        assert_eq!(run.kills(), 0, "the record is buffered");
        run.flush();
        assert_eq!(run.kills(), 1);
        run.print(1, b"x\n");
        run.end(&failed(1, Kind::Cancelled, ""));
        run.flush();
        assert_eq!((run.stdout.text().as_str(), run.kills()), ("x\n", 1));
        let failure = run.finish().unwrap();
        assert!(!failure.is_closed_pipe() && failure.output == OutputKind::Records && failure.lost);
    }
}

#[test]
fn a_closed_stderr_does_not_end_the_run() {
    let mut run = Run::new(None);
    run.stderr.fail(ErrorKind::BrokenPipe);
    run.event(&Event::Warning("something"));
    run.flush();
    assert!(run.finish().is_none());
}

#[test]
fn with_an_order_output_and_records_wait_for_the_tasks_before() {
    let mut run = Run::new(Some(order_of(3)));
    run.print(1, b"one\n");
    run.end(&failed(1, Kind::Trap, "unreachable"));
    run.print(2, b"two\n");
    run.flush();
    assert_eq!((run.stdout.text().as_str(), run.records()), ("", 0));
    run.print(0, b"zero\n");
    run.end(&ok(0, "0"));
    run.flush();
    assert_eq!(run.stdout.text(), "zero\none\ntwo\n");
    assert!(run.stderr.text().starts_with("mpwasm: task 1: trap"));
    let (stdout, results) = (run.stdout.clone(), run.results.clone());
    run.print(2, b"unfinished");
    assert!(run.finish().is_none());
    assert_eq!(stdout.text(), "zero\none\ntwo\nunfinished\n");
    let ids: Vec<_> = results.text().lines().map(|line| line[..8].to_owned()).collect();
    assert_eq!(ids, [r#"{"id":0,"#, r#"{"id":1,"#]);
}

#[test]
fn reports_that_can_not_be_read_back_end_the_run_and_every_other_record_is_written() {
    let mut run = run_that_lost_its_file(4, 2);
    run.end(&ok(1, "1"));
    run.end(&ok(0, "0"));
    assert_eq!(run.kills(), 1);
    run.end(&failed(3, Kind::Cancelled, "the pool ended"));
    let results = run.results.clone();
    let failure = run.finish().unwrap();
    assert_eq!(failure.output, OutputKind::OrderBuffer);
    let ids: Vec<_> = results.text().lines().map(|line| line[..8].to_owned()).collect();
    assert_eq!(ids, [r#"{"id":0,"#, r#"{"id":1,"#, r#"{"id":3,"#]);
}

#[test]
fn reports_that_can_not_be_read_back_at_the_end_are_a_failure() {
    let failure = run_that_lost_its_file(2, 1).finish().unwrap();
    assert_eq!(failure.output, OutputKind::OrderBuffer);
}
