//! Commands that misbehave, in one pool with good ones. A command has only one model, so a task without arguments is a
//! bad one, and a task with an argument a good one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::corpus::{Record, SOON, Scratch, refused, run};
use crate::session::{task_file, within};

/// Returns a command that does `bad` without arguments, and otherwise prints `good`.
fn command(bad: &str) -> String {
    format!(
        r#"(module {imports}
             (memory (export "memory") 1)
             (data (i32.const 512) "good\n")
             (func $print (param $fd i32) (param $len i32)
               (i32.store (i32.const 0) (i32.const 512))
               (i32.store (i32.const 4) (local.get $len))
               (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
             (func $start (export "_start")
               (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
               (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 1))
                 (then (call $print (i32.const 1) (i32.const 5)) (return)))
               {bad}))"#,
        imports = include_str!("imports.wat"),
    )
}

/// Runs bad commands among good ones. Returns the records of the bad ones.
fn judge(bad: &str, status: &str, options: &[&str]) -> Vec<Value> {
    let guest = Scratch::file("guest.wat", command(bad));
    let timeout = if status == "timeout" {
        SOON
    } else {
        Duration::from_secs(20)
    };
    let lines = (0..8).map(|id| match id % 4 {
        3 => json!({"args": [], "timeout": timeout.as_secs_f64()}).to_string(),
        _ => json!(["good"]).to_string(),
    });
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), lines);
    let options = [options, &["--tasks", tasks.to_str().unwrap()]].concat();
    let (ended, records) = run(&guest.path(), &options);
    assert_eq!((records.len(), ended.stdout.len()), (8, 0), "{}", ended.stderr);
    let values = records.iter().map(Record::value);
    let (bad, good): (Vec<_>, Vec<_>) = values.partition(|record| record["id"].as_u64().unwrap() % 4 == 3);
    for record in good {
        let expected = json!({"exit_code": 0, "stdout": "good\n", "stderr": ""});
        assert_eq!(record["result"], expected, "a neighbour: {record}");
    }
    for record in &bad {
        assert_eq!(record["status"], status, "{record}");
        if status == "timeout" {
            let took = Duration::from_micros(record["run_us"].as_u64().unwrap());
            assert!(took >= SOON && took < within(SOON * 2), "{record}");
        }
    }
    ended.assert_code(i32::from(status != "ok"));
    bad
}

/// Defines a test for each line: what the command does, how it ends, and words of the message.
macro_rules! commands {
    ($($name:ident: $bad:expr => $status:expr, $words:expr;)+) => {$(
        #[test]
        fn $name() {
            for record in judge($bad, $status, &[]) {
                let message = record["error"]["message"].as_str().unwrap();
                assert!(message.contains($words), "{message}");
            }
        }
    )+};
}

commands! {
    traps: "unreachable" => "trap", "trap in `_start`: wasm trap: wasm `unreachable`";
    calls_itself: "(call $start)" => "trap", "call stack exhausted";
    loops: "(loop $l (br $l))" => "timeout", "in `_start`";
    sleeps: "(i32.store (i32.const 48) (i32.const 1)) (i64.store (i32.const 56) (i64.const -1))
             (drop (call $poll_oneoff (i32.const 32) (i32.const 128) (i32.const 1) (i32.const 256)))"
        => "timeout", "in `_start`";
    reads_beyond_its_end: "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 64))
             (loop $l (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))"
        => "timeout", "in `_start`";
    takes_all_memory: "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 256)) (i32.const -1)))) unreachable"
        => "memory", "it was refused more than the cap";
    exits_with_a_code: "(call $proc_exit (i32.const 1))" => "exit", "exit code 1";
    exits_with_what_is_no_code_of_a_process: "(call $proc_exit (i32.const 256))" => "exit", "exit code 256";
    exits_with_less_than_nothing: "(call $proc_exit (i32.const 0x80000000))" => "exit", "exit code -2147483648";
    fails_as_a_model_does: "(call $fail (i32.const 512) (i32.const 4))" => "error", "good";
    pushes: "(drop (call $push (i32.const 512) (i32.const 4)))" => "trap", "`push` was called outside of `tasks`";
    asks_for_arguments_out_of_bounds: "(drop (call $args_get (i32.const -4) (i32.const -4)))" => "trap", "in `_start`";
}

#[test]
fn floods() {
    let flood = "(loop $l (call $print (i32.const 1) (i32.const 60000)) (call $print (i32.const 2) (i32.const 0)) (br $l))";
    for record in judge(flood, "timeout", &["--max-output", "100k"]) {
        assert_eq!(record["output_truncated"], true);
        let written = record["error"]["data"]["stdout"].as_str().unwrap();
        assert!((50_000..=102_400).contains(&written.len()), "{}", written.len());
    }
}

#[test]
fn writes_what_is_larger_than_a_result() {
    let flood = "(call $print (i32.const 1) (i32.const 60000))";
    judge(flood, "limit", &["--max-result", "50k"]);
    judge(&format!("{flood} unreachable"), "trap", &["--max-result", "50k"]);
}

#[test]
fn closes_its_streams() {
    let body = "(drop (call $fd_close (i32.const 0))) (drop (call $fd_close (i32.const 1))) (call $print (i32.const 1) (i32.const 5))";
    for record in judge(body, "ok", &[]) {
        assert_eq!(
            record["result"],
            json!({"exit_code": 0, "stdout": "", "stderr": ""})
        );
    }
}

#[test]
fn exits_with_success_half_way() {
    for record in judge("(call $proc_exit (i32.const 0)) unreachable", "ok", &[]) {
        assert_eq!(record["result"]["exit_code"], 0);
    }
}

#[test]
fn a_start_of_another_type_is_refused() {
    refused(&["the export `_start` is a function (i32) -> i32, not a function () -> ()"]).judge(
        r#"(module (memory (export "memory") 1) (func (export "_start") (param i32) (result i32) (i32.const 0)))"#,
    );
    refused(&["the export `_start` is a memory"])
        .judge(r#"(module (memory (export "memory") 1) (export "_start" (memory 0)))"#);
}

#[test]
fn a_command_with_a_callback_is_refused() {
    refused(&["there is `callback` but no `runnable`"]).judge(
        r#"(module (memory (export "memory") 1) (func (export "_start"))
             (func (export "callback") (result i32) (i32.const 0)))"#,
    );
}
