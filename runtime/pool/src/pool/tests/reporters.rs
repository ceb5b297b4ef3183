//! Several reporters of a pool: each receives everything, and one that fails ends the pool.

use std::io;
use std::sync::Arc;

use super::fake::{FakePool, start};
use crate::backend::BackendEvent;
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::pool::Pool;
use crate::report::Reporter;
use crate::report::event::{Event, LogLine, PrintedOutput, WorkerEvent};
use crate::sync::Mutex;
use mpwasm_protocol::messages::{GuestOutput, Source};
use mpwasm_types::ids::{TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, Kind, LogLevel, Outcome, Stream};
use mpwasm_types::retry::Retry;

/// Collects what happens, one line each, through [`Reporter::event`].
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn add(&self, line: String) {
        self.0.lock().push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Reporter for Lines {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.add(match event {
            Event::AttemptFailed { task, attempt } => format!("attempt {} of {task}", attempt.attempt),
            Event::Ended(outcome) => format!("end of {}", outcome.id),
            Event::Printed(output) if output.end => format!("end of output of {:?}", output.source),
            Event::Printed(output) => format!("{:?} printed {:?}", output.source, output.bytes),
            Event::Logged(line) => format!("{:?} logged {}", line.source, line.text),
            Event::Warning(text) => format!("warning {text}"),
            Event::Worker(event) => format!("worker {}", event.what),
        });
        Ok(())
    }
}

/// Collects the same lines through a method for each kind of event.
struct ByMethod(Lines);

impl Reporter for ByMethod {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.0.event(&Event::Ended(outcome))
    }

    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        self.0.event(&Event::Printed(*output))
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        self.0.event(&Event::Logged(*line))
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.0.event(&Event::Warning(text))
    }

    fn attempt_failed(&mut self, task: TaskId, attempt: &Attempt) -> io::Result<()> {
        self.0.event(&Event::AttemptFailed { task, attempt })
    }

    fn worker(&mut self, event: &WorkerEvent) -> io::Result<()> {
        self.0.event(&Event::Worker(event))
    }
}

/// Fails, or panics, at the end of a task.
struct Failing {
    at: u64,
    panics: bool,
}

impl Reporter for Failing {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        assert!(outcome.id.0 <= self.at, "it is called again after a failure");
        assert!(
            outcome.id.0 < self.at || !self.panics,
            "this is the panic of the test"
        );
        match outcome.id.0 == self.at {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// Notes when it is flushed and finished, besides the events.
struct UntilFinished(Lines);

impl Reporter for UntilFinished {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.0.event(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.add("flush".to_owned());
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.add("finish".to_owned());
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn submit(fake: &FakePool) -> TaskHandle {
    fake.pool.submit(fake.guest.task([1])).unwrap()
}

#[test]
fn each_of_two_reporters_receives_everything_in_order() {
    let (first, second) = (Lines::default(), Lines::default());
    let builder = Pool::builder().retry(Retry::times(1));
    let fake = start(builder.reporter(first.clone()).reporter(ByMethod(second.clone())));
    // What the machine lacks was reported before.
    let before = first.all().len();
    let handle = submit(&fake);
    let attempt = Attempt {
        attempt: 1,
        kind: Kind::Crash,
        message: String::new(),
        worker: WorkerNumber(0),
        pid: 1,
        run_us: 1,
    };
    let source = Source::Task(TaskId(0));
    let at = None;
    let output = |output| BackendEvent::Output { source, at, output };
    let worker = WorkerEvent {
        worker: WorkerNumber(0),
        pid: 1,
        task: None,
        what: "ready".to_owned(),
    };
    let events = [
        BackendEvent::Worker(worker),
        output(GuestOutput::Printed {
            stream: Stream::Stdout,
            bytes: b"x",
        }),
        output(GuestOutput::Logged {
            level: LogLevel::Info,
            text: "hello",
        }),
        BackendEvent::AttemptFailed {
            id: TaskId(0),
            attempt,
        },
        BackendEvent::Warning("careful"),
    ];
    events.into_iter().for_each(|event| fake.control.event(event));
    fake.control.ok(0, "1");
    assert!(handle.wait().is_success());
    let expected = [
        "worker ready",
        "Task(TaskId(0)) printed [120]",
        "Task(TaskId(0)) logged hello",
        "end of output of Task(TaskId(0))",
        "attempt 1 of 0",
        "warning careful",
        "end of output of Task(TaskId(0))",
        "end of 0",
    ];
    assert_eq!(first.all()[before..], expected);
    assert_eq!(first.all(), second.all());
}

#[test]
fn a_reporter_that_fails_ends_the_pool_and_the_others_receive_all_ends() {
    for panics in [false, true] {
        for is_first in [false, true] {
            let (failing, lines) = (Failing { at: 1, panics }, Lines::default());
            let builder = match is_first {
                true => Pool::builder().reporter(failing).reporter(lines.clone()),
                false => Pool::builder().reporter(lines.clone()).reporter(failing),
            };
            let fake = start(builder);
            let handles = [(); 3].map(|()| submit(&fake));
            fake.control.ok(0, "1");
            fake.control.ok(1, "1");
            let kinds = handles.map(|handle| handle.wait().result.map_err(|error| error.kind).err());
            assert_eq!(kinds, [None, None, Some(Kind::Cancelled)]);
            let error = match fake.pool.join() {
                Err(Error::Report(error)) => error,
                other => panic!("{other:?}"),
            };
            assert_eq!(error.to_string() == "the reporter panicked", panics, "{error}");
            let ends: Vec<_> = lines
                .all()
                .into_iter()
                .filter(|line| line.starts_with("end of ") && !line.contains("output"))
                .collect();
            assert_eq!(ends, ["end of 0", "end of 1", "end of 2"]);
        }
    }
}

#[test]
fn a_reporter_is_finished_once_after_the_last_event_and_its_error_is_that_of_the_pool() {
    let lines = Lines::default();
    let fake = start(Pool::builder().reporter(UntilFinished(lines.clone())));
    let handle = submit(&fake);
    fake.control.die("the test ends it");
    assert_eq!(handle.wait().result.unwrap_err().kind, Kind::Crash);
    assert!(matches!(fake.pool.join(), Err(Error::Report(_))));
    let all = lines.all();
    assert_eq!(all[all.len() - 2..], ["end of 0", "finish"]);
    assert_eq!(all.iter().filter(|line| *line == "finish").count(), 1);
}
