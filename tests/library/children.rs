//! Commands as children: their streams, how they end, and that they leave nothing behind.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use mpwasm::command::{Child, Command, ExitStatus, Killer, Stdio};
use mpwasm::{Access, DirGrant, Error, Guest, InvalidSetting, Kind};

use crate::common::{GUEST, PATIENCE, builder, in_time};
use crate::support::{self, until};

pub const TOOL: &str = support::COMMAND;

/// A command that prints its environment, each variable followed by a zero byte.
const ENVIRONMENT: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (if (call $sizes (i32.const 0) (i32.const 12)) (then unreachable))
    (if (call $get (i32.const 1024) (i32.const 65536)) (then unreachable))
    (i32.store (i32.const 8) (i32.const 65536))
    (if (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))))"#;

/// A command that prints the file `file` in the only directory that it has.
const READER: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "file")
  (data (i32.const 16) "\00\04\00\00\ff\00\00\00")
  (func (export "_start")
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0)
          (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 8)) (then unreachable))
    (if (call $read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 20)) (then unreachable))
    (if (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)) (then unreachable))))"#;

/// Loads the command of these tests; its file describes it.
pub fn tool() -> Guest {
    builder().load_bytes("some/folder/tool", TOOL.as_bytes()).unwrap()
}

/// Returns the command with this argument.
pub fn command(what: &str) -> Command {
    Command::new(&tool()).arg(what)
}

/// Starts the command in the background, with three pipes.
pub fn piped(command: Command) -> Child {
    let command = command.stdin(Stdio::Piped).stdout(Stdio::Piped);
    command.stderr(Stdio::Piped).spawn().unwrap()
}

/// Waits until it reports that it is ready.
fn wait_until_ready(child: &mut Child) {
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
}

