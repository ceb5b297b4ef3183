//! Runs mpwasm to its end and returns everything that the run left: records, output, exit code.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

pub use crate::files::{CLOCK, GuestFile, PRINT, TasksFile, WAIT, line, starts_and_spins};
use crate::processes::{pidfd, send};
use crate::programs::{guest, mpwasm};
use crate::records::records;
pub use crate::terminal::on_a_terminal;
use crate::waiting::wait_readable;

/// Longest time that a run may take. A run that takes longer counts as a hang.
pub const LIMIT: Duration = Duration::from_secs(100);

/// Options for callbacks that must not time out, even on a busy machine.
const AMPLE: [&str; 2] = ["--callback-timeout", "60s"];

/// Everything that a run left behind.
#[derive(Debug)]
pub struct CompletedRun {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The records as they were written, in order.
    pub lines: Vec<String>,
    /// The records in the order of their ids.
    pub records: Vec<Value>,
    /// The process id of the parent.
    pub pid: u32,
    pub wall: Duration,
}

impl CompletedRun {
    /// Returns the record of the task with this key.
    pub fn record(&self, key: &str) -> &Value {
        let found = self.records.iter().find(|record| record["key"] == key);
        found.unwrap_or_else(|| panic!("no record of {key}: {self:#?}"))
    }

    /// Returns a field of every record, in the order of ids.
    pub fn column(&self, field: &str) -> Vec<&str> {
        let texts = self.records.iter().map(|record| record[field].as_str());
        texts
            .map(|text| text.unwrap_or_else(|| panic!("no text in {field}: {self:#?}")))
            .collect()
    }

    /// Returns the lines on stdout.
    pub fn prints(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl CompletedRun {
    /// Reads the records from a file.
    pub fn read_records(&mut self, path: &Path) {
        let text = std::fs::read(path).unwrap();
        assert!(text.is_empty() || text.ends_with(b"\n"), "the last line is torn");
        self.records = records(&text);
        self.records.sort_by_key(|record| record["id"].as_u64());
        self.lines = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
    }
}

/// Runs `mpwasm run ARGS...` to its end, with the records in a file, so that stdout contains guests' output. Callbacks
/// have a long timeout unless the args set another.
pub fn run(args: &[&str]) -> CompletedRun {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let mut command = mpwasm();
    command.arg("run").arg("--results").arg(&results);
    if !args.contains(&AMPLE[0]) {
        command.args(AMPLE);
    }
    command.args(args);
    let mut ended = to_the_end(&mut command);
    if results.exists() {
        ended.read_records(&results);
    }
    ended
}

/// As [`run`], with these task lines in a file.
pub fn run_lines(lines: impl AsRef<[u8]>, args: &[&str]) -> CompletedRun {
    let tasks = TasksFile::new(lines);
    run(&[args, &["--tasks", tasks.path()]].concat())
}

/// Runs any command of mpwasm to its end, without stdin.
pub fn to_the_end(command: &mut Command) -> CompletedRun {
    within(LIMIT, command)
}

/// As [`to_the_end`], with another limit than [`LIMIT`].
pub fn within(limit: Duration, command: &mut Command) -> CompletedRun {
    let started = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let end = pidfd(pid);
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    if !wait_readable(&end, limit) {
        send(pid, Signal::SIGKILL);
        let output = reader.join().unwrap();
        panic!(
            "it took longer than {limit:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let wall = started.elapsed();
    let output = reader.join().unwrap();
    CompletedRun {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        lines: Vec::new(),
        records: Vec::new(),
        pid,
        wall,
    }
}

/// Returns the path of the fixture, without a model.
pub fn fixture() -> &'static str {
    guest("fixture").to_str().unwrap()
}
