//! Tests of the reporter, and outcomes for other tests.

use std::io::{ErrorKind, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mpwasm::{CallbackStatus, Kind, Reporter as _, Stream, TaskError, Usage};
use serde_json::value::RawValue;

use super::*;
use crate::run::output::shared_reporter::SharedReporter;
use crate::terminal::stdio::BestEffort;
use mpwasm::internal::prints::{Target, Targets};

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

struct Run {
    reporter: SharedReporter,
    stdout: Shared,
    stderr: Shared,
    results: Shared,
    kills: Arc<AtomicU32>,
}

fn run() -> Run {
    let (stdout, stderr, results) = (Shared::default(), Shared::default(), Shared::default());
    let prints = Prints::new(Targets::Apart {
        stdout: Target::new(Box::new(stdout.clone()), false),
        stderr: Target::new(Box::new(BestEffort(stderr.clone())), false),
    });
    let records = RecordWriter::new(Box::new(results.clone()), false);
    let kills = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&kills);
    let on_failure = move || _ = counter.fetch_add(1, Ordering::Relaxed);
    let mut reporter = RunReporter::new(prints, LogLevel::Info, on_failure);
    reporter.begin(Some(records), SkippedTasks::default());
    Run {
        reporter: SharedReporter::new(reporter),
        stdout,
        stderr,
        results,
        kills,
    }
}

fn print(run: &mut Run, bytes: &[u8]) -> io::Result<()> {
    run.reporter.output(&Output {
        source: Source::Task(TaskId(0)),
        stream: Stream::Stdout,
        bytes,
        end: false,
    })
}

#[test]
fn output_and_records_are_written_at_the_flush() {
    let mut run = run();
    print(&mut run, b"hello\n").unwrap();
    run.reporter.outcome(&ok(0, "1")).unwrap();
    assert_eq!(run.stdout.text() + &run.results.text(), "");
    run.reporter.flush().unwrap();
    assert_eq!(run.stdout.text(), "hello\n");
    assert_eq!(run.results.text().lines().count(), 1);
}

#[test]
fn the_first_ten_failures_are_shown_and_the_rest_is_mentioned_once() {
    let mut run = run();
    for id in 0..30 {
        run.reporter
            .outcome(&failed(id, Kind::Timeout, "too\nlate"))
            .unwrap();
    }
    run.reporter.flush().unwrap();
    let stderr = run.stderr.text();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 11, "{stderr}");
    assert!(lines[0].starts_with("mpwasm: task 0: timeout: too") && lines[0].ends_with("late"));
    assert!(lines[10].contains("further failures are not shown"));
    assert_eq!(run.results.text().lines().count(), 30);
}

#[test]
fn an_outcome_ends_the_lines_of_its_task() {
    let mut run = run();
    print(&mut run, b"no newline").unwrap();
    run.reporter.outcome(&ok(0, "1")).unwrap();
    run.reporter.flush().unwrap();
    assert_eq!(run.stdout.text(), "no newline\n");
}

#[test]
fn a_closed_stdout_ends_the_run_from_outside_and_loses_no_record() {
    let mut run = run();
    run.reporter.outcome(&ok(0, "1")).unwrap();
    run.stdout.fail(ErrorKind::BrokenPipe);
    for _ in 0..2 {
        print(&mut run, b"x\n").unwrap();
        run.reporter.flush().unwrap(); // an error here would be the last thing that the pool reports
    }
    assert_eq!(run.kills.load(Ordering::Relaxed), 1);
    run.reporter.outcome(&failed(1, Kind::Cancelled, "")).unwrap();
    run.reporter.flush().unwrap();
    assert_eq!(run.results.text().lines().count(), 2);
    let mut reporter = run.reporter.lock();
    reporter.finish();
    let failure = reporter.failure().unwrap();
    assert!(failure.is_closed_pipe() && failure.output == OutputKind::Prints && failure.lost);
}

#[test]
fn a_closed_stdout_without_records_ends_the_run_and_tasks_are_still_counted() {
    let mut run = run();
    run.reporter.lock().records = None;
    run.stdout.fail(ErrorKind::BrokenPipe);
    print(&mut run, b"x\n").unwrap();
    run.reporter.flush().unwrap();
    assert_eq!(run.kills.load(Ordering::Relaxed), 1);
    run.reporter.outcome(&ok(0, "1")).unwrap();
    let summary = run.reporter.lock().counts().summary(Duration::ZERO);
    assert!(summary.starts_with("1 task: 1 ok"), "{summary}");
}

#[test]
fn a_closed_reader_ends_the_run_once_and_later_reports_are_lost() {
    for output in [OutputKind::Prints, OutputKind::Records] {
        let mut run = run();
        for _ in 0..2 {
            run.reporter.reader_closed(output);
        }
        assert_eq!(run.kills.load(Ordering::Relaxed), 1);
        run.reporter.flush().unwrap();
        assert!(!run.reporter.lock().failure().unwrap().lost, "no report was lost");
        run.reporter.outcome(&failed(0, Kind::Cancelled, "")).unwrap();
        run.reporter.flush().unwrap();
        let mut reporter = run.reporter.lock();
        reporter.finish();
        let failure = reporter.failure().unwrap();
        assert!(failure.is_closed_pipe() && failure.output == output && failure.lost);
        let records = run.results.text().lines().count();
        assert_eq!(records, usize::from(output == OutputKind::Prints));
    }
}

#[test]
fn a_full_disk_fails_the_records() {
    let mut run = run();
    run.results.fail(ErrorKind::StorageFull);
    run.reporter
        .outcome(&failed(0, Kind::Trap, "unreachable"))
        .unwrap();
    assert!(run.reporter.flush().is_err());
    let mut reporter = run.reporter.lock();
    reporter.finish();
    let failure = reporter.failure().unwrap();
    assert!(!failure.is_closed_pipe() && failure.output == OutputKind::Records && failure.lost);
}

#[test]
fn a_closed_stderr_does_not_end_the_run() {
    let mut run = run();
    run.stderr.fail(ErrorKind::BrokenPipe);
    run.reporter.warning("something").unwrap();
    run.reporter.flush().unwrap();
    let mut reporter = run.reporter.lock();
    reporter.finish();
    assert!(reporter.failure().is_none());
}
