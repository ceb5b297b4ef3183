//! Creates files for runs: task lines and guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// A file of task lines.
pub struct TasksFile(GuestFile);

impl TasksFile {
    pub fn new(lines: impl AsRef<[u8]>) -> Self {
        Self(GuestFile::file("tasks", lines.as_ref()))
    }

    pub fn path(&self) -> &str {
        self.0.path()
    }
}

/// A file in a directory of its own, usually a guest in text form.
pub struct GuestFile {
    _dir: TempDir,
    path: PathBuf,
}

impl GuestFile {
    /// Creates a guest from WebAssembly's text form.
    pub fn wat(text: &str) -> Self {
        Self::file("guest.wat", text.as_bytes())
    }

    pub fn file(name: &str, bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        Self { _dir: dir, path }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Parts of guests in text form, to be put between `(module` and `)`; imports come first. `$wait` computes for this
/// number of nanoseconds, and uses the memory at 128.
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

/// A memory of one page, and `$print`, which writes `$len` bytes at `$at` to a stream and uses the first 16 bytes.
pub const PRINT: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $print (param $stream i32) (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $fd_write (local.get $stream) (i32.const 0) (i32.const 1) (i32.const 8))))
"#;

/// Creates a guest whose unnamed model prints `started`, a newline and `unfinished`, and then loops forever. Its model
/// `next` returns at once.
pub fn starts_and_spins() -> GuestFile {
    GuestFile::wat(&format!(
        r#"(module {PRINT}
            (data (i32.const 16) "started\nunfinished")
            (func (export "runnable") (result i32)
                (call $print (i32.const 1) (i32.const 16) (i32.const 18))
                (loop $again (br $again))
                (unreachable))
            (func (export "next.runnable") (result i32) (i32.const 0)))"#
    ))
}

/// Returns a task line for a model, with args in JSON and a key by which tests find the record.
pub fn line(key: &str, model: &str, args: &str) -> String {
    format!("{{\"key\":\"{key}\",\"model\":\"{model}\",\"args\":{args}}}\n")
}

/// Creates a file of task lines.
pub fn task_file(folder: &Path, lines: impl IntoIterator<Item = String>) -> PathBuf {
    let path = folder.join("tasks");
    fs::write(
        &path,
        lines.into_iter().map(|line| line + "\n").collect::<String>(),
    )
    .unwrap();
    path
}

/// A task of the fixture that computes for one millisecond.
pub const BUSY: &str = r#"{"model":"busy","args":[1000]}"#;

/// Creates a file of `count` such tasks.
pub fn busy_tasks(folder: &Path, count: u64) -> PathBuf {
    task_file(folder, (0..count).map(|_| BUSY.to_owned()))
}

/// Creates a guest whose `runnable` prints `started` and then computes until `left` remains to its deadline. Its model
/// `next` returns at once.
pub fn announcing_guest(folder: &Path, left: Duration) -> PathBuf {
    let path = folder.join("announcing.wat");
    let left = left.as_millis();
    let text = format!(
        r#"(module
        (import "mpwasm_v1" "remaining_ms" (func $remaining_ms (result i64)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\08\00\00\00")
        (data (i32.const 16) "started\n")
        (func (export "runnable") (result i32)
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (loop $again (br_if $again (i64.gt_s (call $remaining_ms) (i64.const {left}))))
            (i32.const 0))
        (func (export "next.runnable") (result i32) (i32.const 0)))"#
    );
    fs::write(&path, text).unwrap();
    path
}
