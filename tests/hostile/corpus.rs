//! The kinds of hostile guests, and how each kind is run and judged.
//!
//! - [`Bad`]: the unnamed model's tasks misbehave among the tasks of a good model, on the same two workers.
//! - [`Pushing`]: the guest's `tasks` misbehaves; what it pushed before runs.
//! - [`Refusal`]: the guest or file is refused before anything runs.
//!
//! In every case the run ends by itself with the right exit code, leaves no process, gives every task one record of one
//! line, writes no control character to stderr, and exceeds no bound of memory.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::bounds;
use crate::session::{EndedSession, HANGS, Session, task_file, within};
use crate::support::{self, mpwasm, run_within};

/// Returns the options of every run of the corpus: two workers, and the strictest jail that the machine supports.
pub fn options() -> Vec<&'static str> {
    options_with("2")
}

/// As [`options`], with a number of workers.
fn options_with(size: &str) -> Vec<&str> {
    static IS_WELL: OnceLock<bool> = OnceLock::new();
    let is_well = || run_within(HANGS, mpwasm().arg("doctor")).status.success();
    match IS_WELL.get_or_init(is_well) {
        true => vec!["--size", size, "--jail", "strict"],
        false => vec!["--size", size],
    }
}

/// The timeout of bad tasks that end only at their deadline.
pub const SOON: Duration = Duration::from_millis(200);

/// Longest time from the deadline of a task to its end.
const GRACE: Duration = Duration::from_millis(200);

/// The timeout of bad tasks that must end before it, even on a busy machine.
const LATE: Duration = Duration::from_secs(20);

/// Longest message of a refusal, in bytes, as users read it.
const READABLE: usize = 64 << 10;

/// Defines a test for each line, with the guest in `guests/NAME.wat`.
macro_rules! corpus {
    ($($(#[$attribute:meta])* $name:ident => $case:expr;)+) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            $case.check(include_str!(concat!("guests/", stringify!($name), ".wat")));
        }
    )+};
}

/// Returns a complete guest: imports, these module fields, and the good model.
pub fn guest(fields: &str) -> String {
    let imports = include_str!("imports.wat");
    let good = include_str!("good.wat");
    format!("(module\n{imports}{fields}{good})\n")
}

/// A file in a directory of its own. Dropping it removes both.
pub struct Scratch {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Scratch {
    pub fn file(name: &'static str, bytes: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
        Self { folder, name }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }
}

/// A record. Values are kept as they were written, as a guest's JSON may exceed the limits of a parser.
pub struct Record(HashMap<String, Box<RawValue>>);

impl Record {
    pub fn raw(&self, field: &str) -> &str {
        self.0
            .get(field)
            .unwrap_or_else(|| panic!("no {field}: {self}"))
            .get()
    }

    /// Returns the parsed record.
    pub fn value(&self) -> Value {
        serde_json::from_str(&serde_json::to_string(&self.0).unwrap()).unwrap()
    }

    pub fn text(&self, field: &str) -> String {
        serde_json::from_str(self.raw(field)).unwrap()
    }

    pub fn number(&self, field: &str) -> u64 {
        serde_json::from_str(self.raw(field)).unwrap()
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = serde_json::to_string(&self.0).unwrap();
        f.write_str(&text[..text.floor_char_boundary(2000)])
    }
}

/// Returns the records in a file, in the order of their ids. Each id must occur once.
fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    let mut all: Vec<_> = text
        .lines()
        .map(|line| {
            Record(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.2000}")))
        })
        .collect();
    all.sort_by_key(|record| record.number("id"));
    let ids: Vec<_> = all.iter().map(|record| record.number("id")).collect();
    assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
    all
}

/// Asserts that text for a terminal has no control characters.
pub fn assert_inert(text: &str) {
    let harmful = text.chars().find(|&c| c.is_control() && c != '\n');
    assert_eq!(harmful, None, "{text:?}");
}

/// Runs `mpwasm run` on a guest to its end, with two workers. Returns how it ended and the records.
pub fn run(path: &Path, options: &[&str]) -> (EndedSession, Vec<Record>) {
    run_with("2", path, options)
}

/// As [`run`], with a number of workers.
pub fn run_with(size: &str, path: &Path, options: &[&str]) -> (EndedSession, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let own = ["--results", results.to_str().unwrap(), path.to_str().unwrap()];
    bounds::watch();
    let mut run = Session::start(&[&options_with(size)[..], options, &own].concat());
    let root = run.pid();
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    bounds::assert_bounded(root);
    assert_inert(&ended.stderr);
    let records = if results.exists() {
        records(&results)
    } else {
        Vec::new()
    };
    (ended, records)
}

