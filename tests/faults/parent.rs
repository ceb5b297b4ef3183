//! The parent is killed: no process of the run is left, each task has at most one record, and only the last line of the
//! records may be torn.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;

use crate::session::{
    BUSY, Session, chance, cpu, offer, random_moment, rests, spinning, state, stop, surviving_records,
    wait_until_busy,
};
use crate::support::{fixture, send, until};

#[test]
fn at_a_random_moment_each_task_has_at_most_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let mut chance = chance();
    for _ in 0..5 {
        fs::write(&results, "").unwrap();
        let wanted = chance.random_range(0..200_000);
        let mut run = Session::start(&[
            "--size",
            "3",
            "--results",
            results.to_str().unwrap(),
            "--tasks",
            "-",
            &fixture("busy"),
        ]);
        // The tasks never end, so the run can't be over before the kill, however late this thread is scheduled.
        offer(&mut run, format!("{BUSY}\n"), u64::MAX);
        until(|| (fs::metadata(&results).unwrap().len() >= wanted).then_some(()));
        random_moment(&mut chance, Duration::from_millis(20));
        run.kill_parent();
        for record in surviving_records(&results) {
            assert_eq!(record["status"], "ok", "{record}");
        }
    }
}

#[test]
fn while_everything_starts() {
    let mut chance = chance();
    for _ in 0..10 {
        let run = Session::start(&["--size", "3", "--tasks", "-", &fixture("noop")]);
        random_moment(&mut chance, Duration::from_millis(60));
        run.kill_parent();
    }
}

#[test]
fn while_five_workers_spin() {
    spinning(5, &[]).kill_parent();
}

#[test]
fn while_a_callback_spins() {
    let args = ["--callback-timeout", "1h", "--size", "1", "--args", r#"[true,1]"#];
    let run = Session::start(&[&args[..], &[&fixture("cb_spin")]].concat());
    wait_until_busy(&[run.one("dispatcher")]);
    run.kill_parent();
}

#[test]
fn while_the_guests_tasks_run() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest.wat");
    let text = r#"(module (memory (export "memory") 1)
        (func (export "tasks") (result i32) (loop $again (br $again)) (i32.const 0))
        (func (export "runnable") (result i32) (i32.const 0)))"#;
    fs::write(&guest, text).unwrap();
    let run = Session::start(&["--size", "2", "--timeout", "1h", guest.to_str().unwrap()]);
    wait_until_busy(&[run.one("tasks")]);
    run.kill_parent();
}

#[test]
fn while_the_compiler_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest.wat");
    fs::write(&guest, bulky_guest()).unwrap();
    // If this thread was descheduled, the guest may have been compiled meanwhile. Then the test is retried.
    for _ in 0..3 {
        let run = Session::start(&["--size", "2", "--tasks", "-", guest.to_str().unwrap()]);
        let compiler = run.one("compiler");
        let busy = until(|| match state(compiler) {
            None | Some('Z') => Some(false),
            Some(_) => (cpu(compiler) >= 20).then_some(true),
        });
        run.kill_parent();
        if busy {
            return;
        }
    }
    panic!("it never takes long");
}

/// Returns a guest that takes seconds to compile.
pub fn bulky_guest() -> String {
    let mut text = String::from(
        r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) i32.const 0)"#,
    );
    for function in 0..6000 {
        text += "(func (param i32) (result i32) (local i32)";
        for step in 0..30 {
            let number = function * step;
            write!(
                text,
                " local.get 0 local.get 1 i32.load i32.add i32.const {number} i32.mul local.set 1"
            )
            .unwrap();
        }
        text += " local.get 1)";
    }
    text + ")"
}

#[test]
fn while_a_worker_is_stopped() {
    let run = spinning(3, &[]);
    stop(run.workers(3)[1]);
    run.kill_parent();
}

/// The parent-death signal reaches a process that is stopped.
#[test]
fn while_the_dispatcher_is_stopped() {
    let run = spinning(3, &[]);
    stop(run.one("dispatcher"));
    run.kill_parent();
}

#[test]
fn while_all_its_children_are_stopped() {
    let run = Session::start(&["--size", "3", "--timeout", "1h", "--args", "[]", &fixture("spin")]);
    run.workers(3);
    // The dispatcher is stopped first, as it kills workers that do not respond.
    stop(run.one("dispatcher"));
    for pid in run.of_role("worker") {
        stop(pid);
    }
    run.kill_parent();
}

/// The parent itself is stopped and continued: nothing is lost.
#[test]
fn a_parent_that_is_stopped_for_a_while_goes_on() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("busy")]);
    let stdout = run.read();
    let mut stdin = run.stdin.take().unwrap();
    // The pipe has room for all lines and stays open, so the run can't be over before the stop.
    let thousand = format!("{BUSY}\n").repeat(1000);
    stdin.write_all(thousand.as_bytes()).unwrap();
    stdout.wait_for(100);
    stop(run.pid());
    stdin.write_all(thousand.as_bytes()).unwrap();
    // The other processes continue meanwhile, until they have nothing to do or must wait for the parent.
    until(|| run.of_role("worker").into_iter().all(rests).then_some(()));
    send(run.pid(), Signal::SIGCONT);
    drop(stdin);
    let ended = run.finish(stdout, crate::session::HANGS);
    assert_eq!(
        crate::session::assert_accounted(&ended.records(), &["ok"])["ok"],
        2000
    );
    ended.assert_code(0);
}
