//! What the command line does with what the pool reports: records, guests' prints, the first failures, the counts.
//!
//! The pool calls a [`SharedReporter`] from its own threads. The main thread looks at the same [`RunReporter`] when
//! the run is over.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mpwasm::prints::Prints;
use mpwasm::{CallbackStatus, Kind, LogLevel, Outcome, Output, Source};

use super::records::Records;
use super::summary::Tally;

/// Failures that are shown as lines of their own.
const SHOWN_FAILURES: u32 = 10;
/// Characters of a failure's message that are shown.
const SHOWN_MESSAGE: usize = 400;

/// What could not be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Guests' prints.
    Prints,
    /// Records.
    Records,
}

/// The first write that failed: it ended the run.
#[derive(Debug)]
pub struct Broken {
    /// What could not be written.
    pub place: Place,
    /// Why.
    pub error: io::Error,
    /// Whether some task or callback had failed until then.
    pub any_failure: bool,
}

impl Broken {
    /// Whether the reader went away, which is its right.
    pub fn is_closed_pipe(&self) -> bool {
        // A socket is reset when its other end is closed before all was read.
        matches!(
            self.error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )
    }
}

/// Takes all that a run reports.
pub struct RunReporter {
    prints: Prints,
    records: Option<Records>,
    least_log: LogLevel,
    tally: Tally,
    shown: u32,
    broken: Option<Broken>,
    on_broken: Box<dyn FnMut() + Send>,
    prints_broken: bool,
    records_broken: bool,
}

impl RunReporter {
    /// Log lines less important than `least_log` are left out. `on_broken` is called when something can't be written
    /// any more and the pool doesn't learn it from the call that tried: the run is to be killed then, and it must not
    /// wait for anything.
    pub fn new(
        prints: Prints,
        records: Option<Records>,
        least_log: LogLevel,
        on_broken: impl FnMut() + Send + 'static,
    ) -> Self {
        Self {
            prints,
            records,
            least_log,
            tally: Tally::default(),
            shown: 0,
            broken: None,
            on_broken: Box::new(on_broken),
            prints_broken: false,
            records_broken: false,
        }
    }

    /// The counts.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What broke in the course of the run.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Writes out all that waits; the pool reports nothing more.
    pub fn finish(&mut self) {
        // What fails here is kept in `broken`, as all else.
        let _ = self.printing(Prints::end_all);
        let _ = self.flush_all();
    }

    /// Nobody reads what is written there any more. Nothing more is, and the run is to be killed.
    fn reader_left(&mut self, place: Place) {
        let is_broken = match place {
            Place::Prints => &mut self.prints_broken,
            Place::Records => &mut self.records_broken,
        };
        if !std::mem::replace(is_broken, true) {
            self.failed(place, ErrorKind::BrokenPipe.into());
            (self.on_broken)();
        }
    }

    /// Remembers the first failure of all, and passes on what failed.
    fn failed(&mut self, place: Place, error: io::Error) -> io::Error {
        let told = io::Error::new(error.kind(), error.to_string());
        self.broken.get_or_insert(Broken {
            place,
            error,
            any_failure: self.tally.any_failure(),
        });
        told
    }

    fn printing(&mut self, write: impl FnOnce(&mut Prints) -> io::Result<()>) -> io::Result<()> {
        if self.prints_broken {
            return Ok(()); // it was said once, and the run is ending
        }
        let Err(error) = write(&mut self.prints) else {
            return Ok(());
        };
        self.prints_broken = true;
        self.failed(Place::Prints, error);
        // The pool reports nothing more to a reporter that failed, and every accepted task has a right to its record
        // and to be counted.
        (self.on_broken)();
        Ok(())
    }

    fn recording(&mut self, write: impl FnOnce(&mut Records) -> io::Result<()>) -> io::Result<()> {
        if self.records_broken {
            return Ok(());
        }
        match self.records.as_mut().map(write) {
            Some(Err(error)) => {
                self.records_broken = true;
                Err(self.failed(Place::Records, error))
            }
            _ => Ok(()),
        }
    }

