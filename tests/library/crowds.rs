//! Many children: in parallel, one after another, and one for which many threads wait.

use std::sync::Arc;
use std::thread;

use mpwasm::Kind;
use mpwasm::command::Command;

use crate::children::{TOOL, assert_kind, command, piped, tool};
use crate::common::{LONG, PATIENCE, in_time};
use crate::embedding::example;
use crate::support;

#[test]
fn children_run_beside_each_other() {
    let guest = tool();
    let run = |number: u32| {
        let guest = guest.clone();
        thread::spawn(move || {
            let text = number.to_string().repeat(10_000);
            let output = Command::new(&guest)
                .arg("cat")
                .stdin(text.clone())
                .output()
                .unwrap();
            assert!(output.status.success() && output.stdout == text.as_bytes());
        })
    };
    let threads: Vec<_> = (0..8).map(run).collect();
    in_time(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
}

#[test]
fn a_child_can_be_waited_for_and_killed_from_many_threads() {
    let child = piped(command("loop").timeout(LONG));
    let child = Arc::new(child);
    let wait = || {
        let child = child.clone();
        thread::spawn(move || child.wait_timeout(PATIENCE))
    };
    let waits = [wait(), wait()];
    child.kill();
    for wait in waits {
        assert_kind(&wait.join().unwrap().unwrap(), Kind::Cancelled);
    }
}

/// Runs in a separate program, so that the descriptors and threads of other tests do not count.
#[test]
fn two_hundred_children_one_after_another_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("command.wat");
    std::fs::write(&guest, TOOL).unwrap();
    let mut program = std::process::Command::new(example("children"));
    let output = support::run_within(PATIENCE, program.arg(&guest).args(["200", "cat"]));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_the_machine_lacks_is_said_once_however_many_children_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("command.wat");
    std::fs::write(&guest, TOOL).unwrap();
    let mut program = std::process::Command::new(example("children"));
    support::without_landlock(&mut program);
    let output = support::run_within(PATIENCE, program.arg(&guest).args(["3", "cat"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        text.matches("the jail is incomplete: this machine lacks Landlock")
            .count(),
        1,
        "{text}"
    );
}
