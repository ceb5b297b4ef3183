//! Processes that are stopped (SIGSTOP): they do not end, and they do nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::session::{
    GONE, HANGS, Session, announcing_guest, assert_accounted, state, stop, task_file, wait_until_busy, within,
};
use crate::support::{fixture, send, until};

#[test]
fn a_task_in_a_stopped_worker_ends_as_timeout_and_the_next_one_runs_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        r#"{"model":"spin","args":[],"timeout":"1s"}"#,
        r#"{"model":"pid","args":[]}"#,
    ];
    let tasks = task_file(folder.path(), lines.map(str::to_owned));
    let mut run = Session::start(&[
        "--results",
        "-",
        "--size",
        "1",
        "--tasks",
        tasks.to_str().unwrap(),
        &fixture("noop"),
    ]);
    let stdout = run.read();
    let worker = run.workers(1)[0];
    wait_until_busy(&[worker]);
    stop(worker);
    let ended = run.finish(stdout, HANGS);
    let records = ended.records();
    assert_accounted(&records, &["ok", "timeout"]);
    let [late, next] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&late["status"], &late["pid"]),
        (&"timeout".into(), &worker.into())
    );
    let run_us = Duration::from_micros(late["run_us"].as_u64().unwrap());
    assert!(run_us >= Duration::from_secs(1), "{run_us:?}");
    assert!(
        run_us < Duration::from_secs(1) + within(Duration::from_millis(400)),
        "{run_us:?}"
    );
    assert_eq!(next["status"], "ok");
    assert_ne!(next["pid"], worker);
    ended.assert_code(1);
}

#[test]
fn what_a_stopped_idle_worker_is_offered_goes_to_another() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("pid")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    // Both workers have run something, so both are ready.
    let mut sent = 0;
    let workers = run.workers(2);
    until(|| {
        stdin.write_all(b"[]\n").unwrap();
        sent += 1;
        stdout.wait_for(sent);
        workers
            .iter()
            .all(|&worker| crate::session::resident(worker) > 0)
            .then_some(())
    });
    stop(workers[0]);
    let begin = Instant::now();
    stdin.write_all(&b"[]\n".repeat(4)).unwrap();
    stdout.wait_for(sent + 4);
    let took = begin.elapsed();
    assert!(took < within(Duration::from_millis(300)), "{took:?}");
    // One that shows no life is killed, although it has no task; another takes its slot.
    until(|| state(workers[0]).is_none().then_some(()));
    let others = run.workers(2);
    assert!(!others.contains(&workers[0]));
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], sent + 4);
    ended.assert_code(0);
}

#[test]
fn a_run_ends_while_an_idle_worker_is_stopped() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    stdin.write_all(b"[]\n").unwrap();
    stdout.wait_for(1);
    stop(run.workers(2)[0]);
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 1);
    ended.assert_code(0);
}

#[test]
fn a_worker_that_is_stopped_and_goes_on_in_time_has_lost_nothing() {
    let args = [
        "--results",
        "-",
        "--size",
        "1",
        "--args",
        "[2000000]",
        "--args",
        "[1000]",
    ];
    let mut run = Session::start(&[&args[..], &[&fixture("busy")]].concat());
    let stdout = run.read();
    let worker = run.workers(1)[0];
    wait_until_busy(&[worker]);
    stop(worker);
    send(worker, Signal::SIGCONT);
    let ended = run.finish(stdout, HANGS);
    let records = ended.records();
    assert_eq!(assert_accounted(&records, &["ok"])["ok"], 2);
    assert!(
        records.iter().all(|record| record["pid"] == worker),
        "{records:?}"
    );
    ended.assert_code(0);
}

/// An order to kill does not wait for a dispatcher that does not obey: the second signal ends the run all the same.
#[test]
fn a_second_signal_ends_a_run_whose_dispatcher_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path());
    let results = folder.path().join("results");
    let args = [
        "--results",
        results.to_str().unwrap(),
        "--timeout",
        "1h",
        "--size",
        "1",
    ];
    let more = ["--args", "[]", "--args", "[]", guest.to_str().unwrap()];
    let mut run = Session::start(&[&args[..], &more].concat());
    let stdout = run.read();
    stdout.wait_for(1);
    stop(run.one("dispatcher"));
    run.signal(Signal::SIGINT);
    run.stderr.wait_for_text("a second signal kills all");
    run.signal(Signal::SIGINT);
    let ended = run.finish_killed(stdout, within(Duration::from_secs(2) + GONE));
    ended.assert_code(130);
    let records = crate::support::records(&std::fs::read(&results).unwrap());
    assert_eq!(assert_accounted(&records, &["cancelled"])["cancelled"], 2);
}
