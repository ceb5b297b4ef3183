//! The limits of a compromised dispatcher. SECURITY.md says what it can do: forge outcomes, and start processes inside
//! its own jail.

use mpwasm::{Error, Kind, Retry};
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGE;
use mpwasm_types::outcome::MAX_ATTEMPT_MESSAGES;
use mpwasm_types::retry::MAX_RETRIES;

use crate::attacker::{Attacked, Victim, in_time};

/// Asserts that the jail kills the dispatcher for this: the pool reports it, and the task is a crash.
#[track_caller]
fn forbidden(attack: &str, target: &str) {
    let attacked = Attacked::start("attacker-dispatcher", 1);
    let handle = attacked.attack(attack, target);
    let error = in_time(&handle).result.expect_err("the kernel did it");
    assert_eq!(error.kind, Kind::Crash, "{error:?}");
    assert!(
        error.message.contains("the dispatcher died: SIGSYS"),
        "{}",
        error.message
    );
    assert!(matches!(attacked.pool.stop(), Err(Error::DispatcherDied(_))));
}

#[track_caller]
fn tried(name: &str, attack: &str, target: &str) -> String {
    let attacked = Attacked::start(name, 1);
    let outcome = attacked.outcome(attack, target);
    let result = outcome.result.expect("it was not killed").get().to_owned();
    attacked.pool.terminate();
    attacked.pool.join().unwrap();
    result
}

#[test]
fn it_reads_no_file_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "secret").unwrap();
    for target in [path.to_str().unwrap(), "/etc/passwd", "/bin/true"] {
        assert_eq!(
            tried("attacker-dispatcher", "open", target),
            "\"EACCES\"",
            "{target}"
        );
    }
}

/// It sees what /proc shows to every user, but not the contents of other processes.
#[test]
fn it_looks_into_no_other_process() {
    let victim = Victim::new();
    for file in ["environ", "mem", "maps"] {
        let target = format!("/proc/{}/{file}", victim.pid());
        assert_eq!(
            tried("attacker-dispatcher", "open", &target),
            "\"EACCES\"",
            "{target}"
        );
    }
    forbidden("ptrace", &victim.pid());
    forbidden("read another", &victim.pid());
    victim.assert_unharmed();
}

#[test]
fn it_writes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = folder.path().join("new");
    assert_eq!(
        tried("attacker-dispatcher", "create", path.to_str().unwrap()),
        "\"EACCES\""
    );
}

/// It can't execute files. (A program that it writes into memory can be executed, inside its own jail.)
#[test]
fn it_executes_no_file_but_what_mpwasm_consists_of() {
    assert_eq!(tried("attacker-dispatcher", "exec", "/bin/true"), "\"EACCES\"");
}

#[test]
fn it_connects_to_nobody() {
    forbidden("connect", "80");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    assert_eq!(
        tried("attacker-dispatcher-without-seccomp", "connect", &port),
        "\"EACCES\""
    );
}

#[test]
fn it_signals_nobody_but_its_own() {
    let victim = Victim::new();
    for attack in ["kill", "tgkill"] {
        assert_eq!(
            tried("attacker-dispatcher", attack, &victim.pid()),
            "\"EPERM\"",
            "{attack}"
        );
    }
    // Lowering a resource limit of another process would also send it a signal.
    forbidden("rlimit of another", &victim.pid());
    victim.assert_unharmed();
}

#[test]
fn it_gets_at_nothing_else_of_the_kernel() {
    for attack in [
        "io_uring",
        "bpf",
        "unshare",
        "mount",
        "setuid",
        "socketpair",
        "fork into namespaces",
    ] {
        forbidden(attack, "");
    }
}

#[test]
fn it_sends_and_receives_with_no_flags_but_those_in_use() {
    for attack in [
        "send out of band",
        "receive out of band",
        "receive with rights out of band",
        "send with rights out of band",
    ] {
        forbidden(attack, "");
    }
}

/// The pool's error for a message that is too large.
const TOO_LONG: &str = "a frame with a text, a list or a value that its message may not have";

