//! Stopped processes (SIGSTOP): they do not end, and they do nothing.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::session::{
    GONE, HANGS, Lines, Session, announcing_guest, assert_accounted, state, stop, task_file, within,
};
use crate::support::{fixture, send, until};

/// Time before its deadline at which a task of the announcing guest returns.
const LEFT: Duration = Duration::from_secs(20);

/// Nothing but the dispatcher's clock ends such a task. How late that may be is tested with the scheduler, in simulated time; the
/// bound here is wide, as on a busy machine the dispatcher may be descheduled for seconds.
#[test]
fn a_task_in_a_stopped_worker_ends_as_timeout_and_the_next_one_runs_in_another() {
    let folder = tempfile::tempdir().unwrap();
    // It would compute until its deadline if nothing stopped it.
    let guest = announcing_guest(folder.path(), Duration::ZERO);
    let lines = [r#"{"args":[],"timeout":"6s"}"#, r#"{"model":"next","args":[]}"#];
    let tasks = task_file(folder.path(), lines.map(str::to_owned));
    let results = folder.path().join("results");
    let mut run = Session::start(&[
        "--results",
        results.to_str().unwrap(),
        "--size",
        "1",
        "--tasks",
        tasks.to_str().unwrap(),
        guest.to_str().unwrap(),
    ]);
    let stdout = run.read();
    let worker = run.workers(1)[0];
    stdout.wait_for(1);
    stop(worker);
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(1);
    let records = crate::support::records(&std::fs::read(&results).unwrap());
    assert_accounted(&records, &["ok", "timeout"]);
    let [late, next] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&late["status"], &late["pid"]),
        (&"timeout".into(), &worker.into())
    );
    assert_eq!(next["status"], "ok");
    assert_ne!(next["pid"], worker);
    let took = Duration::from_micros(late["run_us"].as_u64().unwrap());
    let bounds = Duration::from_secs(6)..Duration::from_secs(6 + 5);
    assert!(bounds.contains(&took), "{took:?}");
}

/// Sends tasks until each worker has ended one, so all are ready. Returns the workers.
fn wait_until_all_serve(run: &Session, stdin: &mut impl Write, stdout: &Lines, sent: &mut usize) -> Vec<u32> {
    until(|| {
        stdin.write_all(&b"[]\n".repeat(20)).unwrap();
        *sent += 20;
        stdout.wait_for(*sent);
        let text = stdout.text();
        let workers = run.workers(2);
        let serves = |worker: &u32| text.contains(&format!("\"pid\":{worker},"));
        workers.iter().all(serves).then_some(workers)
    })
}

#[test]
fn what_a_stopped_idle_worker_is_offered_goes_to_another() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("pid")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    let mut sent = 0;
    let stopped = wait_until_all_serve(&run, &mut stdin, &stdout, &mut sent)[0];
    stop(stopped);
    stdin.write_all(&b"[]\n".repeat(4)).unwrap();
    sent += 4;
    stdout.wait_for(sent);
    assert_eq!(
        state(stopped),
        Some('T'),
        "they end before it is killed, two seconds later"
    );
    // A worker that does not respond is killed even without a task, and another takes its slot.
    until(|| {
        stdin.write_all(b"[]\n").unwrap();
        sent += 1;
        stdout.wait_for(sent);
        state(stopped).is_none().then_some(())
    });
    assert!(!run.workers(2).contains(&stopped));
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], sent);
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
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path(), LEFT);
    let results = folder.path().join("results");
    let mut run = Session::start(&[
        "--results",
        results.to_str().unwrap(),
        "--size",
        "1",
        "--tasks",
        "-",
        guest.to_str().unwrap(),
    ]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    stdin.write_all(b"{\"args\":[],\"timeout\":\"25s\"}\n").unwrap();
    let worker = run.workers(1)[0];
    stdout.wait_for(1);
    stop(worker);
    send(worker, Signal::SIGCONT);
    let recorded = || std::fs::read(&results).unwrap().ends_with(b"\n").then_some(());
    until(recorded);
    assert_eq!(run.workers(1), [worker], "it was not replaced");
    stdin.write_all(b"{\"model\":\"next\",\"args\":[]}\n").unwrap();
    drop(stdin);
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    let records = crate::support::records(&std::fs::read(&results).unwrap());
    assert_eq!(assert_accounted(&records, &["ok"])["ok"], 2);
    assert_eq!(records[0]["pid"], worker);
}

/// A kill does not wait for a dispatcher that does not respond: the second signal still ends the run.
#[test]
fn a_second_signal_ends_a_run_whose_dispatcher_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path(), LEFT);
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
