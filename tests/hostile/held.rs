//! Memory of parent and dispatcher for guests, task lines and logs: never above the bounds in SECURITY.md.

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::corpus::{Scratch, guest, options};
use crate::session::HANGS;
use crate::support::{descendants, mpwasm, peak_resident, pidfd, role, run_within, wait_readable};

/// Most resident memory of the parent of a run with default limits, in bytes.
const PARENT: u64 = 256 << 20;

/// Peak resident memory of the parent of a run and of its dispatcher so far, in bytes.
#[derive(Debug, Default)]
struct Peaks {
    parent: u64,
    dispatcher: u64,
}

impl Peaks {
    fn look(&mut self, parent: u32) {
        self.parent = self.parent.max(peak_resident(parent).unwrap_or(0));
        for pid in descendants(parent) {
            if role(pid).as_deref() == Some("dispatcher") {
                self.dispatcher = self.dispatcher.max(peak_resident(pid).unwrap_or(0));
            }
        }
    }
}

fn start(args: &[&str]) -> Child {
    command(args).stderr(Stdio::piped()).spawn().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = mpwasm();
    command
        .arg("run")
        .args([&options()[..], args].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Runs to the end, and measures both processes meanwhile.
fn measured(args: &[&str]) -> (Output, Peaks) {
    measure(start(args))
}

fn measure(child: Child) -> (Output, Peaks) {
    let (pid, end) = (child.id(), pidfd(child.id()));
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    let mut peaks = Peaks::default();
    while !wait_readable(&end, Duration::from_millis(5)) {
        peaks.look(pid);
    }
    (reader.join().unwrap(), peaks)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(file: &Scratch) -> String {
    file.path().to_str().unwrap().to_owned()
}

/// Returns a guest with models `m0`, `m1`, ..., each with these exports, which are functions of the guest.
fn models(count: usize, fields: &str, exports: &[(&str, &str)]) -> String {
    let one = |n: usize| -> String {
        let export =
            |(name, function): &(&str, &str)| format!("(export \"m{n}.{name}\" (func {function}))\n");
        exports.iter().map(export).collect()
    };
    let all: String = (0..count).map(one).collect();
    guest(&format!("(memory (export \"memory\") 1)\n{fields}\n{all}"))
}

/// Returns a function that outputs a string of this number of pages, less two bytes, and returns `code`.
fn puts_out(name: &str, pages: usize, code: i32) -> String {
    format!(
        r#"(func {name} (result i32) (local $n i32)
             (memory.fill (i32.const 0) (i32.const 120) (i32.const 65536))
             (i32.store8 (i32.const 0) (i32.const 34))
             (call $output_write (i32.const 0) (i32.const 1))
             (loop $more
               (call $output_write (i32.const 1) (i32.const 65535))
               (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {pages}))))
             (call $output_write (i32.const 0) (i32.const 1))
             (i32.const {code}))"#
    )
}

const NOTHING: &str = "(func $nothing (result i32) (i32.const 0))";

fn task_lines(lines: impl IntoIterator<Item = String>) -> Scratch {
    let lines: Vec<_> = lines.into_iter().collect();
    Scratch::file("tasks", lines.join("\n") + "\n")
}

#[test]
fn all_final_values_of_a_pool_together_are_no_larger_than_one_result() {
    const MODELS: usize = 24;
    let fields = format!("{NOTHING} {}", puts_out("$large", 255, 0));
    let exports = [
        ("runnable", "$nothing"),
        ("callback", "$nothing"),
        ("final_callback", "$large"),
    ];
    let guest = Scratch::file("guest.wat", models(MODELS, &fields, &exports));
    let tasks = task_lines((0..MODELS).map(|n| format!("{{\"model\":\"m{n}\",\"args\":[]}}")));
    let mut child = start(&["--callback-timeout=60s", "--tasks", &path(&tasks), &path(&guest)]);
    let mut stderr = child.stderr.take().unwrap();
    let mut first = [0];
    stderr.read_exact(&mut first).unwrap();
    // It has all values now, and waits until this one is read, as it is larger than a pipe.
    let peak = peak_resident(child.id()).unwrap_or(0);
    let mut said = text(&first);
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let values = said
        .lines()
        .filter(|line| line.contains("the final value of model"));
    let lengths: Vec<_> = values.map(str::len).filter(|len| *len > 1 << 20).collect();
    assert_eq!(lengths.len(), 1, "the first one is told: {lengths:?}");
    let refused = said
        .lines()
        .filter(|line| line.contains("limit: it has 16711427 bytes, and 65789 were left"));
    assert_eq!(refused.count(), MODELS - 1);
    assert!(peak < PARENT, "the parent had {peak} bytes");
}