/// Returns some megabytes of which no two parts are equal.
pub fn large() -> Vec<u8> {
    (0..5_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect()
}

/// The processes of a child, to check that they end.
struct Processes(Vec<std::os::fd::OwnedFd>);

impl Processes {
    fn of(child: &Child) -> Self {
        let dispatcher = child.dispatcher_pid();
        let worker = until(|| support::descendants(dispatcher).first().copied());
        Self(vec![support::pidfd(dispatcher), support::pidfd(worker)])
    }

    #[track_caller]
    fn assert_gone(&self) {
        support::assert_all_end(&self.0, Duration::ZERO);
    }
}

#[track_caller]
pub fn assert_kind(status: &ExitStatus, kind: Kind) {
    assert_eq!(status.kind(), Some(kind), "{status}");
    assert!(!status.success() && status.code().is_none(), "{status}");
}

/// Asserts that it was ended because its stdout has no reader.
#[track_caller]
pub fn assert_unread(status: &ExitStatus) {
    match status {
        ExitStatus::Unwritten(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        other => panic!("{other}"),
    }
}

#[test]
fn output_has_both_streams_the_exit_code_and_what_was_used() {
    let output = command("args").args(["a b", ""]).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(output.stdout, b"tool\0args\0a b\0\0");
    assert!(output.stderr.is_empty() && !output.truncated);
    assert!(output.usage.run_us.is_some() && output.usage.memory_peak >= Some(2 << 16));
    let output = command("x7").output().unwrap();
    assert_eq!(
        (output.status.code(), output.status.kind()),
        (Some(7), Some(Kind::Exit))
    );
    assert_eq!(output.stderr, b"to stderr\n");
}

#[test]
fn a_guest_of_a_pool_runs_as_a_child_while_the_pool_goes_on_and_after_it() {
    let pool = builder().start().unwrap();
    let guest = pool.load_bytes("tool", TOOL.as_bytes()).unwrap();
    let output = Command::new(&guest).stdin("in").arg("cat").output().unwrap();
    assert_eq!(output.stdout, b"in");
    let task = pool.submit(guest.task(["x0"])).unwrap();
    assert_eq!(crate::common::status(&task), "ok");
    pool.stop().unwrap();
    assert_eq!(Command::new(&guest).output().unwrap().stdout, b"none\n");
}

#[test]
fn a_guest_without_a_pool_is_no_task_of_any() {
    let guest = tool();
    let pool = builder().start().unwrap();
    let refused = pool.push(guest.task(()));
    assert!(matches!(refused, Err(Error::ForeignGuest { .. })), "{refused:?}");
    pool.stop().unwrap();
}

#[test]
fn stdin_is_empty_unless_something_is_given() {
    let read = |command: Command| command.output().unwrap().stdout;
    assert_eq!(read(command("cat")), b"");
    assert_eq!(read(command("cat").stdin("text")), b"text");
    assert_eq!(read(command("cat").stdin(large()).max_output(u64::MAX)), large());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"skipped, and read").unwrap();
    io::Seek::seek(&mut file, io::SeekFrom::Start(13)).unwrap();
    assert_eq!(read(command("cat").stdin(file)), b"read");
    let (reader, mut writer) = io::pipe().unwrap();
    let writes = thread::spawn(move || writer.write_all(b"through a pipe"));
    assert_eq!(read(command("cat").stdin(reader)), b"through a pipe");
    writes.join().unwrap().unwrap();
}

#[test]
fn output_goes_where_it_shall() {
    let mut file = tempfile::tempfile().unwrap();
    let to_file = |file: &File| file.try_clone().unwrap();
    let status = command("args").stdout(to_file(&file)).status().unwrap();
    assert!(status.success());
    io::Seek::seek(&mut file, io::SeekFrom::Start(0)).unwrap();
    let mut written = String::new();
    file.read_to_string(&mut written).unwrap();
    assert_eq!(written, "tool\0args\0");
    // Both streams share the end of a pipe.
    let (mut reader, writer) = io::pipe().unwrap();
    let stderr = writer.try_clone().unwrap();
    let status = command("x3").stdout(writer).stderr(stderr).status().unwrap();
    assert_eq!(status.code(), Some(3));
    let mut written = String::new();
    reader.read_to_string(&mut written).unwrap();
    assert_eq!(written, "to stderr\n");
    let output = command("x0").stderr(Stdio::Null).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn it_answers_while_its_stdin_goes_on() {
    let mut child = piped(command("cat"));
    for text in ["line 1\n", "line 2\n", "name? "] {
        child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; text.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
        assert!(child.try_wait().is_none());
    }
    // Waiting closes its stdin.
    let status = in_time(move || child.wait());
    assert!(status.success(), "{status}");
}

#[test]
fn communicate_writes_and_reads_megabytes_without_a_deadlock() {
    let mut child = piped(command("cat").max_output(u64::MAX));
    let output = in_time(move || child.communicate(large(), None).unwrap());
    assert!(output.status.success(), "{}", output.status);
    assert!(output.stdout == large(), "{} bytes", output.stdout.len());
}

#[test]
fn communicate_that_runs_out_of_time_loses_nothing_and_can_be_called_again() {
    let mut child = piped(command("cat").max_output(u64::MAX));
    // It writes more than the pipes hold, so the first calls can't finish.
    let mut result = child.communicate(large(), Duration::ZERO);
    let mut calls = 1;
    while let Err(error) = result {
        assert!(matches!(error, Error::TimedOut), "{error}");
        assert!(calls < 100_000, "it does not end");
        result = child.communicate("", Duration::from_millis(1));
        calls += 1;
    }
    assert!(calls > 1 && result.unwrap().stdout == large());
    // A child that never ends is still there after the timeout, and can be killed.
    let mut child = piped(command("loop"));
    let refused = child.communicate("in", Duration::from_millis(50));
    assert!(matches!(refused, Err(Error::TimedOut)), "{refused:?}");
    assert!(child.try_wait().is_none());
    child.kill();
    let output = in_time(move || child.communicate("", None).unwrap());
    assert_kind(&output.status, Kind::Cancelled);
}

#[test]
fn input_without_a_stdin_to_write_it_to_is_refused() {
    let mut child = command("cat").stdout(Stdio::Piped).spawn().unwrap();
    let refused = child.communicate("in", None);
    assert!(
        matches!(&refused, Err(Error::BadSetting(InvalidSetting::NoStdin))),
        "{refused:?}"
    );
    assert!(child.check().unwrap().stdout.is_empty());
}

#[test]
fn output_that_is_kept_has_a_cap() {
    let output = command("cat").stdin(large()).max_output(1000).output().unwrap();
    assert!(output.status.success() && output.truncated);
    assert_eq!(output.stdout, large()[..1000]);
}

#[test]
fn a_child_that_waits_for_a_silent_stdin_ends_at_its_timeout() {
    for waits in ["read", "sleep", "cat"] {
        let mut child = piped(command(waits).timeout(Duration::from_millis(200)));
        let stdin = child.stdin.take();
        let status = in_time(move || child.wait());
        assert_kind(&status, Kind::Timeout);
        let broken = stdin.unwrap().write_all(b"x").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn kill_ends_it_whatever_it_does_and_also_from_another_thread() {
    for busy in ["loop", "read", "sleep"] {
        let mut child = piped(command(busy));
        wait_until_ready(&mut child);
        let processes = Processes::of(&child);
        let killer = child.killer();
        let kills = thread::spawn(move || killer.kill());
        let status = in_time(move || {
            let _stdin = child.stdin.take();
            child.wait()
        });
        assert_kind(&status, Kind::Cancelled);
        kills.join().unwrap();
        processes.assert_gone();
    }
    let mut child = piped(command("flood"));
    let processes = Processes::of(&child);
    child.kill();
    child.kill();
    let status = in_time(move || child.wait());
    assert_kind(&status, Kind::Cancelled);
    processes.assert_gone();
}

#[test]
fn a_kill_that_comes_too_late_changes_nothing() {
    let mut child = piped(command("x7"));
    assert_eq!(child.wait().code(), Some(7));
    let killer: Killer = child.killer();
    child.kill();
    assert_eq!(child.wait().code(), Some(7));
    assert_eq!(child.try_wait().unwrap().code(), Some(7));
    assert!(child.usage().unwrap().run_us.is_some());
    drop(child);
    killer.kill();
}

#[test]
fn waiting_with_a_timeout_leaves_it_running() {
    let mut child = piped(command("cat"));
    assert!(child.try_wait().is_none() && child.usage().is_none());
    assert!(child.wait_timeout(Duration::from_millis(20)).is_none());
    child.stdin = None;
    let status = child.wait_timeout(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn dropping_a_child_leaves_no_process() {
    for busy in ["loop", "read", "flood"] {
        let child = piped(command(busy));
        let processes = Processes::of(&child);
        in_time(move || drop(child));
        processes.assert_gone();
    }
}

#[test]
fn a_child_that_has_ended_has_left_no_process() {
    let mut child = piped(command("cat"));
    let processes = Processes::of(&child);
    child.stdin = None;
    assert!(in_time(move || child.wait()).success());
    processes.assert_gone();
}

#[test]
fn a_trap_memory_and_fuel_are_reported_as_what_they_are() {
    let output = command("trap").output().unwrap();
    assert_kind(&output.status, Kind::Trap);
    match &output.status {
        ExitStatus::Failed(error) => assert!(!error.backtrace.is_empty()),
        other => panic!("{other}"),
    }
    assert_eq!(output.stderr, b"to stderr\n");
    let refused = command("loop").fuel(1000).spawn().map(drop);
    assert!(
        matches!(
            &refused,
            Err(Error::BadSetting(InvalidSetting::NoFuelCount { .. }))
        ),
        "{refused:?}"
    );
    let counted = builder()
        .fuel(u64::MAX)
        .load_bytes("tool", TOOL.as_bytes())
        .unwrap();
    let status = Command::new(&counted).arg("loop").fuel(1000).stdout(Stdio::Null);
    assert_kind(&status.status().unwrap(), Kind::Fuel);
    let refused = command("args").memory(1 << 16).spawn().map(drop);
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
}

#[test]
fn what_can_not_be_started_is_reported() {
    let model = builder().load_bytes("model", GUEST.as_bytes()).unwrap();
    let refused = Command::new(&model).spawn().map(drop);
    assert!(matches!(refused, Err(Error::NoCommand { .. })), "{refused:?}");
    let refused = command("a\0b").spawn().map(drop);
    assert!(matches!(refused, Err(Error::InvalidArgs(_))), "{refused:?}");
    // This is checked before anything is started, so the directory that could not be granted is not looked at.
    let nowhere = DirGrant::new("/nowhere", "/data", Access::ReadOnly).unwrap();
    let refused = command("a\0b").dir(nowhere).spawn().map(drop);
    assert!(matches!(refused, Err(Error::InvalidArgs(_))), "{refused:?}");
    let refused = command("args").timeout(Duration::ZERO).spawn().map(drop);
    assert!(matches!(refused, Err(Error::BadSetting(_))), "{refused:?}");
    let refused = builder().size(0).load_bytes("tool", TOOL.as_bytes());
    assert!(matches!(refused, Err(Error::BadSetting(_))), "{refused:?}");
}

#[test]
fn check_says_which_program_failed_how_and_what_it_said_last() {
    assert_eq!(
        command("cat")
            .stdin("in")
            .output()
            .unwrap()
            .check()
            .unwrap()
            .stdout,
        b"in"
    );
    let error = command("x7").output().unwrap().check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "tool ended with exit code 7; its stderr ends with: to stderr"
    );
    assert_eq!(error.output.status.code(), Some(7));
    let error = piped(command("trap")).check().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("tool ended with trap: "), "{text}");
    assert!(text.ends_with("; its stderr ends with: to stderr"), "{text}");
}

#[test]
fn its_environment_is_what_was_granted_and_nothing_else() {
    let loaded = builder().env("A", "of the pool").env("B", "b");
    let guest = loaded.load_bytes("env", ENVIRONMENT.as_bytes()).unwrap();
    let printed = |command: Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
    let own = || Command::new(&guest).env("A", "a").envs([("C", "c")]);
    assert_eq!(printed(own()), "A=a\0B=b\0C=c\0");
    assert_eq!(printed(own().env_clear().env("D", "ä")), "D=ä\0");
    let refused = Command::new(&guest).env("", "x").spawn().map(drop);
    assert!(matches!(refused, Err(Error::BadSetting(_))), "{refused:?}");
}

#[test]
fn it_may_use_a_directory_that_was_granted_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "of the folder").unwrap();
    let guest = builder().load_bytes("reader", READER.as_bytes()).unwrap();
    let granted = DirGrant::new(folder.path(), "/data", Access::ReadOnly).unwrap();
    let output = Command::new(&guest).dir(granted).output().unwrap();
    assert_eq!(output.check().unwrap().stdout, b"of the folder");
    assert_kind(&Command::new(&guest).output().unwrap().status, Kind::Trap);
    let kernels = DirGrant::new("/proc", "/data", Access::ReadOnly).unwrap();
    let refused = Command::new(&guest).dir(kernels).spawn().map(drop);
    assert!(matches!(refused, Err(Error::Grant { .. })), "{refused:?}");
}
