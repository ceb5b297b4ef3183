//! SIGINT, SIGTERM and SIGHUP, once and twice; the total timeout; and SIGUSR1, which ends nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::session::{
    EndedSession, HANGS, Lines, Session, announcing_guest, assert_accounted, spinning, task_file, within,
};
use crate::support::{fixture, records};

/// Time before its deadline at which a task of the announcing guest returns: enough for a machine on which a thread is
/// descheduled.
const LEFT: Duration = Duration::from_secs(20);

/// The timeout with which each task takes four seconds.
const FOUR_SECONDS: &str = "24s";

/// A run of the announcing guest with 500 tasks on two workers, both of which run one.
struct Announced {
    run: Session,
    stdout: Lines,
    results: PathBuf,
    _folder: tempfile::TempDir,
}

impl Announced {
    /// Starts the run. A task takes `timeout` minus [`LEFT`], in seconds.
    fn start(timeout: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let guest = announcing_guest(folder.path(), LEFT);
        let tasks = task_file(folder.path(), (0..500).map(|_| "[]".to_owned()));
        let results = folder.path().join("results");
        let args = [
            "--size",
            "2",
            "--timeout",
            timeout,
            "--results",
            results.to_str().unwrap(),
        ];
        let more = ["--tasks", tasks.to_str().unwrap(), guest.to_str().unwrap()];
        let mut run = Session::start(&[&args[..], options, &more].concat());
        let stdout = run.read();
        stdout.wait_for(2);
        Self {
            run,
            stdout,
            results,
            _folder: folder,
        }
    }

    /// Waits until the run has ended by itself, at most for `limit`.
    fn end(self, limit: Duration) -> (EndedSession, Vec<Value>) {
        let ended = self.run.finish(self.stdout, limit);
        (ended, read_records(&self.results))
    }

    /// Waits until the run has ended after a kill.
    fn end_killed(self, limit: Duration) -> (EndedSession, Vec<Value>) {
        let ended = self.run.finish_killed(self.stdout, limit);
        (ended, read_records(&self.results))
    }
}

fn read_records(path: &Path) -> Vec<Value> {
    records(&fs::read(path).unwrap())
}

/// Asserts that the two tasks that run when the signal arrives may end, and that no other starts.
fn first_signal(signal: Signal, code: i32) {
    let announced = Announced::start(FOUR_SECONDS, &[]);
    announced.run.signal(signal);
    let (ended, records) = announced.end(within(Duration::from_secs(5)));
    ended.assert_code(code);
    let counts = assert_accounted(&records, &["ok", "cancelled"]);
    // Between the announcement of the second task and the signal the first may have ended, and another begun.
    assert!((2..=6).contains(&counts["ok"]), "{counts:?}");
    assert_eq!(ended.stdout, b"started\n".repeat(counts["ok"]));
    for record in records.iter().filter(|record| record["status"] == "cancelled") {
        assert!(
            record["pid"].is_null() && record["run_us"].is_null() && record["queued_us"].is_null(),
            "{record}"
        );
    }
}

#[test]
fn sigint_lets_running_tasks_end_and_cancels_the_others() {
    first_signal(Signal::SIGINT, 130);
}

#[test]
fn sigterm_does_the_same_with_another_exit_code() {
    first_signal(Signal::SIGTERM, 143);
}

#[test]
fn sighup_does_the_same_with_another_exit_code() {
    first_signal(Signal::SIGHUP, 129);
}

#[test]
fn a_second_signal_kills_all_and_every_task_is_recorded() {
    let announced = Announced::start("1h", &[]);
    announced.run.signal(Signal::SIGINT);
    announced.run.stderr.wait_for_text("a second signal kills all");
    announced.run.signal(Signal::SIGINT);
    let (ended, records) = announced.end_killed(within(Duration::from_secs(1)));
    ended.assert_code(130);
    assert_accounted(&records, &["cancelled"]);
}

#[test]
fn two_signals_at_once_are_two_signals_or_one() {
    let announced = Announced::start(FOUR_SECONDS, &[]);
    announced.run.signal(Signal::SIGINT);
    announced.run.signal(Signal::SIGTERM);
    let (ended, records) = announced.end_killed(within(Duration::from_secs(5)));
    // Two threads may handle them, and their order is undefined then.
    let code = ended.status.code();
    assert!([Some(130), Some(143)].contains(&code), "{ended:?}");
    assert_accounted(&records, &["ok", "cancelled"]);
}

#[test]
fn sigint_ends_a_run_whose_tasks_never_end() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    let writer = std::thread::spawn(move || while stdin.write_all(&b"[]\n".repeat(1000)).is_ok() {});
    stdout.wait_for(1000);
    run.signal(Signal::SIGINT);
    let ended = run.finish(stdout, within(Duration::from_secs(2)));
    ended.assert_code(130);
    assert_accounted(&ended.records(), &["ok", "cancelled"]);
    writer.join().unwrap();
}

#[test]
fn sigint_ends_a_run_that_waits_for_tasks() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    let stdout = run.read();
    run.stdin.as_mut().unwrap().write_all(b"[]\n").unwrap();
    stdout.wait_for(1);
    run.signal(Signal::SIGINT);
    let ended = run.finish(stdout, within(Duration::from_secs(1)));
    ended.assert_code(130);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 1);
}

#[test]
fn the_total_timeout_ends_a_run() {
    let begin = Instant::now();
    let announced = Announced::start("1h", &["--total-timeout", "3s"]);
    // The run was killed. If the machine was so slow that the guest was still being compiled, the compiler ends by
    // itself.
    let (ended, records) = announced.end_killed(Duration::from_secs(3) + within(Duration::from_secs(1)));
    ended.assert_code(1);
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(ended.stderr.contains("--total-timeout 3s"), "{}", ended.stderr);
    assert_accounted(&records, &["cancelled"]);
}

#[test]
fn sigusr1_tells_what_each_worker_is_doing_and_changes_nothing() {
    let mut run = spinning(2, &["--results", "-"]);
    let stdout = run.read();
    for _ in 0..2 {
        run.signal(Signal::SIGUSR1);
    }
    run.stderr.wait_for_text("10 tasks so far: 2 running, 8 queued");
    for (worker, pid) in run.workers(2).into_iter().enumerate() {
        run.stderr.wait_for_text(&format!("(pid {pid}): running task "));
        run.stderr.wait_for_text(&format!("worker {worker} (pid "));
    }
    run.signal(Signal::SIGTERM);
    run.stderr.wait_for_text("SIGTERM");
    run.signal(Signal::SIGTERM);
    let ended = run.finish_killed(stdout, HANGS);
    ended.assert_code(143);
    assert_eq!(
        assert_accounted(&ended.records(), &["cancelled"])["cancelled"],
        10
    );
}
