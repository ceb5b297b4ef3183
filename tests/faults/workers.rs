//! Workers that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use crate::session::{BUSY, HANGS, Session, assert_accounted, chance, many, random_moment, state, task_file};
use crate::support::{assert_each_id_once, fixture, until};

#[test]
fn only_what_ran_in_a_killed_worker_is_lost() {
    let mut chance = chance();
    let mut run = Session::start(&["--results", "-", "--size", "4", "--tasks", "-", &fixture("busy")]);
    let mut stdin = run.stdin.take().unwrap();
    let stdout = run.read();
    let mut killed = BTreeSet::new();
    let (mut seen, mut count, mut sent) = (String::new(), 0, 0);
    until(|| {
        // There are always tasks, and the run can't be over before the kills.
        while sent < count + 1000 {
            stdin
                .write_all(format!("{BUSY}\n").repeat(100).as_bytes())
                .unwrap();
            sent += 100;
        }
        stdout.wait_for(count + 200);
        seen = stdout.text();
        count = seen.lines().count();
        // Only workers that have ended a task are killed. The pool fails if many die before that, which is another test.
        let mut serving = run.of_role("worker");
        serving.retain(|pid| seen.contains(&format!("\"pid\":{pid},")));
        if serving.is_empty() {
            return None;
        }
        let worker = serving[chance.random_range(0..serving.len())];
        if kill(Pid::from_raw(worker as i32), Signal::SIGKILL).is_ok() {
            killed.insert(u64::from(worker));
        }
        // It is reaped, and its slot is filled again.
        until(|| state(worker).is_none().then_some(()));
        run.workers(4);
        let enough = killed.len() >= 20 && count as u64 >= many();
        (enough && seen.contains("\"status\":\"crash\"")).then_some(())
    });
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    let records = ended.records();
    assert_each_id_once(&records, sent as u64);
    let mut lost = BTreeMap::<u64, u32>::new();
    for record in &records {
        if record["status"] == "ok" {
            assert_eq!(record["result"].to_string(), "[1000]");
            continue;
        }
        assert_eq!(record["status"], "crash", "{record}");
        assert!(
            record["error"]["message"].as_str().unwrap().contains("SIGKILL"),
            "{record}"
        );
        assert_eq!(record["error"]["args"].to_string(), "[1000]");
        *lost.entry(record["pid"].as_u64().expect("it ran")).or_default() += 1;
    }
    assert!(lost.keys().all(|pid| killed.contains(pid)), "{lost:?} {killed:?}");
    // Besides the task that it ran, those whose ends it had not sent yet: they wait at most about a millisecond.
    assert!(lost.values().sum::<u32>() <= 3 * killed.len() as u32, "{lost:?}");
    assert!(!lost.is_empty(), "no kill hit a task");
    ended.assert_code(1);
}

/// As above, with a process for every task: only the task that runs in a killed one is lost.
#[test]
fn a_killed_worker_for_one_task_takes_no_other_along() {
    const TASKS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), (0..TASKS).map(|_| "[5000]".to_owned()));
    let mut chance = chance();
    let mut run = Session::start(&[
        "--results",
        "-",
        "--isolation",
        "process",
        "--size",
        "2",
        "--tasks",
        tasks.to_str().unwrap(),
        &fixture("busy"),
    ]);
    let stdout = run.read();
    let mut killed = BTreeSet::new();
    while !run.has_ended(Duration::ZERO) {
        random_moment(&mut chance, Duration::from_millis(5));
        let ended = stdout.count();
        if let Some(&worker) = run.of_role("worker").choose(&mut chance)
            && kill(Pid::from_raw(worker as i32), Signal::SIGKILL).is_ok()
        {
            killed.insert(u64::from(worker));
        }
        // One more task than there are workers, so at least one worker started since. Workers that are killed before they
        // are ready do not count as a row of failed starts then.
        stdout.wait_for(ended + 3);
    }
    let ended = run.finish(stdout, HANGS);
    let records = ended.records();
    assert_each_id_once(&records, TASKS as u64);
    let pid = |record: &Value| record["pid"].as_u64().expect("it ran");
    let lost = records.iter().filter(|record| record["status"] != "ok");
    let lost: BTreeSet<u64> = lost
        .map(|record| {
            assert_eq!(record["status"], "crash", "{record}");
            pid(record)
        })
        .collect();
    assert!(lost.is_subset(&killed), "{lost:?} {killed:?}");
    assert!(!lost.is_empty(), "no kill hit a task");
    assert_eq!(records.iter().map(pid).collect::<BTreeSet<_>>().len(), TASKS);
    ended.assert_code(1);
}

