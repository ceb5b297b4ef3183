//! Tasks that the guest itself pushes, in its `tasks`.

use std::time::Duration;

use crate::completed::{CLOCK, GuestFile, WAIT, run};
use crate::support::{guest, retry_when_late};

const PUSH: &str = r#"
    (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
    (memory (export "memory") 1)
    (data (i32.const 16) "{}")
    (func (export "runnable") (result i32) (i32.const 0))
"#;

#[test]
fn what_was_pushed_before_tasks_failed_runs_and_the_run_exits_with_1() {
    let ended = run(&[guest("pusher").to_str().unwrap(), "--size", "1"]);
    assert_eq!(ended.column("status"), ["ok"; 5], "{ended:#?}");
    assert_eq!(ended.column("key"), ["key 0", "key 1", "key 2", "key 3", "key 4"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no more tasks"), "{}", ended.stderr);
    let prints = ended.prints();
    for n in 0..5 {
        assert!(prints.contains(&format!("pushed {n}").as_str()), "{prints:?}");
        assert!(
            prints.contains(&format!("count {}: {n}", n + 1).as_str()),
            "{prints:?}"
        );
    }
}

#[test]
fn tasks_that_loops_for_ever_ends_after_the_timeout() {
    let guest = GuestFile::wat(&format!(
        r#"(module {PUSH} (func (export "tasks") (result i32)
            (drop (call $push (i32.const 16) (i32.const 2)))
            (loop $again (br $again))
            (unreachable)))"#
    ));
    // Enough for the push and for the task, even if one of the processes is descheduled.
    let ended = run(&[guest.path(), "--size", "1", "--timeout", "5s"]);
    assert_eq!(ended.column("status"), ["ok"], "{ended:#?}");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`tasks`"), "{}", ended.stderr);
    // This includes start-up and compilation on a busy machine. It must be less than the run's default of 30 s.
    assert!(ended.wall < Duration::from_secs(28), "{:?}", ended.wall);
}

#[test]
fn each_push_gives_tasks_its_time_anew() {
    // Ten pushes, about 600 ms apart: more than the timeout in total, but each well within it.
    let guest = GuestFile::wat(&format!(
        r#"(module {CLOCK} {PUSH} {WAIT}
            (func (export "tasks") (result i32) (local $n i32)
                (loop $next
                    (call $wait (i64.const 600000000))
                    (drop (call $push (i32.const 16) (i32.const 2)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $next (i32.lt_u (local.get $n) (i32.const 10))))
                (i32.const 0)))"#
    ));
    let ended = run(&[guest.path(), "--timeout", "5s"]);
    assert_eq!(
        (ended.column("status"), ended.code),
        (vec!["ok"; 10], Some(0)),
        "{ended:#?}"
    );
    assert!(ended.wall > Duration::from_secs(6), "{:?}", ended.wall);
}

#[test]
fn tasks_may_push_no_more_than_max_tasks() {
    let guest = GuestFile::wat(&format!(
        r#"(module {PUSH} (func (export "tasks") (result i32)
            (loop $again (drop (call $push (i32.const 16) (i32.const 2))) (br $again))
            (unreachable)))"#
    ));
    let ended = run(&[guest.path(), "--size", "1", "--max-tasks", "3"]);
    assert_eq!(ended.column("status"), ["ok"; 3], "{ended:#?}");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`tasks`"), "{}", ended.stderr);
}

#[test]
fn a_push_of_what_is_no_task_ends_tasks() {
    let guest = GuestFile::wat(&format!(
        r#"(module {PUSH} (data (i32.const 32) "{{\"arg\":[]}}") (func (export "tasks") (result i32)
            (drop (call $push (i32.const 16) (i32.const 2)))
            (drop (call $push (i32.const 32) (i32.const 10)))
            (drop (call $push (i32.const 16) (i32.const 2)))
            (i32.const 0)))"#
    ));
    let ended = run(&[guest.path(), "--size", "1"]);
    assert_eq!(
        (ended.column("status"), ended.code),
        (vec!["ok"], Some(1)),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("unknown field `arg`"), "{}", ended.stderr);
}

#[test]
fn a_key_that_tasks_pushes_twice_is_an_invalid_task() {
    let guest = GuestFile::wat(
        r#"(module
            (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
            (memory (export "memory") 1)
            (data (i32.const 16) "{\"key\":\"k\"}{\"key\":\"l\"}")
            (func (export "tasks") (result i32)
                (drop (call $push (i32.const 16) (i32.const 11)))
                (drop (call $push (i32.const 16) (i32.const 11)))
                (drop (call $push (i32.const 27) (i32.const 11)))
                (i32.const 0))
            (func (export "runnable") (result i32) (i32.const 0)))"#,
    );
    let ended = run(&[guest.path()]);
    assert_eq!(ended.column("status"), ["ok", "invalid", "ok"], "{ended:#?}");
    assert_eq!(ended.column("key"), ["k", "k", "l"]);
    assert_eq!(ended.code, Some(1));
}

#[test]
fn tasks_that_pushes_nothing_is_a_run_without_tasks() {
    let guest = GuestFile::wat(&format!(
        r#"(module {PUSH} (func (export "tasks") (result i32) (i32.const 0)))"#
    ));
    let ended = run(&[guest.path()]);
    assert_eq!((ended.records.len(), ended.code), (0, Some(0)), "{ended:#?}");
    assert!(ended.stderr.contains("no tasks"), "{}", ended.stderr);
}

#[test]
fn what_waits_for_the_pool_costs_tasks_no_time_neither_pushes_nor_log_lines() {
    // Args of one megabyte fill every buffer on the way. Each task takes longer than `tasks` may take between two pushes.
    let guest = GuestFile::wat(&format!(
        r#"(module {CLOCK}
            (import "mpwasm_v1" "push" (func $push (param i32 i32) (result i64)))
            (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
            (memory (export "memory") 20)
            (data (i32.const 1024) "{{\22timeout\22:20,\22args\22:[\22")
            (data (i32.const 1001047) "\22]}}")
            {WAIT}
            (func (export "runnable") (result i32) (call $wait (i64.const 500000000)) (i32.const 0))
            (func (export "tasks") (result i32) (local $n i32)
                (memory.fill (i32.const 1047) (i32.const 97) (i32.const 1000000))
                (loop $next
                    (call $log (i32.const 5) (i32.const 1047) (i32.const 60000))
                    (drop (call $push (i32.const 1024) (i32.const 1000026)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $next (i32.lt_u (local.get $n) (i32.const 14))))
                (i32.const 0)))"#
    ));
    // It must be shorter than the wait for room. On a busy machine the process may also be descheduled for longer between
    // two pushes.
    retry_when_late(|| {
        let ended = run(&[guest.path(), "--size", "2", "--timeout", "250ms"]);
        let well = (ended.column("status"), ended.code) == (vec!["ok"; 14], Some(0));
        well.then_some(()).ok_or(ended.stderr)
    });
}