fn assert_good(record: &Record, args: &str) {
    assert_eq!(record.text("status"), "ok", "a neighbour: {record}");
    assert_eq!(record.raw("result"), args, "a neighbour: {record}");
    assert_eq!(record.text("callback"), "ok", "a neighbour: {record}");
    assert_eq!(record.number("stdout_bytes"), 5, "a neighbour: {record}");
}

/// Returns the number of good tasks that have printed.
fn count_good(stdout: &[u8]) -> usize {
    stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| *line == b"good")
        .count()
}

/// The expected end of the unnamed model's tasks.
#[derive(Clone, Copy)]
pub struct Bad {
    status: &'static str,
    /// Text that the error's message contains, or the complete JSON of the result.
    words: &'static str,
    options: &'static [&'static str],
    /// The statuses of the callbacks, one for each task, in any order.
    callbacks: &'static [&'static str],
}

const fn bad(status: &'static str, words: &'static str) -> Bad {
    Bad {
        status,
        words,
        options: &[],
        callbacks: &["none"; 2],
    }
}

/// Expects a timeout, at most 0.2 s after the deadline.
pub const fn timeout() -> Bad {
    bad("timeout", "") // the words differ between the steps of a timeout
}

/// Expects a trap, with these words in its message.
pub const fn trap(words: &'static str) -> Bad {
    bad("trap", words)
}

/// Expects a failure of this kind, with these words in its message.
pub const fn fails(kind: &'static str, words: &'static str) -> Bad {
    bad(kind, words)
}

/// Expects success with exactly this JSON: what the guest tried was refused, or is harmless.
pub const fn returns(json: &'static str) -> Bad {
    bad("ok", json)
}

impl Bad {
    /// Adds options.
    pub const fn options(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// Sets how the callbacks must end.
    pub const fn callbacks(self, callbacks: &'static [&'static str]) -> Self {
        Self { callbacks, ..self }
    }

    /// Runs bad tasks among good ones, once for each way in which tasks are interrupted.
    pub fn check(self, fields: &str) {
        let ways = match cfg!(target_arch = "x86_64") {
            true => ["epoch", "signal", "kill"].as_slice(),
            false => &["epoch", "kill"],
        };
        for &how in ways {
            self.judge_with(&["--interrupt", how], &guest(fields));
        }
    }

    /// As [`check`](Self::check), for a complete guest, and for the default way alone: for guests that take long to compile, too.
    pub fn judge(self, guest: &str) -> (EndedSession, Vec<Record>) {
        self.judge_with(&[], guest)
    }

