//! The dispatcher is killed: exit 3, and a record for every accepted task.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;

use crate::session::{
    BUSY, EndedSession, Session, assert_accounted, chance, offer, random_moment, spinning, wait_until_busy,
    within,
};
use crate::support::{fixture, send};

/// Kills the dispatcher, and waits for the consequences.
fn kill_dispatcher(mut run: Session) -> EndedSession {
    let stdout = run.read();
    send(run.one("dispatcher"), Signal::SIGKILL);
    finish(run, stdout)
}

fn finish(run: Session, stdout: crate::session::Lines) -> EndedSession {
    let ended = run.finish_killed(stdout, within(Duration::from_secs(2)));
    ended.assert_code(3);
    assert!(
        ended.stderr.contains("the dispatcher died: SIGKILL"),
        "{}",
        ended.stderr
    );
    ended
}

#[test]
fn at_a_random_moment_what_had_not_ended_is_a_crash() {
    let mut chance = chance();
    for _ in 0..5 {
        let mut run = Session::start(&["--results", "-", "--size", "3", "--tasks", "-", &fixture("busy")]);
        // The tasks never end, so the run can't be over before the kill, however late this thread is scheduled.
        offer(&mut run, format!("{BUSY}\n"), u64::MAX);
        let stdout = run.read();
        // Once there is a record, at least one task was accepted.
        stdout.wait_for(chance.random_range(1..400));
        random_moment(&mut chance, Duration::from_millis(20));
        send(run.one("dispatcher"), Signal::SIGKILL);
        let ended = finish(run, stdout);
        let records = ended.records();
        assert_accounted(&records, &["ok", "crash"]);
        // Outcomes that arrived before the kill are kept, and the summary has the same counts.
        assert!(
            ended
                .stderr
                .contains(&format!("mpwasm: {} tasks: ", records.len())),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn while_it_starts() {
    let mut chance = chance();
    for _ in 0..5 {
        let mut run = Session::start(&["--results", "-", "--size", "3", "--tasks", "-", &fixture("sleep")]);
        let stdout = run.read();
        // Stdin stays open, so the run can't be over before the kill.
        run.stdin.as_mut().unwrap().write_all(b"[1]\n").unwrap();
        let dispatcher = run.one("dispatcher");
        random_moment(&mut chance, Duration::from_millis(30));
        send(dispatcher, Signal::SIGKILL);
        let ended = run.finish_killed(stdout, within(Duration::from_secs(2)));
        ended.assert_code(3);
        assert_accounted(&ended.records(), &["ok", "crash"]);
    }
}

#[test]
fn while_five_workers_spin() {
    let ended = kill_dispatcher(spinning(5, &["--results", "-"]));
    assert_eq!(assert_accounted(&ended.records(), &["crash"])["crash"], 10);
}

#[test]
fn while_a_callback_spins() {
    let args = [
        "--results",
        "-",
        "--callback-timeout",
        "1h",
        "--size",
        "1",
        "--args",
        r#"[true,1]"#,
    ];
    let run = Session::start(&[&args[..], &[&fixture("cb_spin")]].concat());
    wait_until_busy(&[run.one("dispatcher")]);
    let ended = kill_dispatcher(run);
    assert_eq!(assert_accounted(&ended.records(), &["crash"])["crash"], 1);
}

#[test]
fn while_nothing_runs() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    let stdout = run.read();
    run.stdin.as_mut().unwrap().write_all(b"[]\n").unwrap();
    stdout.wait_for(1);
    send(run.one("dispatcher"), Signal::SIGKILL);
    let ended = finish(run, stdout);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 1);
}
