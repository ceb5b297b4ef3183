//! Compromised processes that flood the process above them, behind the real command line. Their messages are refused or
//! dropped, the run ends, and no process exceeds its bounds of memory.

use crate::bounds;
use crate::corpus::{Scratch, options};
use crate::session::{EndedSession, HANGS, Session};
use crate::support;

/// Most resident memory of a dispatcher here, in bytes: a part of its bound, since no callback runs.
const DISPATCHER: u64 = 256 << 20;

/// A guest that the attackers do not run.
const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

/// Runs the command line of the attacker with this name. All processes of the run execute it.
fn run(name: &str, guest: &str, args: &[&str]) -> EndedSession {
    let folder = tempfile::tempdir().unwrap();
    let attacker = support::attacker(folder.path(), name);
    let guest = Scratch::file("guest.wat", guest);
    bounds::watch();
    let path = guest.path();
    let args = [&options()[..], args, &[path.to_str().unwrap()]].concat();
    let mut run = Session::start_program(&attacker, &args);
    let root = run.pid();
    let stdout = run.read();
    let ended = run.finish_killed(stdout, HANGS);
    bounds::assert_bounded(root);
    let peak = bounds::peak(root, "dispatcher");
    assert!(peak < DISPATCHER, "the dispatcher had {peak} bytes: {args:?}");
    ended
}

/// Lets a compromised dispatcher make each of these attacks for a task, with another task beside it. It dies or is killed,
/// and the reason is `told`. Both tasks are lost.
fn dispatcher(told: &str, attacks: &[&str]) {
    for attack in attacks {
        let task = format!(r#"["flood","{attack}"]"#);
        let ended = run("attacker-dispatcher", GUEST, &["--args", &task, "--args", "[]"]);
        let reason = format!("the dispatcher died: {told}");
        assert!(ended.stderr.contains(&reason), "{attack}: {:.2000}", ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{attack}");
    }
}

#[test]
fn a_dispatcher_that_floods_the_parent() {
    // More than its task can have printed is refused.
    let prints = ["output", "output of the callback"];
    dispatcher("it reported more output of task 0 than that can have", &prints);
    // These are taken, and not kept.
    let unasked = ["warnings", "events", "loaded", "failures of the pool"];
    dispatcher("", &unasked);
    dispatcher("", &["lines", "log", "half of a frame"]);
}

#[test]
fn a_compiler_whose_answer_is_too_large() {
    const TOO_LONG: &str = "a frame with a text, a list or a value that its message may not have";
    for (attack, told) in [
        ("models without end", TOO_LONG),
        ("imports without end", TOO_LONG),
        ("refusals without end", TOO_LONG),
        ("a long refusal", TOO_LONG),
        ("a reason without end", TOO_LONG),
        ("a frame without end", "a frame of 4294967295 bytes"),
        ("an artifact that is too large", "a frame of 1073741824 bytes"),
        ("half of a frame", "ended without an answer"),
    ] {
        let guest = format!(";; {attack}\n{GUEST}");
        let ended = run("attacker-compiler", &guest, &["--args", "[]"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(told), "{attack}: {:.2000}", ended.stderr);
        assert!(ended.stderr.len() < 2000, "{attack}: {}", ended.stderr.len());
    }
}

#[test]
fn workers_that_say_too_much() {
    for attack in [
        "flood",
        "empty flood",
        "log flood",
        "frames without end",
        "skips",
        "half of a result",
    ] {
        let task = format!(r#"["{attack}",""]"#);
        let args = ["--timeout", "3s", "--args", &task, "--args", &task];
        let ended = run("attacker", GUEST, &args);
        ended.assert_code(1);
    }
}
