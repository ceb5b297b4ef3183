//! Runs that resume an earlier one: which tasks are skipped, which are run again, and which logs are refused.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::completed::{CompletedRun, LIMIT, fixture, line, to_the_end};
use crate::support::{self, mpwasm};

/// A folder with task lines and the log of their runs.
struct RunFolder(tempfile::TempDir);

impl RunFolder {
    fn new(lines: &[String]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("tasks", &lines.concat());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        let mut all = support::records(self.log().as_bytes());
        all.sort_by_key(|record| record["id"].as_u64());
        all
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = mpwasm();
        command
            .args(["run", fixture(), "--size=2", "--tasks"])
            .arg(self.path("tasks"));
        command.arg("--results").arg(self.path("log")).args(options);
        command
    }

    fn run(&self, options: &[&str]) -> CompletedRun {
        to_the_end(&mut self.command(options))
    }
}

/// Returns a task that prints this text.
fn says(text: &str) -> String {
    let args = json!([format!("{text}\n"), ""]);
    format!("{}\n", json!({"model": "print", "args": args}))
}

fn ids(records: &[Value]) -> Vec<u64> {
    records
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect()
}

#[test]
fn what_has_a_record_is_not_run_again_and_ids_stay_positions() {
    let folder = RunFolder::new(&[says("zero"), says("one"), says("two"), says("three")]);
    assert_eq!(
        folder.run(&["--resume"]).code,
        Some(0),
        "without a log it is an ordinary run"
    );
    let all = folder.log();
    assert_eq!(ids(&folder.records()), [0, 1, 2, 3]);
    // The log of a run that was killed: two records are missing, and the last line is torn.
    let kept: Vec<_> = folder
        .records()
        .iter()
        .filter(|record| [0, 2].contains(&record["id"].as_u64().unwrap()))
        .map(|record| {
            all.lines()
                .find(|line| line.starts_with(&format!("{{\"id\":{},", record["id"])))
                .unwrap()
        })
        .collect();
    let begun = format!("{}\n", kept.join("\n"));
    folder.write("log", &format!("{begun}{{\"id\":3,\"key\":nu"));
    let ended = folder.run(&["--resume"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let mut printed = ended.prints();
    printed.sort_unstable();
    assert_eq!(printed, ["one", "three"]);
    assert!(folder.log().starts_with(&begun), "what was there stays");
    assert_eq!(ids(&folder.records()), [0, 1, 2, 3]);
    assert!(
        ended.stderr.contains("2 tasks: 2 ok; 2 skipped"),
        "{}",
        ended.stderr
    );
    let before = folder.log();
    let ended = folder.run(&["--resume"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(folder.log(), before);
}

#[test]
fn what_failed_is_run_again_when_asked_for_and_its_record_replaced() {
    let failing = line("bad", "fail", "[\"no\"]");
    let folder = RunFolder::new(&[says("zero"), failing, "nonsense\n".into(), says("three")]);
    assert_eq!(folder.run(&[]).code, Some(1));
    let ended = folder.run(&["--resume"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), ""),
        "nothing was left to do"
    );
    assert!(ended.stderr.contains("4 skipped") && ended.stderr.contains("2 of a failure"));
    // The bad line is now a task, and the failed task is another one, so none has a record that counts.
    let better = line("bad", "echo", "[1]");
    folder.write(
        "tasks",
        &[says("zero"), better, says("two"), says("three")].concat(),
    );
    let ended = folder.run(&["--retry-failed"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "two\n"),
        "{ended:#?}"
    );
    let records = folder.records();
    assert_eq!(ids(&records), [0, 1, 2, 3]);
    assert!(
        records.iter().all(|record| record["status"] == "ok"),
        "{records:#?}"
    );
}

#[test]
fn resume_runs_what_is_recorded_as_cancelled_and_the_summary_counts_it() {
    let mut lines = vec![
        line("slow", "sleep", "[3600000]"),
        line("bad", "fail", "[\"no\"]"),
    ];
    lines.extend((0..4).map(|_| line("", "sleep", "[200]")));
    let folder = RunFolder::new(&lines);
    let ended = folder.run(&["--timeout=2h", "--halt=now,fail=1"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let first = folder.records();
    let cancelled: Vec<_> = first
        .iter()
        .filter(|record| record["status"] == "cancelled")
        .collect();
    assert!(!cancelled.is_empty(), "the slow task at least: {ended:#?}");
    let said = match cancelled.len() {
        1 => "; 1 waits for --resume".to_owned(),
        count => format!("; {count} wait for --resume"),
    };
    assert!(ended.stderr.contains(&said), "{said}: {}", ended.stderr);

    let ended = folder.run(&["--resume", "--timeout=1s", "--summary=json"]);
    let records = folder.records();
    support::assert_each_id_once(&records, lines.len() as u64);
    let status = |id: usize| records[id]["status"].as_str().unwrap();
    assert_eq!(status(0), "timeout", "it was run again: {ended:#?}");
    assert_eq!(status(1), "error");
    assert!((2..lines.len()).all(|id| status(id) == "ok"), "{records:#?}");
    let summary: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["resumable"], &summary["skipped_failed"]),
        (&json!(0), &json!(1))
    );
}

#[test]
fn blank_lines_and_a_byte_order_mark_in_a_log_lose_no_record() {
    let folder = RunFolder::new(&[says("zero"), says("one"), says("two")]);
    assert_eq!(folder.run(&[]).code, Some(0));
    let log = folder.log();
    let mut lines = log.lines();
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    folder.write("log", &format!("\u{feff}{first}\n\n{second}\r\n\n"));
    let ended = folder.run(&["--resume"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.prints().len(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("2 skipped"), "{}", ended.stderr);
    let text = folder.log();
    let records = text.trim_start_matches('\u{feff}').replace('\r', "");
    assert_eq!(support::records(records.as_bytes()).len(), 3);
    let ended = folder.run(&["--resume"]);
    assert!(ended.stderr.contains("3 skipped"), "{}", ended.stderr);
}

#[test]
fn a_task_with_a_key_is_known_wherever_it_stands() {
    let keyed = |key: &str| {
        format!(
            "{}\n",
            json!({"key": key, "model": "print", "args": [format!("{key}\n"), ""]})
        )
    };
    let folder = RunFolder::new(&[keyed("a"), keyed("b")]);
    assert_eq!(folder.run(&[]).code, Some(0));
    folder.write("tasks", &[keyed("new"), keyed("b"), keyed("a")].concat());
    let ended = folder.run(&["--resume"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "new\n"),
        "{ended:#?}"
    );
}

#[test]
fn a_key_that_comes_twice_is_invalid_and_its_log_can_be_resumed() {
    let keyed = |text: &str, key: &str| {
        format!(
            "{}\n",
            json!({"key": key, "model": "print", "args": [format!("{text}\n"), ""]})
        )
    };
    let folder = RunFolder::new(&[
        keyed("first", "k"),
        "\n".into(),
        keyed("second", "k"),
        says("third"),
    ]);
    let ended = folder.run(&[]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let mut prints = ended.prints();
    prints.sort_unstable();
    assert_eq!(prints, ["first", "third"]);
    let records = folder.records();
    let status: Vec<_> = records
        .iter()
        .map(|record| record["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["ok", "invalid", "ok"]);
    assert_eq!(records[1]["key"], "k");
    let message = records[1]["error"]["message"].as_str().unwrap();
    for part in ["line 3 of ", "\"k\"", "task 1", "task 0"] {
        assert!(message.contains(part), "{part}: {message}");
    }

    let log = folder.log();
    let ended = folder.run(&["--resume"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:#?}");
    assert_eq!(folder.log(), log, "nothing was left to do");
    // The log of a run that was killed before the first task ended. The second record does not stand for the first task.
    let rest: Vec<_> = log
        .lines()
        .filter(|line| !line.starts_with("{\"id\":0,"))
        .collect();
    folder.write("log", &(rest.join("\n") + "\n"));
    let ended = folder.run(&["--resume"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "first\n"),
        "{ended:#?}"
    );
    folder.write(
        "tasks",
        &[keyed("first", "k"), keyed("second", "l"), says("third")].concat(),
    );
    let ended = folder.run(&["--retry-failed"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "second\n"),
        "{ended:#?}"
    );
    support::assert_each_id_once(&folder.records(), 3);
}

#[test]
fn a_log_of_something_else_is_refused_and_nothing_runs() {
    let folder = RunFolder::new(&[says("zero"), says("one")]);
    assert_eq!(folder.run(&[]).code, Some(0));
    let log = folder.log();
    let refused = |command: &mut Command, why: &str| {
        let ended = to_the_end(command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:#?}");
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        assert_eq!(folder.log(), log, "it is as it was");
    };
    for how in ["--resume", "--retry-failed"] {
        // A task before that without a record does not run, either.
        folder.write("tasks", &[says("zero"), says("other"), says("two")].concat());
        refused(&mut folder.command(&[how]), "other tasks");
        folder.write("tasks", &says("zero"));
        refused(&mut folder.command(&[how]), "such as that in line ");
        let mut other = mpwasm();
        let wat =
            r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) i32.const 0))"#;
        folder.write("other.wat", wat);
        other
            .args(["run", how, "--args", "[]", "--results"])
            .arg(folder.path("log"));
        refused(other.arg(folder.path("other.wat")), "another guest");
    }
    refused(
        mpwasm().args(["run", fixture(), "--resume", "--results", "-"]),
        "no log on stdout",
    );
}

#[test]
fn tasks_that_a_guest_pushes_are_known_by_their_positions() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let guest = support::guest("pusher");
    let run = || {
        let mut command = mpwasm();
        command
            .args(["run", "--resume", "--results"])
            .arg(&log)
            .arg(guest);
        to_the_end(&mut command)
    };
    let first = run();
    let all = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<_> = all.lines().collect();
    assert!(lines.len() > 2, "{first:#?}");
    let lost = lines.remove(1);
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    let second = run();
    assert_eq!(second.code, first.code, "{second:#?}");
    let again = support::records(&fs::read(&log).unwrap());
    assert_eq!(again.len(), lines.len() + 1);
    let lost: Value = serde_json::from_str(lost).unwrap();
    assert_eq!(again.last().unwrap()["id"], lost["id"]);
    assert_eq!(again.last().unwrap()["task"], lost["task"]);
}

#[test]
fn a_log_that_another_run_writes_is_refused() {
    let folder = RunFolder::new(&[says("zero")]);
    let mut command = mpwasm();
    let log = folder.path("log");
    command
        .args(["run", fixture(), "--tasks", "-", "--results"])
        .arg(&log);
    let mut first = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    support::until(|| log.exists().then_some(()));
    support::until(|| {
        let ended = folder.run(&["--resume"]);
        (ended.code == Some(2) && ended.stderr.contains("another run")).then_some(())
    });
    drop(first.stdin.take());
    let mut run = support::BackgroundRun {
        child: first,
        stdout: None,
    };
    run.wait(LIMIT);
}
