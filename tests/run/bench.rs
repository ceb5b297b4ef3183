//! One run of mpwasm, from its start to all that it left: records, prints, exit code.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, mpwasm, pidfd, send, wait_readable};

/// What nothing here takes, unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(100);

/// What a callback may take that is not to time out, however busy the machine is.
const AMPLE: [&str; 2] = ["--callback-timeout", "60s"];

/// All that a run left behind.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The records as they were written, in their order.
    pub lines: Vec<String>,
    /// The records in the order of their ids.
    pub records: Vec<Value>,
    /// The process id of the parent.
    pub pid: u32,
    pub wall: Duration,
}

impl Ended {
    /// The record of the task with this key.
    pub fn record(&self, key: &str) -> &Value {
        let found = self.records.iter().find(|record| record["key"] == key);
        found.unwrap_or_else(|| panic!("no record of {key}: {self:#?}"))
    }

    /// A field of every record, in the order of ids.
    pub fn column(&self, field: &str) -> Vec<&str> {
        let texts = self.records.iter().map(|record| record[field].as_str());
        texts
            .map(|text| text.unwrap_or_else(|| panic!("no text in {field}: {self:#?}")))
            .collect()
    }

    /// The lines on stdout.
    pub fn prints(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

/// Runs `mpwasm run ARGS...` to its end, with the records in a file: stdout is what guests print. Callbacks have ample
/// time, unless the args say otherwise.
pub fn run(args: &[&str]) -> Ended {
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
pub fn run_lines(lines: impl AsRef<[u8]>, args: &[&str]) -> Ended {
    let tasks = TasksFile::new(lines);
    run(&[args, &["--tasks", tasks.path()]].concat())
}

/// Runs any command of mpwasm to its end; it has no stdin.
pub fn to_the_end(command: &mut Command) -> Ended {
    within(LIMIT, command)
}

/// As [`to_the_end`], where something else than [`LIMIT`] is a hang.
pub fn within(limit: Duration, command: &mut Command) -> Ended {
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
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        lines: Vec::new(),
        records: Vec::new(),
        pid,
        wall,
    }
}

impl Ended {
    /// Takes the records from a file.
    pub fn read_records(&mut self, path: &Path) {
        let text = std::fs::read(path).unwrap();
        assert!(text.is_empty() || text.ends_with(b"\n"), "the last line is torn");
        self.records = support::records(&text);
        self.records.sort_by_key(|record| record["id"].as_u64());
        self.lines = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
    }
}

/// A file of task lines.
pub struct TasksFile(Guest);

impl TasksFile {
    pub fn new(lines: impl AsRef<[u8]>) -> Self {
        Self(Guest::file("tasks", lines.as_ref()))
    }

    pub fn path(&self) -> &str {
        self.0.path()
    }
}

/// A file in a directory of its own, most often a guest in its text form.
pub struct Guest {
    _dir: TempDir,
    path: PathBuf,
}

impl Guest {
    /// A guest in WebAssembly's text form.
    pub fn wat(text: &str) -> Self {
        Self::file("guest.wat", text.as_bytes())
    }

    pub fn file(name: &str, bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { _dir: dir, path }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Parts of guests in text form, to be put between `(module` and `)`; imports come first. `$wait` computes for so
/// many nanoseconds, and uses the memory at 128.
pub const CLOCK: &str = r#"
    (import "wasi_snapshot_preview1" "clock_time_get" (func $now (param i32 i64 i32) (result i32)))
"#;
pub const WAIT: &str = "
    (func $clock (result i64)
        (drop (call $now (i32.const 1) (i64.const 0) (i32.const 128)))
        (i64.load (i32.const 128)))
    (func $wait (param $for i64) (local $until i64)
        (local.set $until (i64.add (call $clock) (local.get $for)))
        (loop $again (br_if $again (i64.lt_u (call $clock) (local.get $until)))))
";

/// The memory, of a page, and `$print`, which writes `$len` bytes at `$at` to a stream and uses the first 16 bytes.
pub const PRINT: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $print (param $stream i32) (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $fd_write (local.get $stream) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// A guest whose unnamed model prints `started`, a newline and `unfinished`, and then loops for ever. Its model
/// `next` returns at once.
pub fn starts_and_spins() -> Guest {
    Guest::wat(&format!(
        r#"(module {PRINT}
            (data (i32.const 16) "started\nunfinished")
            (func (export "runnable") (result i32)
                (call $print (i32.const 1) (i32.const 16) (i32.const 18))
                (loop $again (br $again))
                (unreachable))
            (func (export "next.runnable") (result i32) (i32.const 0)))"#
    ))
}

/// The path of the fixture, without a model.
pub fn fixture() -> &'static str {
    support::guest("fixture").to_str().unwrap()
}

/// A task line for a model, with args in JSON, and the key that the args are found by again.
pub fn line(key: &str, model: &str, args: &str) -> String {
    format!("{{\"key\":\"{key}\",\"model\":\"{model}\",\"args\":{args}}}\n")
}

/// Runs a command with stderr, and stdout if that is asked for, on a terminal. Returns what stood there, and what was on
/// stdout else.
pub fn on_a_terminal(both: bool, mut command: Command) -> (String, String) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let terminal = std::fs::File::from(pty.slave);
    command.env("TERM", "xterm").stdin(Stdio::null());
    command.stderr(terminal.try_clone().unwrap());
    command.stdout(if both {
        terminal.try_clone().unwrap().into()
    } else {
        Stdio::piped()
    });
    drop(terminal);
    let mut child = command.spawn().unwrap();
    drop(command); // its descriptors of the terminal, or the reader would wait for ever
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        // The end of a terminal is an error.
        let _ = std::fs::File::from(pty.master).read_to_end(&mut seen);
        String::from_utf8(seen).unwrap()
    });
    let mut rest = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut rest).unwrap();
    }
    child.wait().unwrap();
    (reader.join().unwrap(), rest)
}
