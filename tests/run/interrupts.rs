//! `--interrupt`: how tasks are stopped, and which code is compiled for it.

use std::time::Duration;

use serde_json::Value;

use crate::completed::{GuestFile, fixture, line, run, run_lines};
use crate::support::{mpwasm, run_within};

/// The choices other than the default.
const UNCHECKED: &[&str] = match cfg!(target_arch = "x86_64") {
    true => &["signal", "kill"],
    false => &["kill"],
};

#[test]
fn a_task_that_spins_without_checks_is_stopped_and_the_next_one_runs() {
    for &how in UNCHECKED {
        let idle = "{\"model\":\"noop\",\"args\":[],\"timeout\":\"20s\"}\n";
        let lines = [&line("", "spin", "[]"), idle].concat().repeat(3);
        let options = ["--interrupt", how, "--size", "1", "--timeout", "200ms"];
        let ended = run_lines(lines, &[&[fixture()], &options[..]].concat());
        assert_eq!(
            ended.column("status"),
            ["timeout", "ok", "timeout", "ok", "timeout", "ok"],
            "{ended:#?}"
        );
        assert_eq!(ended.code, Some(1));
        for pair in ended.records.chunks(2) {
            assert!(pair[0]["run_us"].as_u64().unwrap() >= 200_000, "{ended:#?}");
            assert_eq!(pair[1]["worker"], Value::from(0));
            // `kill` replaces its worker, and `signal` keeps it.
            assert_eq!(pair[0]["pid"] == pair[1]["pid"], how == "signal", "{ended:#?}");
            assert_eq!(
                pair[0]["error"]["backtrace"].is_array(),
                how == "signal",
                "{ended:#?}"
            );
        }
    }
}

/// Many such tasks in a row end many workers, and none of those that wait behind them is harmed.
#[test]
fn tasks_that_wait_behind_stopped_ones_all_run() {
    let idle = "{\"model\":\"noop\",\"args\":[],\"timeout\":\"20s\"}\n";
    let lines = [line("", "spin", "[]").repeat(12), idle.repeat(4)].concat();
    let options = ["--interrupt", "kill", "--size", "1", "--timeout", "100ms"];
    let ended = run_lines(lines, &[&[fixture()], &options[..]].concat());
    let expected = [["timeout"; 12].as_slice(), &["ok"; 4]].concat();
    assert_eq!(ended.column("status"), expected, "{ended:#?}");
}

#[test]
fn a_task_that_sleeps_without_checks_is_woken_and_its_worker_stays() {
    let lines = [
        &line("", "sleep", "[60000]"),
        "{\"model\":\"noop\",\"args\":[]}\n",
    ]
    .concat()
    .repeat(3);
    let options = ["--interrupt", "kill", "--size", "1", "--timeout", "200ms"];
    let ended = run_lines(lines, &[&[fixture()], &options[..]].concat());
    let statuses = ended.column("status");
    assert_eq!(statuses[0], "timeout", "{ended:#?}");
    // On a busy machine a worker may be too late to end such a task by itself, but not each time.
    let stays = |pair: &[Value]| pair[0]["pid"] == pair[1]["pid"];
    assert!(ended.records.chunks(2).any(stays), "{ended:#?}");
}

/// Callbacks run in the dispatcher, and `tasks` in a process that is not replaced: their code has checks.
#[test]
fn callbacks_and_tasks_that_spin_are_interrupted_as_ever() {
    let guest = GuestFile::wat(
        r#"(module
            (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{}")
            (func (export "runnable") (result i32) (i32.const 0))
            (func (export "callback") (result i32) (loop $again (br $again)) (i32.const 0))
            (func (export "tasks") (result i32)
                (drop (call $push (i32.const 16) (i32.const 2)))
                (drop (call $push (i32.const 16) (i32.const 2)))
                (loop $again (br $again))
                (unreachable)))"#,
    );
    for &how in UNCHECKED {
        let options = ["--interrupt", how, "--size", "1", "--timeout", "5s"];
        let ended = run(&[&[guest.path(), "--callback-timeout", "200ms"], &options[..]].concat());
        assert_eq!(ended.column("status"), ["ok", "ok"], "{ended:#?}");
        assert_eq!(ended.column("callback"), ["timeout", "timeout"], "{ended:#?}");
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("`tasks`"), "{}", ended.stderr);
    }
}

#[test]
fn a_command_that_spins_is_stopped() {
    let guest = GuestFile::wat(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (loop $again (br $again))))"#,
    );
    for &how in UNCHECKED {
        let mut exec = mpwasm();
        exec.args(["exec", "--interrupt", how, "--timeout", "200ms", guest.path()]);
        let output = run_within(Duration::from_secs(60), &mut exec);
        assert_eq!(output.status.code(), Some(124), "{output:?}");
    }
}
