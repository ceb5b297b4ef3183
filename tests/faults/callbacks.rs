//! Callbacks that misbehave: the record of their task shows it, and nothing else is harmed.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::session::{EndedSession, HANGS, Session, assert_accounted, task_file};
use crate::support::{fixture, records};

/// Far longer than a callback takes on a busy machine, for callbacks that must not time out.
const AMPLE: [&str; 2] = ["--callback-timeout", "60s"];

/// Runs twenty tasks of `model` with these args in turn, each among ten tasks of a model without callbacks. Returns the
/// records of the twenty.
fn run(model: &str, args: &[&str], options: &[&str]) -> (EndedSession, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let line = |index: usize| match index % 11 {
        0 => format!(
            r#"{{"model":"{model}","args":{}}}"#,
            args[index / 11 % args.len()]
        ),
        _ => r#"{"model":"busy","args":[1000]}"#.to_owned(),
    };
    let tasks = task_file(folder.path(), (0..220).map(line));
    let results = folder.path().join("results");
    let most = [
        "--size",
        "2",
        "--results",
        results.to_str().unwrap(),
        "--tasks",
        tasks.to_str().unwrap(),
    ];
    let mut run = Session::start(&[&most[..], options, &[&fixture("noop")]].concat());
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(1);
    let mut all = records(&std::fs::read(&results).unwrap());
    assert_eq!(assert_accounted(&all, &["ok"])["ok"], 220);
    all.sort_by_key(|record| record["id"].as_u64());
    let (theirs, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|record| record["model"] == model);
    assert!(others.iter().all(|record| record["callback"] == "none"));
    assert_eq!(theirs.len(), 20);
    (ended, theirs)
}

fn count(records: &[Value], callback: &str) -> usize {
    records
        .iter()
        .filter(|record| record["callback"] == callback)
        .count()
}

#[test]
fn one_that_traps() {
    let (_, records) = run("cb_trap", &[r#"[true,"abort"]"#, r#"[true,"fine"]"#], &AMPLE);
    for record in &records {
        let expected = if record["result"] == "abort" { "trap" } else { "ok" };
        assert_eq!(record["callback"], expected, "{record}");
    }
    let (_, records) = run("cb_trap", &[r#"[true,"panic"]"#, r#"[true,"fine"]"#], &AMPLE);
    for record in &records {
        let expected = if record["result"] == "panic" {
            "error"
        } else {
            "ok"
        };
        assert_eq!(record["callback"], expected, "{record}");
    }
}

#[test]
fn one_that_spins_is_switched_off_after_three_times() {
    let (ended, records) = run("cb_spin", &["[true,1]"], &["--callback-timeout", "100ms"]);
    assert_eq!(
        (count(&records, "timeout"), count(&records, "skipped")),
        (3, 17),
        "{records:?}"
    );
    let warnings = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("mpwasm: warning: the callbacks of model"));
    assert_eq!(warnings.count(), 1, "{}", ended.stderr);
}

#[test]
fn one_that_fills_its_memory() {
    let (_, records) = run("cb_hog", &["[true,1]"], &AMPLE);
    assert_eq!(count(&records, "memory"), 20, "{records:?}");
}

#[test]
fn one_that_floods_is_cut_and_switched_off() {
    let options = ["--callback-timeout", "1s", "--max-output", "64KiB"];
    let (ended, records) = run("cb_flood", &["[true,1]"], &options);
    assert_eq!(
        (count(&records, "timeout"), count(&records, "skipped")),
        (3, 17),
        "{records:?}"
    );
    let lines = ended
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| *line == b"the callback floods")
        .count();
    assert!(lines > 1000, "{lines} lines");
    // Each of the three outputs is truncated, and only a note about that is added.
    assert!(
        ended.stdout.len() < 3 * (64 << 10) + 1000,
        "{} bytes",
        ended.stdout.len()
    );
}

#[test]
fn a_flood_holds_up_nobody() {
    let mut run = Session::start(&[
        "--size",
        "2",
        "--results",
        "/dev/null",
        "--callback-timeout",
        "1h",
        "--timeout",
        "1h",
        "--tasks",
        "-",
        &fixture("noop"),
    ]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    writeln!(stdin, r#"{{"model":"cb_flood","args":[true,1]}}"#).unwrap();
    stdout.wait_for(1);
    // A thousand tasks end and are reported while it floods.
    for number in 0..1000 {
        writeln!(stdin, r#"{{"model":"print","args":["task {number}\n",""]}}"#).unwrap();
    }
    stdout.wait_for_text("task 999\n");
    run.signal(nix::sys::signal::Signal::SIGINT);
    run.stderr.wait_for_text("a second signal kills all");
    run.signal(nix::sys::signal::Signal::SIGINT);
    let ended = run.finish_killed(stdout, crate::session::within(Duration::from_secs(3)));
    ended.assert_code(130);
}