    /// A line on stderr.
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.printing(|prints| prints.line(text))
    }

    fn flush_all(&mut self) -> io::Result<()> {
        let prints = self.printing(Prints::flush);
        self.recording(Records::flush).and(prints)
    }

    fn show_failure(&mut self, outcome: &Outcome) -> io::Result<()> {
        let Some(line) = failure_line(outcome) else {
            return Ok(());
        };
        self.shown += 1;
        match self.shown {
            1..=SHOWN_FAILURES => self.line(&line),
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

    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.tally.count(outcome);
        // Whatever these printed ended before; should its end have got lost, nothing of it may stay behind.
        let ended = self
            .printing(|prints| prints.end(Source::Task(outcome.id)))
            .and_then(|()| self.printing(|prints| prints.end(Source::Callback(outcome.id))));
        let shown = self.show_failure(outcome);
        // The record comes last and always: a stdout that cannot be written does not lose records.
        let recorded = self.recording(|records| records.write(outcome));
        ended.and(shown).and(recorded)
    }
}

/// What a person is told about a task or callback that failed, or nothing where the summary is enough: that what had
/// not started was cancelled is known from what ended the run.
fn failure_line(outcome: &Outcome) -> Option<String> {
    let mut line = format!("mpwasm: task {}", outcome.id);
    if let Some(key) = &outcome.key {
        _ = write!(line, " (key {})", shortened(key));
    }
    let callback = match outcome.callback {
        CallbackStatus::Failed(kind) => Some(kind),
        _ => None,
    };
    match (&outcome.result, callback) {
        (Ok(_), None) => return None,
        (Ok(_), Some(kind)) => _ = write!(line, ": ok, but its callback failed: {kind}"),
        (Err(error), None) if error.kind == Kind::Cancelled => return None,
        (Err(error), callback) => {
            _ = write!(line, ": {}: {}", error.kind, shortened(&error.message));
            if let Some(kind) = callback {
                _ = write!(line, "; its error_callback failed too: {kind}");
            }
        }
    }
    Some(line)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `level task N: text`.
fn log_line(source: Source, level: LogLevel, text: &str) -> String {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    match source {
        Source::Task(id) => format!("{level} task {id}: {text}"),
        Source::Callback(id) => format!("{level} callback of task {id}: {text}"),
        Source::Tasks => format!("{level} tasks: {text}"),
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
    pub fn reader_left(&self, place: Place) {
        self.lock().reader_left(place);
    }
}

impl mpwasm::Reporter for SharedReporter {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.lock().outcome(outcome)
    }

    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        self.lock().printing(|prints| prints.print(output))
    }

    fn log(&mut self, source: Source, level: LogLevel, text: &str) -> io::Result<()> {
        let mut reporter = self.lock();
        if level > reporter.least_log {
            return Ok(());
        }
        reporter.line(&log_line(source, level, text))
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.lock().line(&format!("mpwasm: warning: {text}"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush_all()
    }
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use mpwasm::{Reporter as _, Stream, TaskError, Usage};
    use serde_json::value::RawValue;

    use super::super::stdio::Lenient;
    use super::*;
    use mpwasm::prints::{Target, Targets};

    /// A file that tests can look into, and that can be made to fail.
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
            id,
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
            id,
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
            stderr: Target::new(Box::new(Lenient(stderr.clone())), false),
        });
        let records = Records::new(Box::new(results.clone()), false);
        let kills = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&kills);
        let on_broken = move || _ = counter.fetch_add(1, Ordering::Relaxed);
        let reporter = RunReporter::new(prints, Some(records), LogLevel::Info, on_broken);
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
            source: Source::Task(0),
            stream: Stream::Stdout,
            bytes,
            end: false,
        })
    }

    #[test]
    fn nothing_is_written_before_the_flush_and_all_of_it_then() {
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
    fn failure_lines_name_the_key_and_the_callback_and_leave_out_what_was_cancelled() {
        let mut keyed = failed(1, Kind::Error, "no");
        keyed.key = Some("k".into());
        keyed.callback = CallbackStatus::Failed(Kind::Trap);
        assert_eq!(
            failure_line(&keyed).unwrap(),
            "mpwasm: task 1 (key k): error: no; its error_callback failed too: trap"
        );
        let mut callback = ok(2, "1");
        callback.callback = CallbackStatus::Failed(Kind::Timeout);
        assert_eq!(
            failure_line(&callback).unwrap(),
            "mpwasm: task 2: ok, but its callback failed: timeout"
        );
        assert_eq!(failure_line(&ok(3, "1")), None);
        assert_eq!(failure_line(&failed(4, Kind::Cancelled, "")), None);
        let long = failure_line(&failed(5, Kind::Error, &"é".repeat(10_000))).unwrap();
        assert!(long.chars().count() < 500 && long.ends_with('…'));
    }

    #[test]
    fn guests_log_lines_are_one_line_each_down_to_the_level_asked_for() {
        let mut run = run();
        for (source, level) in [
            (Source::Task(7), LogLevel::Error),
            (Source::Callback(7), LogLevel::Info),
            (Source::Tasks, LogLevel::Warn),
            (Source::Task(7), LogLevel::Debug),
        ] {
            run.reporter.log(source, level, "x").unwrap();
        }
        run.reporter
            .log(Source::Task(8), LogLevel::Error, "two\nlines")
            .unwrap();
        run.reporter.flush().unwrap();
        let text = run.stderr.text();
        assert!(
            text.starts_with("error task 7: x\ninfo callback of task 7: x\nwarn tasks: x\nerror task 8: two")
        );
        assert_eq!(text.lines().count(), 4, "{text}");
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
        let broken = reporter.broken().unwrap();
        assert!(broken.is_closed_pipe() && broken.place == Place::Prints);
        assert!(
            !broken.any_failure,
            "what was cancelled by the closing came after it"
        );
    }

    #[test]
    fn a_closed_stdout_without_records_ends_the_run_and_tasks_are_counted_on() {
        let mut run = run();
        run.reporter.lock().records = None;
        run.stdout.fail(ErrorKind::BrokenPipe);
        print(&mut run, b"x\n").unwrap();
        run.reporter.flush().unwrap();
        assert_eq!(run.kills.load(Ordering::Relaxed), 1);
        run.reporter.outcome(&ok(0, "1")).unwrap();
        let summary = run.reporter.lock().tally().summary(Duration::ZERO);
        assert!(summary.starts_with("1 task: 1 ok"), "{summary}");
    }

    #[test]
    fn a_reader_that_left_ends_the_run_once_and_is_judged_by_what_had_failed() {
        for place in [Place::Prints, Place::Records] {
            let mut run = run();
            for _ in 0..2 {
                run.reporter.reader_left(place);
            }
            assert_eq!(run.kills.load(Ordering::Relaxed), 1);
            run.reporter.outcome(&failed(0, Kind::Cancelled, "")).unwrap();
            run.reporter.flush().unwrap();
            let mut reporter = run.reporter.lock();
            reporter.finish();
            let broken = reporter.broken().unwrap();
            assert!(broken.is_closed_pipe() && broken.place == place && !broken.any_failure);
            let records = run.results.text().lines().count();
            assert_eq!(records, usize::from(place == Place::Prints));
        }
    }

    #[test]
    fn a_full_disk_breaks_the_records() {
        let mut run = run();
        run.results.fail(ErrorKind::StorageFull);
        run.reporter
            .outcome(&failed(0, Kind::Trap, "unreachable"))
            .unwrap();
        assert!(run.reporter.flush().is_err());
        let mut reporter = run.reporter.lock();
        reporter.finish();
        let broken = reporter.broken().unwrap();
        assert!(!broken.is_closed_pipe() && broken.place == Place::Records && broken.any_failure);
    }

    #[test]
    fn a_stderr_that_nobody_reads_ends_nothing() {
        let mut run = run();
        run.stderr.fail(ErrorKind::BrokenPipe);
        run.reporter.warning("something").unwrap();
        run.reporter.flush().unwrap();
        let mut reporter = run.reporter.lock();
        reporter.finish();
        assert!(reporter.broken().is_none());
    }
}
