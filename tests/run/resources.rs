//! Limits that real programs need to raise: deep stacks, large tables, many open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::os::unix::process::CommandExt as _;

use crate::completed::{CompletedRun, GuestFile, run, to_the_end};
use crate::grants::{Folder, files};
use crate::support::mpwasm;

/// A command that recurses 1024 times as deep as its stdin is long, with live values in each frame. It prints the depth.
const DEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $down (param $left i64) (result i64)
    (if (result i64) (i64.eqz (local.get $left))
      (then (i64.const 0))
      (else (i64.add (i64.const 1)
        (i64.mul (call $down (i64.sub (local.get $left) (i64.const 1)))
          (i64.or (i64.const 1) (i64.shl (local.get $left) (i64.const 63))))))))
  (func (export "_start") (local $depth i64)
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 10000))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (local.set $depth (i64.mul (i64.const 1024) (i64.extend_i32_u (i32.load (i32.const 8)))))
    (drop (call $down (local.get $depth)))))"#;

/// Runs it to this depth in thousands, with these options. Returns the status of its task, and the message if it failed.
fn depth(thousands: usize, options: &[&str]) -> (String, String) {
    let guest = GuestFile::file("deep.wat", DEEP.as_bytes());
    let line = json!({"args": [], "stdin": "x".repeat(thousands)}).to_string();
    let tasks = crate::completed::TasksFile::new(line);
    let ended = run(&[&[guest.path(), "--tasks", tasks.path()], options].concat());
    let record = &ended.records[0];
    (
        record["status"].as_str().unwrap().to_owned(),
        record["error"]["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn the_stack_is_as_large_as_it_is_said_to_be() {
    let (status, message) = depth(1000, &[]);
    assert_eq!(status, "trap");
    assert!(message.contains("stack"), "{message}");
    // A million calls of 32 bytes at least.
    for isolation in ["instance", "process"] {
        let options = ["--stack", "128MiB", "--isolation", isolation];
        assert_eq!(depth(1000, &options), ("ok".to_owned(), String::new()));
    }
    assert_eq!(depth(8, &["--stack", "64KiB"]).0, "trap");
    assert_eq!(depth(8, &[]).0, "ok");
}

#[test]
fn endless_recursion_is_a_trap_with_a_large_stack_as_well() {
    let guest = GuestFile::file(
        "endless.wat",
        br#"(module (memory (export "memory") 1)
          (func $f (param i32) (result i32) (i32.add (call $f (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
          (func (export "_start") (drop (call $f (i32.const 0)))))"#,
    );
    for stack in ["1MiB", "64MiB", "1GiB"] {
        let ended = run(&[guest.path(), "--stack", stack, "--timeout", "100s"]);
        assert_eq!(ended.column("status"), ["trap"], "{ended:#?}");
        let message = ended.records[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains("call stack exhausted"), "{message}");
    }
}

#[test]
fn exec_has_a_stack_of_this_size() {
    let guest = GuestFile::file("deep.wat", DEEP.as_bytes());
    let exec = |options: &[&str]| {
        let stdin = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(stdin.path(), "x".repeat(1000)).unwrap();
        let mut command = mpwasm();
        command.arg("exec").args(options).arg(guest.path());
        let output = command
            .stdin(std::fs::File::open(stdin.path()).unwrap())
            .output()
            .unwrap();
        output.status.code()
    };
    assert_eq!(exec(&[]), Some(134));
    assert_eq!(exec(&["--stack", "128MiB"]), Some(0));
}

/// Returns a command with a table of `elements` elements. It grows the table by one and calls the last of the original
/// ones.
fn table(elements: u32) -> GuestFile {
    let wat = format!(
        r#"(module
          (type $f (func (result i32)))
          (table $t {elements} funcref)
          (memory (export "memory") 1)
          (func $seven (result i32) (i32.const 7))
          (elem (i32.const {last}) $seven)
          (func (export "_start")
            (if (i32.ne (call_indirect (type $f) (i32.const {last})) (i32.const 7)) (then unreachable))
            (if (i32.lt_s (table.grow $t (ref.null func) (i32.const 1)) (i32.const 0)) (then unreachable))))"#,
        last = elements - 1,
    );
    GuestFile::file("table.wat", wat.as_bytes())
}

#[test]
fn tables_of_real_programs_are_accepted_as_they_are() {
    // The sizes that CPython with numpy and Pandoc need.
    for elements in [47_157, 707_047] {
        let guest = table(elements);
        let ended = run(&[guest.path(), "--size", "1", "--args", "[]", "--args", "[]"]);
        assert_eq!(ended.column("status"), ["ok", "ok"], "{ended:#?}");
        let exec = to_the_end(mpwasm().args(["exec", guest.path()]));
        assert_eq!(exec.code, Some(0), "{exec:#?}");
    }
}

#[test]
fn a_table_is_as_large_as_it_may_be() {
    let guest = table(1000);
    let code = |options: &[&str]| run(&[&[guest.path()], options].concat());
    let refused = code(&["--max-table", "999"]);
    assert_eq!(
        (refused.code, refused.records.len()),
        (Some(2), 0),
        "{refused:#?}"
    );
    let why = "a table of 1000 elements is above the limit of 999 (--max-table)";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert_eq!(
        code(&["--max-table", "1000"]).column("status"),
        ["trap"],
        "it can't grow"
    );
    assert_eq!(code(&["--max-table", "1001"]).column("status"), ["ok"]);
    let large = table(9_999_999);
    let ended = run(&[large.path(), "--max-table", "10000000"]);
    assert_eq!(ended.column("status"), ["ok"], "{ended:#?}");
    let inspected = to_the_end(mpwasm().args(["inspect", "--max-table", "999", guest.path()]));
    assert_eq!(inspected.code, Some(2), "{inspected:#?}");
}

/// Opens a file many times in one task. Returns how many of these are open at once.
#[track_caller]
fn open(count: u32, options: &[&str]) -> u32 {
    let folder = Folder::new();
    let dir = format!("{}::/d", folder.granted().display());
    let steps = json!([["many", "/d", "file", count.to_string()]]).to_string();
    let ended = run(&[&[files(), "--dir", &dir, "--args", &steps], options].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.records[0]["result"][0].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_task_has_as_many_files_open_as_it_is_granted() {
    assert_eq!(open(1024, &[]), 1024);
    for jail in ["strict", "off"] {
        assert_eq!(open(3000, &["--max-files", "3000", "--jail", jail]), 3000);
        // The number of descriptors that a worker reserves for itself but does not use is not exact.
        let most = open(1000, &["--max-files", "100", "--jail", jail]);
        assert!((100..=164).contains(&most), "{most}");
    }
}

/// Runs a command whose processes may have this number of descriptors.
fn with_descriptors(most: u64, args: &[&str]) -> CompletedRun {
    let mut command = mpwasm();
    command.args(args);
    let limit = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?);
    // SAFETY: it makes one system call.
    unsafe { command.pre_exec(limit) };
    to_the_end(&mut command)
}

#[test]
fn what_can_not_be_had_is_a_usage_error_that_names_it() {
    let guest = table(1);
    let refused = |options: &[&str]| {
        let ended = run(&[&[guest.path()], options].concat());
        assert_eq!((ended.code, ended.records.len()), (Some(2), 0), "{ended:#?}");
        ended.stderr
    };
    for (options, words) in [
        (["--stack", "1KiB"], "between 64 KiB and 4 GiB"),
        (["--stack", "5GiB"], "between 64 KiB and 4 GiB"),
        (["--max-table", "10000001"], "(--max-table)"),
        (["--max-files", "4000000000"], "(--max-files)"),
    ] {
        let stderr = refused(&options);
        assert!(stderr.contains(words), "{options:?}: {stderr}");
    }
    // The limit of this process decides. By itself it is no reason to refuse anything.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > 500, "this machine allows {hard} descriptors");
    let ended = with_descriptors(500, &["run", guest.path(), "--max-files", "450"]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.stderr.contains("which leaves a task 436"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        with_descriptors(500, &["run", guest.path(), "--max-files", "436"]).code,
        Some(0)
    );
    assert_eq!(with_descriptors(500, &["run", guest.path()]).code, Some(0));
    let exec = to_the_end(mpwasm().args(["exec", "--stack", "1KiB", guest.path()]));
    assert_eq!(exec.code, Some(125), "{exec:#?}");
}