/// Each of 63 models has a callback instance, which receives 3.9 MB and outputs as much.
#[test]
fn instances_of_callbacks_that_are_kept_hold_no_buffers_of_their_own() {
    const MODELS: usize = 63;
    let fields = puts_out("$large", 60, 0);
    let exports = [("runnable", "$large"), ("callback", "$large")];
    let guest = Scratch::file("guest.wat", models(MODELS, &fields, &exports));
    let tasks = task_lines((0..MODELS).map(|n| format!("{{\"model\":\"m{n}\",\"args\":[]}}")));
    let (output, peaks) = measured(&["--callback-timeout=60s", "--tasks", &path(&tasks), &path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let most = 160 << 20;
    assert!(peaks.dispatcher < most && peaks.parent < PARENT, "{peaks:?}");
}

/// Returns a guest of two models: `m0` sleeps, and `m1` runs this function.
fn sleeper_and(fields: &str, function: &str) -> Scratch {
    let fields = format!(
        r#"(memory (export "memory") 1)
           (func (export "m0.runnable") (result i32)
             (i64.store (i32.const 24) (i64.const 3600000000000))
             (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
             (i32.const 0))
           {fields}
           (export "m1.runnable" (func {function}))"#
    );
    Scratch::file("guest.wat", guest(&fields))
}

/// Returns task lines, of which the first sleeps, and an option that ends the run once this number of others has
/// succeeded.
fn slow_and_others(others: usize) -> (Scratch, String) {
    let slow = r#"{"model":"m0","args":[],"timeout":"1h"}"#.to_owned();
    let lines = std::iter::once(slow).chain((0..others).map(|_| r#"{"model":"m1","args":[]}"#.to_owned()));
    (task_lines(lines), format!("--halt=now,success={others}"))
}

/// All tasks are pushed together, before their sizes are known.
#[test]
fn results_that_wait_for_a_slow_first_task_wait_in_a_file() {
    const OTHERS: usize = 40;
    let guest = sleeper_and(&puts_out("$large", 255, 0), "$large");
    let (tasks, halt) = slow_and_others(OTHERS);
    let results = Scratch::file("results", "");
    let (tasks, file) = (path(&tasks), path(&results));
    let args = [
        "--keep-order",
        &halt,
        "--tasks",
        &tasks,
        "--results",
        &file,
        &path(&guest),
    ];
    let (output, peaks) = measured(&args);
    let said = text(&output.stderr);
    assert!(said.contains("40 ok, 1 cancelled"), "{said}");
    let records = std::fs::read_to_string(file).unwrap();
    let begins = |(n, record): (usize, &str)| {
        let status = if n == 0 { "cancelled" } else { "ok" };
        let begin = format!(
            r#"{{"id":{n},"key":null,"model":"m{}","status":"{status}""#,
            n.min(1)
        );
        assert!(record.starts_with(&begin), "{}", &record[..100]);
        assert!(n == 0 || record.len() > 255 * 65_535, "record {n} is whole");
    };
    assert_eq!(records.lines().enumerate().map(begins).count(), OTHERS + 1);
    assert!(peaks.parent < PARENT, "{peaks:?}");
}

/// The temporary file can't be created. The run fails, and its log has each task once, so that it can be resumed.
#[test]
fn a_run_whose_temporary_file_fails_writes_one_record_for_each_task() {
    let guest = sleeper_and(&puts_out("$large", 255, 0), "$large");
    let (tasks, _) = slow_and_others(10);
    let results = Scratch::file("results", "");
    let (tasks, file) = (path(&tasks), path(&results));
    let args = [
        "--keep-order",
        "--tasks",
        &tasks,
        "--results",
        &file,
        &path(&guest),
    ];
    let output = run_within(HANGS, command(&args).env("TMPDIR", "/nonexistent"));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("set TMPDIR"),
        "{}",
        text(&output.stderr)
    );
    let records = std::fs::read_to_string(file).unwrap();
    let id = |record: &str| {
        assert!(
            record.contains(r#","task":""#),
            "{}",
            &record[record.len() - 200..]
        );
        record.split(',').next().unwrap().to_owned()
    };
    let mut ids: Vec<_> = records.lines().map(id).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), all), (11, 11));
}

#[test]
fn log_lines_without_text_that_wait_for_a_slow_first_task_are_counted() {
    const OTHERS: usize = 20;
    let logs = r#"(func $logs (result i32) (local $n i32)
        (loop $more
          (call $log (i32.const 3) (i32.const 0) (i32.const 0))
          (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 65000))))
        (i32.const 0))"#;
    let guest = sleeper_and(logs, "$logs");
    let (tasks, halt) = slow_and_others(OTHERS);
    let args = [
        "--keep-order",
        &halt,
        "--tasks",
        &path(&tasks),
        "--results=-",
        &path(&guest),
    ];
    let (output, peaks) = measure(command(&args).stderr(Stdio::null()).spawn().unwrap());
    assert_eq!(text(&output.stdout).lines().count(), OTHERS + 1);
    assert!(peaks.parent < 90 << 20, "{peaks:?}");
}

