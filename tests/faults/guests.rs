//! Guests that do not end: they time out, and other tasks are not affected.

use std::time::Duration;

use serde_json::Value;

use crate::parent::bulky_guest;
use crate::session::{EndedSession, HANGS, Session, assert_accounted, task_file, within};
use crate::support::fixture;

/// Longest time from the claim to the end of a task with a timeout of 200 ms.
const LATEST: Duration = Duration::from_millis(400);

fn run(lines: Vec<String>, size: &str) -> (EndedSession, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), lines);
    let args = [
        "--results",
        "-",
        "--size",
        size,
        "--tasks",
        tasks.to_str().unwrap(),
    ];
    let mut run = Session::start(&[&args[..], &[&fixture("noop")]].concat());
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    let mut records = ended.records();
    assert_accounted(&records, &["ok", "timeout"]);
    records.sort_by_key(|record| record["id"].as_u64());
    (ended, records)
}

/// Checks that the bad tasks have timed out and the others have succeeded. On a busy machine a worker may be descheduled for
/// seconds, or the dispatcher while each worker runs a bad task. So at least half of the bad tasks must keep the bound of the
/// contract, and all must end before [`HANGS`].
fn assert_timeouts(records: &[Value], bad: &str) {
    let mut run_times = Vec::new();
    for record in records {
        let expected = if record["model"] == bad { "timeout" } else { "ok" };
        assert_eq!(record["status"], expected, "{record}");
        if record["model"] == bad {
            let took = Duration::from_micros(record["run_us"].as_u64().unwrap());
            assert!((Duration::from_millis(200)..HANGS).contains(&took), "{record}");
            run_times.push(took);
        }
    }
    run_times.sort_unstable();
    let median = run_times[(run_times.len() - 1) / 2];
    assert!(median < within(LATEST), "most are late: {run_times:?}");
}

/// Runs six tasks that do not end among 300 that do, on three workers.
fn among_neighbours(bad: &str, args: &str) {
    let line = |index| match index % 50 {
        7 => format!(r#"{{"model":"{bad}","args":{args},"timeout":"200ms"}}"#),
        _ => r#"{"model":"busy","args":[1000]}"#.to_owned(),
    };
    let (ended, records) = run((0..300).map(line).collect(), "3");
    assert_eq!(records.len(), 300);
    ended.assert_code(1);
    assert_timeouts(&records, bad);
}

/// Runs one such task, and then one more on the same slot.
fn then_the_slot_is_free(bad: &str, args: &str) {
    let lines = vec![
        format!(r#"{{"model":"{bad}","args":{args},"timeout":"200ms"}}"#),
        r#"{"model":"pid","args":[]}"#.to_owned(),
    ];
    let (_, records) = run(lines, "1");
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["worker"], records[1]["worker"]);
    assert_timeouts(&records, bad);
}

#[test]
fn one_that_sleeps_past_its_deadline() {
    among_neighbours("sleep", "[60000]");
    then_the_slot_is_free("sleep", "[60000]");
}

#[test]
fn one_that_spins() {
    among_neighbours("spin", "[]");
    then_the_slot_is_free("spin", "[]");
}

#[test]
fn one_that_fills_memory_in_bulk() {
    among_neighbours("fill", "[]");
    then_the_slot_is_free("fill", "[]");
}

#[test]
fn one_that_prints_for_ever() {
    let flood = r#"{"model":"flood","args":[],"timeout":"200ms"}"#;
    let noop = r#"{"model":"noop","args":[]}"#;
    let (_, records) = run(
        [flood, noop].repeat(3).into_iter().map(str::to_owned).collect(),
        "1",
    );
    assert_eq!(records.len(), 6);
    assert_timeouts(&records, "flood");
    // It is unknown if the worker did not end its task in time and was killed, which a busy machine may do to one of them.
    let printed = |record: &Value| record["stdout_bytes"].as_u64();
    let most = records.iter().filter_map(printed).max();
    assert!(most.is_some_and(|bytes| bytes > 0), "{records:?}");
}

#[test]
fn many_that_spin_at_once() {
    let spin = r#"{"model":"spin","args":[],"timeout":"200ms"}"#;
    let noop = r#"{"model":"noop","args":[]}"#;
    let lines = (0..24)
        .map(|_| spin)
        .chain((0..100).map(|_| noop))
        .map(str::to_owned);
    let (ended, records) = run(lines.collect(), "8");
    assert_eq!(records.len(), 124);
    ended.assert_code(1);
    assert_timeouts(&records, "spin");
}

#[test]
fn one_that_takes_long_to_compile_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest.wat");
    std::fs::write(&guest, bulky_guest()).unwrap();
    let guest = guest.to_str().unwrap();
    let mut run = Session::start(&["--compile-timeout", "200ms", "--args", "[]", guest]);
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(2);
    assert!(
        ended.stderr.contains("it takes longer than 200ms"),
        "{}",
        ended.stderr
    );
}