#[test]
fn killed_idle_workers_are_replaced() {
    let mut run = Session::start(&["--results", "-", "--size", "3", "--tasks", "-", &fixture("pid")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    let mut sent = 0;
    for _ in 0..5 {
        let workers = run.workers(3);
        // At least one of them is ready, so it does not count as a failed start.
        for _ in 0..3 {
            stdin.write_all(b"[]\n").unwrap();
            sent += 1;
            stdout.wait_for(sent);
        }
        for &worker in &workers {
            let _ = kill(Pid::from_raw(worker as i32), Signal::SIGKILL);
        }
        until(|| {
            workers
                .iter()
                .all(|&worker| state(worker).is_none())
                .then_some(())
        });
    }
    stdin.write_all(b"[]\n").unwrap();
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], sent + 1);
    ended.assert_code(0);
}

/// A worker reserves more address space than this, and the other processes less. So no worker becomes ready.
const TOO_SMALL_FOR_WORKERS: u64 = 8 << 30;

#[test]
fn workers_that_never_become_ready_fail_the_pool_and_every_task_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), (0..1000).map(|_| "[60000]".to_owned()));
    let args = [
        "--results",
        "-",
        "--size",
        "1",
        "--tasks",
        tasks.to_str().unwrap(),
    ];
    let guest = fixture("sleep");
    let mut run = Session::start_in(TOO_SMALL_FOR_WORKERS, &[&args[..], &[&guest]].concat());
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(3);
    assert!(
        ended.stderr.contains("before they were ready"),
        "{}",
        ended.stderr
    );
    // On a busy machine the pool may fail before it has accepted all lines. The first ones are accepted and recorded.
    let records = ended.records();
    assert_accounted(&records, &["crash"]);
    assert!(!records.is_empty(), "{}", ended.stderr);
    let summary = format!("mpwasm: {} tasks: {} crash", records.len(), records.len());
    assert!(ended.stderr.contains(&summary), "{}", ended.stderr);
}

/// As the first test, with retries: what a killed worker ran is run again, and nothing is lost.
#[test]
fn with_retries_nothing_is_lost_with_a_killed_worker() {
    const TASKS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), (0..TASKS).map(|_| "[5000]".to_owned()));
    let mut chance = chance();
    let options = [
        "--retries",
        "100",
        "--crash-limit",
        "100",
        "--backoff",
        "1ms..20ms~50%",
    ];
    let tasks = [
        "--results",
        "-",
        "--size",
        "2",
        "--tasks",
        tasks.to_str().unwrap(),
    ];
    let mut run = Session::start(&[&options[..], &tasks, &[&fixture("busy")]].concat());
    let stdout = run.read();
    while !run.has_ended(Duration::ZERO) {
        random_moment(&mut chance, Duration::from_millis(5));
        let ended = stdout.count();
        if let Some(&worker) = run.of_role("worker").choose(&mut chance) {
            let _ = kill(Pid::from_raw(worker as i32), Signal::SIGKILL);
        }
        // As above: workers start between the kills.
        stdout.wait_for(ended + 3);
    }
    let ended = run.finish(stdout, HANGS);
    let records = ended.records();
    assert_each_id_once(&records, TASKS as u64);
    assert!(
        records.iter().all(|record| record["status"] == "ok"),
        "{records:?}"
    );
    let again = records.iter().filter(|record| record["attempts"] != 1);
    let attempts = again
        .clone()
        .flat_map(|record| record["tried"].as_array().unwrap());
    assert!(
        attempts.clone().all(|attempt| attempt["kind"] == "crash"),
        "{records:?}"
    );
    assert!(again.count() > 0, "no kill hit a task");
    ended.assert_code(0);
}