/// The log has one record, of a task with a key. The guest pushes other tasks.
#[test]
fn tasks_that_wait_for_a_record_that_does_not_come_are_refused_when_they_are_too_much() {
    let fields = r#"(memory (export "memory") 1)
        (data (i32.const 0) "{\"args\":[\"")
        (func (export "runnable") (result i32) (i32.const 0))
        (func (export "tasks") (result i32)
          (memory.fill (i32.const 10) (i32.const 120) (i32.const 10000))
          (i32.store (i32.const 10010) (i32.const 0x7d5d22)) ;; "]}
          (loop $more (drop (call $push (i32.const 0) (i32.const 10013))) (br $more))
          (unreachable))"#;
    let guest = Scratch::file("guest.wat", guest(fields));
    let tasks = task_lines([r#"{"args":[],"key":"never again"}"#.to_owned()]);
    let results = Scratch::file("results", "");
    let (guest, log) = (path(&guest), path(&results));
    let (first, _) = measured(&["--tasks", &path(&tasks), "--results", &log, &guest]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let before = std::fs::read(&log).unwrap();
    let (output, peaks) = measured(&["--resume", "--max-tasks=60000", "--results", &log, &guest]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("1 records of the log are of none of the first") && said.contains("64 MiB"),
        "{said}"
    );
    assert_eq!(std::fs::read(&log).unwrap(), before);
    assert!(peaks.parent < PARENT, "{peaks:?}");
}

/// The key of the task has the maximum length.
#[test]
fn a_tag_does_not_multiply_what_a_task_prints() {
    let fields = r#"(memory (export "memory") 2)
        (func (export "runnable") (result i32)
          (memory.fill (i32.const 65536) (i32.const 10) (i32.const 65536))
          (i32.store (i32.const 0) (i32.const 65536))
          (i32.store (i32.const 4) (i32.const 65536))
          (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"#;
    let guest = Scratch::file("guest.wat", guest(fields));
    let key = "k".repeat(4096);
    let tasks = task_lines([format!("{{\"args\":[],\"key\":\"{key}\"}}")]);
    let (output, peaks) = measured(&["--tag", "--tasks", &path(&tasks), &path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = format!("{}\t", &key[..256]);
    assert!(text(&output.stdout).lines().all(|tagged| tagged == line));
    assert_eq!(output.stdout.len(), 65_536 * (line.len() + 1));
    assert!(peaks.parent < 128 << 20, "{peaks:?}");
}

/// There are tasks with 1 MiB of args each, of which none ends; and tasks with 100 failed attempts each, whose messages
/// are as long as those that are kept.
#[test]
fn tasks_that_wait_out_a_backoff_hold_bounded_args_and_messages() {
    let fields = r#"(memory (export "memory") 1)
        (func (export "runnable") (result i32)
          (memory.fill (i32.const 0) (i32.const 120) (i32.const 1000))
          (call $fail (i32.const 0) (i32.const 1000))
          (i32.const 1))"#;
    let guest = Scratch::file("guest.wat", guest(fields));
    let line = format!("[\"{}\"]", "x".repeat(1 << 20));
    let tasks = task_lines((0..128).map(|_| line.clone()));
    let retries = [
        "--retries=1",
        "--retry-on=error",
        "--backoff=1h",
        "--total-timeout=3s",
    ];
    let (tasks, guest) = (path(&tasks), path(&guest));
    let (output, peaks) = measured(&[&retries[..], &["--tasks", &tasks, &guest]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        peaks.parent < 96 << 20 && peaks.dispatcher < 64 << 20,
        "{peaks:?}"
    );

    let tasks = task_lines((0..1500).map(|_| "[]".to_owned()));
    let retries = ["--retries=100", "--retry-on=error", "--backoff=20ms"];
    let (output, peaks) = measured(&[&retries[..], &["--tasks", &path(&tasks), &guest]].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1500 tasks: 1500 error"), "{said}");
    assert!(peaks.parent < 96 << 20, "{peaks:?}");
}

#[test]
fn a_line_of_a_log_that_is_longer_than_a_record_can_be_is_refused_before_it_is_read() {
    let guest = Scratch::file(
        "guest.wat",
        guest(&format!("(memory (export \"memory\") 1) {NOTHING}")),
    );
    let log = Scratch::file("results", vec![b' '; 200 << 20]);
    let (output, peaks) = measured(&["--resume", "--results", &path(&log), "--args=[]", &path(&guest)]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("line 1 is longer than") && said.contains("--max-result"),
        "{said}"
    );
    assert!(peaks.parent < 128 << 20, "{peaks:?}");
}
