//! Writes tasks as test cases, in the XML form of JUnit.

use std::io::{self, Write};

use mpwasm_types::escape::escape;
use mpwasm_types::outcome::{Attempt, CallbackStatus, Kind};
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

use crate::log_reader::RecordSink;
use crate::record::{RecordStatus, TaskRecord};

/// Writes a test suite for each log, with a test case for each task.
///
/// A suite begins with its numbers of test cases, so its test cases are kept in memory until it ends.
#[derive(Debug)]
pub struct JunitReport<W> {
    writer: W,
    has_begun: bool,
    suite: Option<Suite>,
}

/// The test suite of a log.
#[derive(Debug)]
struct Suite {
    name: String,
    tests: u64,
    failures: u64,
    errors: u64,
    skipped: u64,
    run_us: u64,
    /// The elements of the test cases.
    cases: Vec<u8>,
}

impl<W: Write> JunitReport<W> {
    /// Returns a report that is written to `writer`.
    pub const fn new(writer: W) -> Self {
        Self {
            writer,
            has_begun: false,
            suite: None,
        }
    }

    /// Ends the report.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.begin()?;
        self.end_suite()?;
        self.writer.write_all(b"</testsuites>\n")
    }

    fn begin(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.writer
                .write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"mpwasm\">\n")?;
        }
        Ok(())
    }

    fn end_suite(&mut self) -> io::Result<()> {
        let Some(suite) = self.suite.take() else {
            return Ok(());
        };
        let mut writer = Writer::new(&mut self.writer);
        let start = BytesStart::new("testsuite").with_attributes([
            ("name", &*suite.name),
            ("tests", &suite.tests.to_string()),
            ("failures", &suite.failures.to_string()),
            ("errors", &suite.errors.to_string()),
            ("skipped", &suite.skipped.to_string()),
            ("time", &seconds(suite.run_us)),
        ]);
        writer.write_event(Event::Start(start))?;
        writer.get_mut().write_all(&suite.cases)?;
        writer.get_mut().write_all(b"\n")?;
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
        self.writer.write_all(b"\n")
    }
}

impl<W: Write> RecordSink for JunitReport<W> {
    fn begin_log(&mut self, name: &str) -> io::Result<()> {
        if self.suite.is_some() {
            self.begin()?;
            self.end_suite()?;
        }
        self.suite = Some(Suite {
            name: xml(name),
            tests: 0,
            failures: 0,
            errors: 0,
            skipped: 0,
            run_us: 0,
            cases: Vec::new(),
        });
        Ok(())
    }

    fn record(&mut self, _line: u64, record: &TaskRecord<'_>) -> io::Result<()> {
        match &mut self.suite {
            Some(suite) => suite.add(record),
            None => Err(io::Error::other("a record came before the first log")),
        }
    }
}

impl Suite {
    fn add(&mut self, record: &TaskRecord<'_>) -> io::Result<()> {
        let name = match record.key.as_deref() {
            None | Some("") => format!("task {}", record.id),
            Some(key) => xml(key),
        };
        let model = if record.model.is_empty() {
            "runnable"
        } else {
            &record.model
        };
        let run_us = record.run_us.unwrap_or_default();
        self.tests += 1;
        self.run_us = self.run_us.saturating_add(run_us);
        let result = TestResult::of(record);
        match result {
            Some(TestResult {
                element: "failure", ..
            }) => self.failures += 1,
            Some(TestResult { element: "error", .. }) => self.errors += 1,
            Some(_) => self.skipped += 1,
            None => {}
        }
        let case = BytesStart::new("testcase").with_attributes([
            ("name", &*name),
            ("classname", &xml(model)),
            ("time", &seconds(run_us)),
        ]);
        self.cases.push(b'\n');
        let mut cases = Writer::new(&mut self.cases);
        if result.is_none() && record.tried.is_empty() {
            return cases.write_event(Event::Empty(case));
        }
        cases.write_event(Event::Start(case))?;
        // A task that succeeded in the end is flaky.
        let prefix = if result.is_none() { "flaky" } else { "rerun" };
        if let Some(result) = result {
            result.write(&mut cases)?;
        }
        let is_skipped = record.status == RecordStatus::Failed(Kind::Cancelled);
        for attempt in record.tried.iter().filter(|_| !is_skipped) {
            write_attempt(&mut cases, prefix, attempt)?;
        }
        cases.write_event(Event::End(BytesEnd::new("testcase")))
    }
}

/// The result of a test case that did not succeed.
struct TestResult {
    element: &'static str,
    kind: &'static str,
    message: String,
    text: Option<String>,
}

impl TestResult {
    /// Returns the result of a task, or `None` if the task and its callback succeeded.
    fn of(record: &TaskRecord<'_>) -> Option<Self> {
        let kind = match (record.status, record.callback) {
            (RecordStatus::Failed(kind), _) => kind,
            (RecordStatus::Ok, CallbackStatus::Failed(kind)) => {
                return Some(Self {
                    element: "failure",
                    kind: "callback",
                    message: format!("the callback failed: {kind}"),
                    text: None,
                });
            }
            (RecordStatus::Ok, _) => return None,
        };
        let error = record.error.as_ref();
        let message = error.map_or("", |error| &error.message);
        let frame = error.and_then(|error| error.frame.as_ref());
        Some(Self {
            element: element(kind),
            kind: kind.as_str(),
            message: xml(message),
            text: frame.map(|frame| xml(&format!("{message}; in {frame}"))),
        })
    }

    fn write(&self, writer: &mut Writer<&mut Vec<u8>>) -> io::Result<()> {
        let mut start = BytesStart::new(self.element);
        if self.element != "skipped" {
            start.push_attribute(("type", self.kind));
        }
        start.push_attribute(("message", &*self.message));
        let Some(text) = &self.text else {
            return writer.write_event(Event::Empty(start));
        };
        writer.write_event(Event::Start(start))?;
        writer.write_event(Event::Text(BytesText::new(text)))?;
        writer.write_event(Event::End(BytesEnd::new(self.element)))
    }
}

/// Writes an attempt before the last one, in the form of Maven's Surefire.
fn write_attempt(writer: &mut Writer<&mut Vec<u8>>, prefix: &str, attempt: &Attempt) -> io::Result<()> {
    let element = match element(attempt.kind) {
        "error" => "Error",
        _ => "Failure",
    };
    let start = BytesStart::new(format!("{prefix}{element}"));
    let start = start.with_attributes([
        ("type", attempt.kind.as_str()),
        ("message", &*xml(&attempt.message)),
        ("time", &seconds(attempt.run_us)),
    ]);
    writer.write_event(Event::Empty(start))
}

/// Returns the element for a kind: `error` for what is not the task's doing, such as a worker that died.
const fn element(kind: Kind) -> &'static str {
    match kind {
        Kind::Cancelled => "skipped",
        Kind::Crash | Kind::Invalid => "error",
        _ => "failure",
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Returns the text with characters escaped that XML can't represent, or that could deceive a reader. `quick_xml` escapes markup.
fn xml(text: &str) -> String {
    escape(text)
        .replace('\u{fffe}', r"\u{fffe}")
        .replace('\u{ffff}', r"\u{ffff}")
}
