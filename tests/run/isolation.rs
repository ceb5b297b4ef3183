//! `--isolation process`: no two tasks share a process, however they end. `--max-tasks-per-worker`: a process runs no
//! more tasks than that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::completed::{CompletedRun, fixture, line, run_lines};

/// Returns the pids of the processes in which tasks ran.
fn pids(ended: &CompletedRun) -> BTreeSet<u64> {
    let pid = |record: &Value| record["pid"].as_u64().unwrap_or_else(|| panic!("{record}"));
    ended.records.iter().map(pid).collect()
}

#[test]
fn every_task_has_a_process_of_its_own() {
    let lines = line("", "pid", "[]").repeat(60);
    let ended = run_lines(lines, &[fixture(), "--size", "2", "--isolation", "process"]);
    assert_eq!(ended.column("status"), ["ok"; 60], "{ended:#?}");
    assert_eq!(ended.code, Some(0));
    assert_eq!(pids(&ended).len(), 60, "{ended:#?}");
    for record in &ended.records {
        assert_eq!(record["result"], record["pid"], "the guest saw another process");
        assert!(
            record["worker"].as_u64().unwrap() < 2,
            "a slot keeps its number: {record}"
        );
    }
}

#[test]
fn tasks_that_end_badly_have_processes_of_their_own_as_well() {
    let bad = [
        ("trap", "trap", "[]"),
        ("exit", "exit", "[7]"),
        ("error", "panic", "[]"),
        ("memory", "hog", "[]"),
        ("timeout", "spin", "[]"),
        ("timeout", "sleep", "[60000]"),
        ("timeout", "flood", "[]"),
    ];
    let idle = "{\"model\":\"noop\",\"args\":[],\"timeout\":\"20s\"}\n";
    let lines: String = bad
        .iter()
        .map(|(status, model, args)| {
            let timeout = if *status == "timeout" { "200ms" } else { "20s" };
            let task = format!("{{\"model\":\"{model}\",\"args\":{args},\"timeout\":\"{timeout}\"}}\n");
            task + idle
        })
        .collect();
    let args = ["--isolation", "process", "--size", "1", "--memory", "64MiB"];
    let ended = run_lines(lines, &[&[fixture()], &args[..]].concat());
    let expected: Vec<_> = bad.iter().flat_map(|(status, ..)| [*status, "ok"]).collect();
    assert_eq!(ended.column("status"), expected, "{ended:#?}");
    assert_eq!(ended.code, Some(1));
    assert_eq!(pids(&ended).len(), 2 * bad.len(), "{ended:#?}");
}

#[test]
fn without_it_tasks_share_the_processes_of_their_workers() {
    let lines = line("", "pid", "[]").repeat(60);
    let ended = run_lines(lines, &[fixture(), "--size", "2"]);
    assert_eq!(ended.column("status"), ["ok"; 60], "{ended:#?}");
    assert!(pids(&ended).len() < 60, "{ended:#?}");
}

#[test]
fn a_process_is_replaced_after_the_tasks_that_it_may_run() {
    let lines = line("", "pid", "[]").repeat(100);
    let args = ["--size", "2", "--max-tasks-per-worker", "7"];
    let ended = run_lines(lines, &[&[fixture()], &args[..]].concat());
    assert_eq!(ended.column("status"), ["ok"; 100], "{ended:#?}");
    assert_eq!(ended.code, Some(0));
    let mut tasks = BTreeMap::<u64, u32>::new();
    for record in &ended.records {
        assert!(
            record["worker"].as_u64().unwrap() < 2,
            "a slot keeps its number: {record}"
        );
        *tasks.entry(record["pid"].as_u64().unwrap()).or_default() += 1;
    }
    assert!(tasks.values().all(|&count| count <= 7), "{tasks:?}");
    // Only the last processes may have ended before they ran that many.
    let whole = tasks.values().filter(|&&count| count == 7).count();
    assert!(whole + 2 >= tasks.len(), "{tasks:?}");
}
