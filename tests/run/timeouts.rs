//! Timeouts: whatever a task does, it ends in time, and its worker's slot continues.

use std::time::Duration;

use serde_json::Value;

use crate::completed::{GuestFile, fixture, line, run_lines};
use crate::support::retry_when_late;

/// Runs a task that does not end by itself, and after it a task that does nothing, three times on one worker. All of it
/// is retried up to three times if none was in time. `stays`: the worker is not replaced.
fn thrice(model: &str, args: &str, stays: bool) {
    retry_when_late(|| {
        let pairs = three_pairs(model, args);
        // On a busy machine every task may be late, so the bound of the contract is checked for the best one.
        let in_time = |late: &Value| late["run_us"].as_u64().unwrap() < 400_000;
        let good = pairs.iter().any(|(late, _)| in_time(late))
            && (!stays || pairs.iter().any(|(late, next)| late["pid"] == next["pid"]));
        good.then_some(()).ok_or_else(|| format!("{pairs:#?}"))
    });
}

/// Returns the records of the bad tasks with those of their successors.
fn three_pairs(model: &str, args: &str) -> Vec<(Value, Value)> {
    let idle = "{\"model\":\"noop\",\"args\":[],\"timeout\":\"20s\"}\n";
    let lines = [&line("", model, args), idle].concat().repeat(3);
    let ended = run_lines(lines, &[fixture(), "--size", "1", "--timeout", "200ms"]);
    assert_eq!(
        ended.column("status"),
        ["timeout", "ok", "timeout", "ok", "timeout", "ok"],
        "{ended:#?}"
    );
    assert_eq!(ended.code, Some(1));
    let pairs: Vec<_> = ended
        .records
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    for (late, next) in &pairs {
        let run = late["run_us"].as_u64().unwrap();
        assert!((200_000..20_000_000).contains(&run), "{late}");
        assert_eq!(
            (&late["worker"], &next["worker"]),
            (&Value::from(0), &Value::from(0))
        );
    }
    pairs
}

#[test]
fn a_task_that_spins_is_stopped_and_its_worker_stays() {
    thrice("spin", "[]", true);
}

#[test]
fn a_task_that_sleeps_past_its_deadline_is_woken_and_its_worker_stays() {
    thrice("sleep", "[60000]", true);
}

#[test]
fn a_task_that_fills_memory_in_bulk_is_stopped() {
    thrice("fill", "[]", false);
}

#[test]
fn a_task_that_floods_is_stopped() {
    thrice("flood", "[]", false);
}

#[test]
fn a_task_may_have_a_timeout_of_its_own() {
    let lines = concat!(
        "{\"args\":[60000],\"timeout\":\"100ms\"}\n",
        "{\"args\":[60000],\"timeout\":0.1}\n",
        "{\"args\":[400],\"timeout\":\"20s\"}\n",
        "[60000]\n",
    );
    let ended = run_lines(
        lines,
        &[
            &format!("{}#sleep", fixture()),
            "--size",
            "2",
            "--timeout",
            "200ms",
        ],
    );
    assert_eq!(
        ended.column("status"),
        ["timeout", "timeout", "ok", "timeout"],
        "{ended:#?}"
    );
    for (id, at_least) in [(0, 100_000), (1, 100_000), (2, 400_000), (3, 200_000)] {
        assert!(
            ended.records[id]["run_us"].as_u64().unwrap() >= at_least,
            "{ended:#?}"
        );
    }
}

#[test]
fn the_clock_covers_instantiation_and_initialize() {
    for looping in [
        r#"(func (export "_initialize") (loop $again (br $again)))"#,
        r#"(func $start (loop $again (br $again))) (start $start)"#,
    ] {
        let guest = GuestFile::wat(&format!(
            r#"(module (memory (export "memory") 1) {looping}
                (func (export "runnable") (result i32) (i32.const 0)))"#
        ));
        let ended = run_lines("[]\n[]\n", &[guest.path(), "--size", "1", "--timeout", "200ms"]);
        assert_eq!(ended.column("status"), ["timeout", "timeout"], "{ended:#?}");
    }
}

#[test]
fn the_total_timeout_ends_the_run_with_a_record_for_each_task() {
    let lines = line("", "spin", "[]").repeat(20);
    let ended = run_lines(lines, &[fixture(), "--size", "2", "--total-timeout", "1s"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    // If the machine is so slow that the guest was not loaded by then, nothing was accepted.
    assert!(
        ended.column("status").iter().all(|status| *status == "cancelled"),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("--total-timeout 1s"), "{}", ended.stderr);
    // The run does not end only at the timeouts of the tasks.
    assert!(ended.wall < Duration::from_secs(28), "{:?}", ended.wall);
}