/// The pool's error for output beyond all caps.
const MORE_THAN_IT_MAY: &str = "more output of task 0 than that can have";

/// Attempts, final values and output that it sends are checked before they are stored.
#[test]
fn it_can_not_tell_what_can_not_be() {
    for (forgery, told, attempts) in [
        ("the second attempt first", "an attempt of task 0", 0),
        ("attempts without end", "an attempt of task 0", 3),
        ("an attempt with a long message", TOO_LONG, 0),
        ("a failure with frames without end", TOO_LONG, 0),
        ("a warning without end", TOO_LONG, 0),
        ("output of tasks without end", "output of task 1", 0),
        ("output of callbacks without end", "output of task 1", 0),
        (
            "output of final callbacks without end",
            "a final callback of model 1 of guest 0",
            0,
        ),
        ("output of `tasks`", "output of `tasks`", 0),
        ("output of a task without end", MORE_THAN_IT_MAY, 0),
        ("output of its callback without end", MORE_THAN_IT_MAY, 0),
        (
            "output of its final callback without end",
            "more output of a final callback of model 0 of guest 0",
            0,
        ),
        ("output that is none", "output of task 0 that is none", 0),
        ("ends of output without end", MORE_THAN_IT_MAY, 0),
        ("log lines of a task without end", MORE_THAN_IT_MAY, 0),
        ("an end of output", "output of task 1", 0),
        ("a log line of no task", "output of task 1", 0),
        ("a fold of no guest", "a fold of model 0 of guest 1", 0),
        ("a fold of no model", "a fold of model 64 of guest 0", 0),
        ("a fold twice", "a fold of model 0 of guest 0", 0),
    ] {
        let attacked = Attacked::start("attacker-dispatcher", 1);
        let task = attacked.guest.task(("forge", forgery)).retry(Retry::times(3));
        let outcome = in_time(&attacked.pool.submit(task).unwrap());
        let error = outcome.result.expect_err("nothing else told its end");
        assert!(error.message.contains(told), "{forgery}: {}", error.message);
        assert_eq!(outcome.tried.len(), attempts, "{forgery}");
        let end = attacked.pool.stop().expect_err("the dispatcher was given up");
        assert!(
            matches!(&end, Error::DispatcherDied(why) if why.contains(told)),
            "{end}"
        );
    }
}

#[test]
fn the_messages_of_attempts_that_it_tells_are_bounded_together() {
    let attacked = Attacked::start("attacker-dispatcher", 1);
    let submit = |forgery: &str| {
        let task = attacked.guest.task(("forge", forgery));
        let task = task.retry(Retry::times(MAX_RETRIES));
        attacked.pool.submit(task).unwrap()
    };
    let tasks = MAX_ATTEMPT_MESSAGES / (MAX_RETRIES as usize * MAX_ATTEMPT_MESSAGE) + 10;
    let mut handles: Vec<_> = (0..tasks).map(|_| submit("all attempts and no end")).collect();
    handles.push(submit("the second attempt first")); // the pool ends
    let outcomes = handles.iter().map(in_time);
    let tried: Vec<_> = outcomes.flat_map(|outcome| outcome.tried).collect();
    assert_eq!(tried.len(), tasks * MAX_RETRIES as usize);
    let bytes: usize = tried.iter().map(|attempt| attempt.message.len()).sum();
    assert_eq!(bytes, MAX_ATTEMPT_MESSAGES);
}

#[test]
fn it_can_not_tell_attempts_of_a_task_that_is_not_tried_again() {
    let attacked = Attacked::start("attacker-dispatcher", 1);
    let outcome = attacked.outcome("forge", "attempts without end");
    assert!(outcome.result.is_err());
    assert_eq!(outcome.tried.len(), 0);
}

#[test]
fn it_can_not_tell_output_of_a_task_that_has_ended() {
    let attacked = Attacked::start("attacker-dispatcher", 1);
    let outcome = attacked.outcome("forge", "output after the end");
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let end = attacked.pool.stop().expect_err("the dispatcher was given up");
    assert!(
        matches!(&end, Error::DispatcherDied(why) if why.contains("output of task 0")),
        "{end}"
    );
}