    fn judge_with(self, options: &[&str], guest: &str) -> (EndedSession, Vec<Record>) {
        let guest = Scratch::file("guest.wat", guest);
        let bad_line = self.line("", "[]");
        let args = |id: usize| format!(r#"["good",{id}]"#);
        // There are three good tasks before each bad one, and after the last.
        let is_bad = |id: usize| id % 4 == 3;
        let count = self.callbacks.len() * 4 + 3;
        let lines = (0..count).map(|id| match is_bad(id) {
            true => bad_line.clone(),
            false => format!(r#"{{"model":"good","args":{}}}"#, args(id)),
        });
        let tasks = tempfile::tempdir().unwrap();
        let tasks = task_file(tasks.path(), lines);
        let options = [self.options, options, &["--tasks", tasks.to_str().unwrap()]].concat();

        let (ended, records) = run(&guest.path(), &options);
        assert_eq!(records.len(), count, "{}", ended.stderr);
        let mut callbacks = Vec::new();
        for (id, record) in records.iter().enumerate() {
            if is_bad(id) {
                self.assert_ended(record);
                callbacks.push(record.text("callback"));
            } else {
                assert_good(record, &args(id));
            }
        }
        assert_eq!(count_good(&ended.stdout), count - self.callbacks.len());
        let mut expected = self.callbacks.to_vec();
        expected.sort_unstable();
        callbacks.sort_unstable();
        assert_eq!(callbacks, expected, "{}", ended.stderr);
        let harmless = ["ok", "none", "skipped"];
        let all_well = self.status == "ok" && expected.iter().all(|status| harmless.contains(status));
        ended.assert_code(if all_well { 0 } else { 1 });
        (ended, records)
    }

    /// Returns the task line of a bad task.
    fn line(self, model: &str, args: &str) -> String {
        let timeout = if self.status == "timeout" { SOON } else { LATE };
        let timeout = timeout.as_secs_f64();
        format!(r#"{{"model":"{model}","args":{args},"timeout":{timeout}}}"#)
    }

    /// Runs tasks of a bad model of the fixture among tasks of its good model `echo`.
    pub fn check_rust(self, model: &str, args: &str) {
        let good = r#"{"model":"echo","args":["good"]}"#.to_owned();
        let bad = self.line(model, args);
        let lines = [&good, &bad, &good, &bad, &good];
        let tasks = tempfile::tempdir().unwrap();
        let tasks = task_file(tasks.path(), lines.iter().map(|line| line.to_string()));
        let options = [self.options, &["--tasks", tasks.to_str().unwrap()]].concat();

        let (ended, records) = run(support::guest("fixture"), &options);
        assert_eq!(records.len(), lines.len(), "{}", ended.stderr);
        for (record, line) in records.iter().zip(lines) {
            if *line == bad {
                self.assert_ended(record);
            } else {
                assert_eq!(record.text("status"), "ok", "a neighbour: {record}");
                assert_eq!(record.raw("result"), "[\"good\"]", "a neighbour: {record}");
            }
        }
        ended.assert_code(if self.status == "ok" { 0 } else { 1 });
    }

    fn assert_ended(self, record: &Record) {
        assert_eq!(record.text("status"), self.status, "{record}");
        if self.status == "ok" {
            assert_eq!(record.raw("result"), self.words, "{record}");
            return;
        }
        let error: HashMap<String, Box<RawValue>> = serde_json::from_str(record.raw("error")).unwrap();
        let message: String = serde_json::from_str(error["message"].get()).unwrap();
        assert!(
            message.contains(self.words),
            "{:?} is not in {record}",
            self.words
        );
        if self.status == "timeout" {
            let took = Duration::from_micros(record.number("run_us"));
            assert!(took >= SOON && took < within(SOON + GRACE), "{record}");
        }
    }
}

/// The expected end of the guest's `tasks`.
#[derive(Clone, Copy)]
pub struct Pushing {
    pushed: usize,
    words: &'static str,
    options: &'static [&'static str],
}

/// Expects a failure, with these words on stderr, after `pushed` tasks of the good model.
pub const fn pushes(pushed: usize, words: &'static str) -> Pushing {
    Pushing {
        pushed,
        words,
        options: &["--timeout", "1s"],
    }
}

impl Pushing {
    /// Sets options instead of a timeout of one second.
    pub const fn options(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// Runs the tasks that the guest pushes. Those of the good model have the args `["good"]`.
    pub fn check(self, fields: &str) {
        let guest = Scratch::file("guest.wat", guest(fields));
        let (ended, records) = run(&guest.path(), self.options);
        assert!(
            ended.stderr.contains("`tasks`") && ended.stderr.contains(self.words),
            "{:?} is not in {}",
            self.words,
            ended.stderr
        );
        assert_eq!(records.len(), self.pushed, "{}", ended.stderr);
        for record in &records {
            assert_good(record, r#"["good"]"#);
        }
        assert_eq!(count_good(&ended.stdout), self.pushed);
        ended.assert_code(1);
    }
}

/// The expected message about a guest that is refused.
#[derive(Clone, Copy)]
pub struct Refusal {
    words: &'static [&'static str],
}

/// Expects a refusal with these words.
pub const fn refused(words: &'static [&'static str]) -> Refusal {
    Refusal { words }
}

impl Refusal {
    /// Tries to run and to inspect this file.
    pub fn judge(self, bytes: impl AsRef<[u8]>) {
        self.judge_path(&Scratch::file("guest.wasm", bytes).path());
    }

    /// As [`judge`](Self::judge), for whatever is at this path.
    pub fn judge_path(self, path: &Path) {
        let (ended, records) = run(path, &["--args", "[]"]);
        ended.assert_code(2);
        assert_eq!((ended.stdout.len(), records.len()), (0, 0));
        self.assert_said(&ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

        let output = run_within(HANGS, mpwasm().arg("inspect").arg(path));
        assert_eq!(output.status.code(), Some(2));
        self.assert_said(&String::from_utf8([output.stdout, output.stderr].concat()).unwrap());
    }

    fn assert_said(self, text: &str) {
        assert_inert(text);
        for words in self.words {
            assert!(text.contains(words), "{words:?} is not in {text:.2000}");
        }
        assert!(text.len() <= READABLE, "{} bytes: {text:.2000}", text.len());
    }
}
