//! Attributes that a process inherits from its parent: signals, limits, descriptors, a working directory. They do not
//! change what mpwasm guarantees, or mpwasm reports what is missing.

mod descriptors;
mod limits;
mod places;
mod signals;
mod stops;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{mpwasm, run_within};

/// Longer than any run here takes. A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A function that changes a process between fork and exec. It makes system calls only.
type Legacy = fn() -> io::Result<()>;

/// Returns `mpwasm` with arguments, to be started after this function was called.
fn inheriting(legacy: impl Fn() -> io::Result<()> + Send + Sync + 'static, args: &[&str]) -> Command {
    let mut command = mpwasm();
    command.args(args);
    // SAFETY: system calls only, which are safe between fork and exec.
    unsafe { command.pre_exec(legacy) };
    command
}

/// As [`inheriting`], run to its end.
fn run(legacy: impl Fn() -> io::Result<()> + Send + Sync + 'static, args: &[&str]) -> Output {
    run_within(LIMIT, &mut inheriting(legacy, args))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Creates a command that traps in the way that the first byte of its first argument names: by a division by zero, a read
/// out of bounds, `unreachable` or endless recursion. Without such a byte it prints `hello`.
fn trapping_command(folder: &Path) -> PathBuf {
    let path = folder.join("trapping.wat");
    let text = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\06\00\00\00")
        (data (i32.const 16) "hello\n")
        (func $recurse (call $recurse) (call $recurse))
        (func (export "_start") (local $way i32)
            (drop (call $sizes (i32.const 100) (i32.const 104)))
            (if (i32.gt_u (i32.load (i32.const 100)) (i32.const 1)) (then
                (drop (call $args (i32.const 200) (i32.const 300)))
                (local.set $way (i32.load8_u (i32.load (i32.const 204))))))
            (if (i32.eq (local.get $way) (i32.const 100)) ;; d
                (then (drop (i32.div_u (i32.const 1) (i32.load (i32.const 4000))))))
            (if (i32.eq (local.get $way) (i32.const 111)) ;; o
                (then (drop (i32.load (i32.const -8)))))
            (if (i32.eq (local.get $way) (i32.const 117)) (then unreachable)) ;; u
            (if (i32.eq (local.get $way) (i32.const 114)) (then (call $recurse))) ;; r
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    std::fs::write(&path, text).unwrap();
    path
}
