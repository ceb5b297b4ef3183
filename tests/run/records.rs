//! Records: their fields, their destinations, and failures to write them.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::completed::{LIMIT, TasksFile, fixture, line, run, run_lines, to_the_end};
use crate::support::{BackgroundRun, mpwasm, run_records};

/// The names of an object's fields, in order.
struct Fields(Vec<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Fields(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

const BEFORE: [&str; 4] = ["id", "key", "model", "status"];
/// The last two are for a later run that resumes the file.
const AFTER: [&str; 13] = [
    "attempts",
    "worker",
    "pid",
    "started_us",
    "queued_us",
    "run_us",
    "cpu_us",
    "memory_peak",
    "stdout_bytes",
    "output_truncated",
    "callback",
    "guest",
    "task",
];

#[test]
fn a_record_has_every_field_in_its_order_and_of_its_type() {
    let lines = [
        line("well", "echo", "[1]"),
        line("ill", "fail", "[\"x\"]"),
        "{\"args\":1}\n".into(),
    ]
    .concat();
    let ended = run_lines(lines, &[fixture(), "--size", "2"]);
    assert_eq!(ended.lines.len(), 3);
    for line in &ended.lines {
        let Fields(names) = serde_json::from_str(line).unwrap();
        let end = if line.contains("\"status\":\"ok\"") {
            "result"
        } else {
            "error"
        };
        assert_eq!(names, [&BEFORE[..], &[end], &AFTER].concat(), "{line}");
        let value: Value = serde_json::from_str(line).unwrap();
        if end == "error" {
            let Fields(names) = serde_json::from_str(&value["error"].to_string()).unwrap();
            for name in ["kind", "message", "args", "id", "attempt"] {
                assert!(names.iter().any(|n| n == name), "{line}");
            }
        }
    }
    let [well, ill, never] = &ended.records[..] else {
        panic!("{ended:#?}")
    };
    for record in [well, ill] {
        for field in [
            "pid",
            "started_us",
            "queued_us",
            "run_us",
            "cpu_us",
            "memory_peak",
            "stdout_bytes",
        ] {
            assert!(record[field].is_u64(), "{field} of {record}");
        }
        assert!(record["worker"].as_u64().unwrap() < 2);
        assert!(record["memory_peak"].as_u64().unwrap() >= 64 << 10);
    }
    for field in [
        "key",
        "worker",
        "pid",
        "started_us",
        "queued_us",
        "run_us",
        "cpu_us",
    ] {
        assert_eq!(never[field], Value::Null, "{field} of {never}");
    }
    for record in [well, ill, never] {
        assert_eq!(record["attempts"], 1);
        assert_eq!(record["callback"], "none");
        assert_eq!(record["output_truncated"], false);
        assert!(record["stdout_bytes"].is_u64());
    }
    assert_eq!((&well["key"], &well["model"]), (&json!("well"), &json!("echo")));
}

#[test]
fn the_figures_of_a_record_are_those_of_its_task() {
    let lines = [
        line("sleep", "sleep", "[2000]"),
        line("busy", "busy", "[600000]"),
        line("big", "big", "[10000000]"),
        line("small", "noop", "[]"),
    ];
    let ended = run_lines(lines.concat(), &[fixture(), "--size", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let figure = |key: &str, field: &str| ended.record(key)[field].as_u64().unwrap();
    assert!(figure("sleep", "run_us") >= 2_000_000);
    assert!(figure("sleep", "cpu_us") < 200_000, "sleeping is no work");
    // All tasks are accepted at once, so this one waits for the task that sleeps.
    assert!(figure("busy", "queued_us") >= 1_000_000);
    assert!(figure("busy", "run_us") >= 600_000);
    // It computes whenever it is scheduled, which on a busy machine is a small part of the time.
    let work = figure("busy", "cpu_us");
    assert!(
        work >= 5_000 && work <= figure("busy", "run_us") + 10_000,
        "{work}"
    );
    assert!(figure("big", "memory_peak") >= 10_000_000);
    assert!(
        figure("small", "memory_peak") < 10_000_000,
        "each task's memory is its own"
    );
}

#[test]
fn tasks_of_one_worker_start_one_after_another_on_the_wall_clock() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let lines = [line("a", "sleep", "[50]"), line("b", "sleep", "[50]")];
    let before = now();
    let ended = run_lines(lines.concat(), &[fixture(), "--size", "1"]);
    let after = now();
    let figure = |key: &str, field: &str| ended.record(key)[field].as_u64().unwrap();
    let (first, second) = (figure("a", "started_us"), figure("b", "started_us"));
    assert!(first + figure("a", "run_us") <= second, "{ended:#?}");
    // mpwasm converts between two clocks, which it reads one after the other.
    let tolerance = 1_000_000;
    assert!(
        before < first + tolerance && second < after + tolerance,
        "{ended:#?}"
    );
}

#[test]
fn keys_are_kept_as_they_are() {
    let key = "größe \"1\"\n\u{0}\u{1f600}";
    let ended = run_lines(
        format!("{}\n", json!({"args": [], "key": key})),
        &[&format!("{}#noop", fixture())],
    );
    assert_eq!(ended.records[0]["key"], key);
    assert_eq!(ended.lines.len(), 1);
}

#[test]
fn without_results_there_are_no_records() {
    let ended = to_the_end(mpwasm().args(["run", &format!("{}#echo", fixture()), "--args", "[1]"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "the summary: {}", ended.stderr);
}

#[test]
fn records_on_stdout_are_the_whole_of_it() {
    let (records, output) = run_records(
        LIMIT,
        &[&format!("{}#echo", fixture()), "--args", "[1]", "--args", "[2]"],
    );
    assert_eq!(records.len(), 2);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_full_disk_ends_the_run_with_3_and_is_reported() {
    let guest = format!("{}#noop", fixture());
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = run(&[&guest, "--args", "[]"]);
    assert_eq!(ended.code, Some(0), "so it is not the guest");

    let ended = to_the_end(mpwasm().args(["run", &guest, "--args", "[]", "--results", "/dev/full"]));
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(
        ended.stderr.contains("records") && ended.stderr.contains("No space left"),
        "{}",
        ended.stderr
    );

    // Stdin stays open: the run does not wait for its end.
    let mut child = mpwasm()
        .args(["run", &guest, "--results", "-", "--tasks", "-"])
        .stdin(Stdio::piped())
        .stdout(full())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"[]\n").unwrap();
    let mut run = BackgroundRun { child, stdout: None };
    assert_eq!(run.wait(LIMIT).code(), Some(3));
    drop(stdin);
}

/// Runs tasks from stdin, which stays open, and closes the records' pipe after the first record. Returns the exit code.
fn closed_after_one_record(first: &str) -> Option<i32> {
    let mut run = BackgroundRun::start(&[fixture(), "--size=1", "--tasks", "-", "--results", "-"]);
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(first.as_bytes()).unwrap();
    assert!(run.line().contains("\"id\":0"));
    drop(run.stdout.take());
    let code = run.wait(LIMIT).code();
    drop(stdin);
    code
}

#[test]
fn a_closed_stdout_ends_the_run_at_once_with_141_whatever_failed_until_then() {
    assert_eq!(closed_after_one_record(&line("", "noop", "[]")), Some(141));
    assert_eq!(closed_after_one_record(&line("", "fail", "[\"x\"]")), Some(141));
}

#[test]
fn a_results_pipe_that_is_closed_ends_the_run_with_141() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("results");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let results = fifo.to_str().unwrap();
    let mut run = BackgroundRun::start(&[fixture(), "--size=1", "--tasks", "-", "--results", results]);
    let mut stdin = run.child.stdin.take().unwrap();
    let mut reader = BufReader::new(fs::File::open(&fifo).unwrap());
    stdin.write_all(line("", "noop", "[]").as_bytes()).unwrap();
    let mut record = String::new();
    reader.read_line(&mut record).unwrap();
    assert!(record.contains("\"id\":0"), "{record}");
    drop(reader);
    assert_eq!(run.wait(LIMIT).code(), Some(141));
    drop(stdin);
}

#[test]
fn a_reader_that_leaves_when_all_is_written_changes_nothing() {
    for (model, code) in [("print", 0), ("fail", 1)] {
        let tasks = TasksFile::new(line("", model, r#"["out\n",""]"#));
        let results = ["--results", "-", "--tasks", tasks.path()];
        let mut run = BackgroundRun::start(&[&[fixture(), "--size=1"], &results[..]].concat());
        assert!(run.line().contains("\"id\":0"));
        drop(run.stdout.take());
        assert_eq!(run.wait(LIMIT).code(), Some(code), "{model}");
    }
}

#[test]
fn a_dry_run_whose_reader_leaves_exits_with_141_and_one_that_cannot_write_with_3() {
    let lines: String = (0..100_000).map(|number| format!("[{number}]\n")).collect();
    let tasks = TasksFile::new(lines);
    let guest = format!("{}#echo", fixture());
    let mut run = BackgroundRun::start(&[&guest, "--dry-run", "--tasks", tasks.path()]);
    run.line();
    drop(run.stdout.take());
    assert_eq!(run.wait(LIMIT).code(), Some(141));
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = mpwasm()
        .args(["run", &guest, "--dry-run", "--args", "[]"])
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("No space left"), "{stderr}");
}

#[test]
fn a_reader_of_prints_that_went_away_ends_the_run_too() {
    let mut run = BackgroundRun::start(&[fixture(), "--size=1", "--tasks", "-"]);
    let mut stdin = run.child.stdin.take().unwrap();
    stdin
        .write_all(line("", "print", r#"["first\n",""]"#).as_bytes())
        .unwrap();
    assert_eq!(run.line(), "first\n");
    drop(run.stdout.take());
    // The run may have noticed by now and have ended.
    let _ = stdin.write_all(line("", "print", r#"["second\n",""]"#).as_bytes());
    assert_eq!(run.wait(LIMIT).code(), Some(141));
    drop(stdin);
}

#[test]
fn a_closed_stderr_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = mpwasm()
        .args([
            "run",
            &format!("{}#print", fixture()),
            "--args",
            r#"["out\n","err\n"]"#,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut run = BackgroundRun { child, stdout: None };
    assert_eq!(run.wait(LIMIT).code(), Some(0));
}
