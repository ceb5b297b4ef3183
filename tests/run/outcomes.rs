//! Every way in which a task can end, and its record. Timeouts are in `timeouts.rs`.

use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::completed::{
    CompletedRun, GuestFile, LIMIT, TasksFile, fixture, line, run, run_lines, starts_and_spins, to_the_end,
};
use crate::support::{BackgroundRun, mpwasm, records, send, statuses};

/// Runs tasks of many kinds once, each under its key.
fn zoo() -> &'static CompletedRun {
    static RUN: OnceLock<CompletedRun> = OnceLock::new();
    RUN.get_or_init(|| {
        let tasks = [
            ("echo", "echo", r#"[1,"two",{"a":null}]"#),
            ("fail", "fail", r#"["it went wrong"]"#),
            ("fail_data", "fail_data", r#"[{"why":[1,2]}]"#),
            ("panic", "panic", "[]"),
            ("misfit", "busy", r#"["no number"]"#),
            ("notjson", "raw", r#"["notjson"]"#),
            ("notutf8", "raw", r#"["notutf8"]"#),
            ("empty", "raw", r#"["empty"]"#),
            ("two", "raw", r#"["two"]"#),
            ("deep", "raw", r#"["deep"]"#),
            ("depth129", "raw", r#"["depth129"]"#),
            ("newlines", "raw", r#"["newlines"]"#),
            ("trap", "trap", "[]"),
            ("recurse", "recurse", "[]"),
            ("push", "push", "[]"),
            ("exit 7", "exit", "[7]"),
            ("exit 0", "exit", "[0]"),
            ("hog", "hog", "[]"),
            ("after all", "echo", "[true]"),
        ];
        let lines: String = tasks
            .iter()
            .map(|(key, model, args)| line(key, model, args))
            .collect();
        run_lines(lines, &[fixture(), "--size", "2", "--memory", "64MiB"])
    })
}

fn error(key: &str, kind: &str) -> &'static Value {
    let record = zoo().record(key);
    assert_eq!(record["status"], kind, "{record}");
    let error = &record["error"];
    assert_eq!(error["kind"], kind, "{record}");
    assert!(record.get("result").is_none(), "{record}");
    assert_eq!(
        (&error["id"], &error["attempt"]),
        (&record["id"], &json!(1)),
        "{record}"
    );
    error
}

/// Asserts that the task ended with this kind of error and a message that contains all of these words.
fn assert_error(key: &str, kind: &str, words: &[&str]) -> &'static Value {
    let error = error(key, kind);
    let message = error["message"].as_str().unwrap();
    assert!(
        words.iter().all(|word| message.contains(word)),
        "{words:?} in {message:?}"
    );
    error
}

fn result(key: &str) -> &'static Value {
    let record = zoo().record(key);
    assert_eq!(record["status"], "ok", "{record}");
    assert!(record.get("error").is_none(), "{record}");
    &record["result"]
}

#[test]
fn a_run_in_which_tasks_failed_exits_with_1_and_counts_them() {
    assert_eq!(zoo().code, Some(1));
    let last = zoo().stderr.lines().last().unwrap();
    assert!(
        last.starts_with("mpwasm: 19 tasks: 4 ok, 9 error, 3 trap, 2 exit, 1 memory; "),
        "{last}"
    );
    assert!(last.ends_with(" tasks/s"), "{last}");
}

#[test]
fn a_result_is_what_the_guest_returned() {
    assert_eq!(result("echo"), &json!([1, "two", {"a": null}]));
    assert_eq!(result("after all"), &json!([true]));
}

#[test]
fn no_output_is_null() {
    assert_eq!(result("empty"), &Value::Null);
}

#[test]
fn an_error_of_the_guest_is_its_message_or_its_data() {
    let failed = error("fail", "error");
    assert_eq!(failed["message"], "it went wrong");
    assert_eq!(failed["args"], json!(["it went wrong"]));
    assert!(failed.get("data").is_none());
    let failed = error("fail_data", "error");
    assert_eq!(failed["data"], json!({"why": [1, 2]}));
    assert!(failed["message"].is_string());
}

#[test]
fn a_panic_is_an_error_with_its_message_and_place() {
    assert_error("panic", "error", &["the fixture panics", "bad.rs:"]);
}

#[test]
fn args_that_do_not_fit_the_model_are_an_error_that_says_so() {
    assert_error("misfit", "error", &["no number"]);
}

#[test]
fn a_result_that_is_no_json_is_an_error_that_says_why() {
    assert_error("notjson", "error", &["not JSON"]);
    assert_error("two", "error", &["not JSON"]);
    assert_error("notutf8", "error", &["not UTF-8"]);
    assert_error("deep", "error", &["nested deeper than 128"]);
    assert_error("depth129", "error", &["nested deeper than 128"]);
}

#[test]
fn a_result_may_be_nested_128_deep() {
    // The line is read as text. Within the record's object the value is too deep for many parsers, including
    // serde_json's.
    let guest = format!("{}#raw", fixture());
    let ended = to_the_end(mpwasm().args(["run", &guest, "--args", "[\"depth128\"]", "--results", "-"]));
    let result = format!(
        r#""status":"ok","result":{}{},"attempts""#,
        "[".repeat(128),
        "]".repeat(128)
    );
    assert!(
        ended.code == Some(0) && ended.stdout.contains(&result),
        "{ended:#?}"
    );
}

#[test]
fn a_result_with_raw_newlines_goes_on_one_line() {
    assert_eq!(result("newlines"), &json!({"a": [1, 2]}));
    let raw = zoo()
        .lines
        .iter()
        .find(|line| line.contains(r#""key":"newlines""#))
        .unwrap();
    assert!(raw.contains(r#""result":{"a":[1,2]},"#), "{raw}");
}

#[test]
fn a_trap_is_named_and_has_the_guests_backtrace() {
    let trap = assert_error("trap", "trap", &["unreachable", "in `trap.runnable`"]);
    let frames = trap["backtrace"].as_array().unwrap();
    assert!((1..=32).contains(&frames.len()), "{frames:?}");
    assert!(
        frames
            .iter()
            .any(|frame| frame.as_str().unwrap().contains("abort")),
        "{frames:?}"
    );
}

#[test]
fn a_backtrace_has_at_most_32_frames() {
    let trap = assert_error("recurse", "trap", &["stack"]);
    assert_eq!(trap["backtrace"].as_array().unwrap().len(), 32);
}

#[test]
fn push_is_for_tasks_only() {
    assert_error("push", "trap", &["`push`", "`tasks`"]);
}

#[test]
fn an_exit_ends_only_the_call_and_keeps_its_code() {
    assert_eq!(error("exit 7", "exit")["code"], 7);
    assert_eq!(error("exit 0", "exit")["code"], 0);
}

#[test]
fn a_guest_that_aborts_because_its_memory_is_full_ends_as_memory() {
    assert_error("hog", "memory", &["memory"]);
    let peak = zoo().record("hog")["memory_peak"].as_u64().unwrap();
    assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
}

#[test]
fn the_kind_tells_the_cause_in_guests_of_any_language() {
    let guest = GuestFile::wat(
        r#"(module
            (memory (export "memory") 1)
            (global $zero (mut i32) (i32.const 0))
            (func (export "refused.runnable") (result i32)
                (if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then (return (i32.const 0))))
                (unreachable))
            (func (export "copes.runnable") (result i32)
                (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)))
            (func (export "outside.runnable") (result i32) (i32.load (i32.const 65536)))
            (func (export "divide.runnable") (result i32) (i32.div_u (i32.const 1) (global.get $zero)))
            (func (export "code.runnable") (result i32) (i32.const 5)))"#,
    );
    let lines: String = ["refused", "copes", "outside", "divide", "code"]
        .iter()
        .map(|model| line(model, model, "[]"))
        .collect();
    let ended = run_lines(lines, &[guest.path(), "--size", "1"]);
    assert_eq!(
        ended.column("status"),
        ["memory", "ok", "trap", "trap", "error"],
        "{ended:#?}"
    );
    let message = |key| ended.record(key)["error"]["message"].as_str().unwrap();
    assert!(
        message("outside").contains("out of bounds"),
        "{}",
        message("outside")
    );
    assert!(
        message("divide").contains("divide by zero"),
        "{}",
        message("divide")
    );
    assert!(message("code").contains('5'), "{}", message("code"));
}

#[test]
fn each_task_runs_in_a_fresh_instance() {
    let ended = run_lines(
        "[]\n[]\n[]\n",
        &[&format!("{}#counter", fixture()), "--size", "1"],
    );
    let results: Vec<_> = ended.records.iter().map(|record| &record["result"]).collect();
    assert_eq!(results, [1, 1, 1]);
    assert_eq!(ended.code, Some(0));
}

#[test]
fn a_guest_knows_its_task() {
    let ended = run_lines("[]\n[]\n", &[&format!("{}#info", fixture()), "--timeout", "20s"]);
    for (id, record) in ended.records.iter().enumerate() {
        let info = &record["result"];
        assert_eq!((&info[0], &info[1]), (&json!(id), &json!(1)), "{record}");
        assert!((1..=20_000).contains(&info[2].as_u64().unwrap()), "{record}");
    }
}

#[test]
fn the_instruction_budget_ends_a_task_as_fuel_every_time_alike() {
    let lines = [
        line("a", "spin", "[]"),
        line("b", "noop", "[]"),
        line("c", "spin", "[]"),
    ]
    .concat();
    let ended = run_lines(lines, &[fixture(), "--fuel", "5000000", "--size", "1"]);
    assert_eq!(ended.column("status"), ["fuel", "ok", "fuel"], "{ended:#?}");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn a_result_larger_than_max_result_ends_as_limit() {
    // The JSON of a string has two bytes for the quotes.
    let lines = [
        line("fits", "big", "[998]"),
        line("large", "big", "[999]"),
        line("huge", "big", "[5000000]"),
    ];
    let ended = run_lines(lines.concat(), &[fixture(), "--max-result", "1000"]);
    assert_eq!(ended.column("status"), ["ok", "limit", "limit"], "{ended:#?}");
    assert!(
        ended.record("large")["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1000 bytes")
    );
}

#[test]
fn a_worker_that_dies_ends_its_task_as_crash_and_its_slot_goes_on() {
    let guest = starts_and_spins();
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let tasks = TasksFile::new("[]\n{\"model\":\"next\",\"args\":[]}\n");
    let mut run = BackgroundRun::start(&[
        guest.path(),
        "--size=1",
        "--results",
        results.to_str().unwrap(),
        "--tasks",
        tasks.path(),
    ]);
    assert_eq!(run.line(), "started\n");
    let worker = run.workers(1)[0];
    send(worker, Signal::SIGKILL);
    assert_eq!(run.wait(LIMIT).code(), Some(1));
    let records = records(&std::fs::read(results).unwrap());
    let [crashed, next] = &records[..] else {
        panic!("{records:#?}")
    };
    assert_eq!(
        (&crashed["status"], &crashed["error"]["signal"]),
        (&json!("crash"), &json!(9)),
        "{crashed}"
    );
    assert_eq!(
        (&crashed["worker"], &crashed["pid"]),
        (&json!(0), &json!(worker)),
        "{crashed}"
    );
    assert_eq!(
        (&next["status"], &next["worker"]),
        (&json!("ok"), &json!(0)),
        "{next}"
    );
    assert_ne!(next["pid"], worker);
}

#[test]
fn an_interrupt_lets_the_running_task_end_and_cancels_the_others() {
    let guest = starts_and_spins();
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let tasks = TasksFile::new("[]\n".repeat(100));
    let mut run = BackgroundRun::start(&[
        guest.path(),
        "--size=1",
        // Longer than the signal takes, even if this thread or the run is descheduled.
        "--timeout=8s",
        "--results",
        results.to_str().unwrap(),
        "--tasks",
        tasks.path(),
    ]);
    assert_eq!(run.line(), "started\n");
    run.signal(Signal::SIGINT);
    assert_eq!(run.wait(LIMIT).code(), Some(130));
    let records = records(&std::fs::read(results).unwrap());
    let accepted = records.len();
    assert_eq!(statuses(&records), [("cancelled", accepted - 1), ("timeout", 1)]);
    let cancelled = records
        .iter()
        .find(|record| record["status"] == "cancelled")
        .unwrap();
    for field in ["worker", "pid", "queued_us", "run_us", "cpu_us"] {
        assert_eq!(cancelled[field], Value::Null, "{cancelled}");
    }
}

#[test]
fn a_task_of_a_run_that_went_well_exits_with_0() {
    let ended = run(&[
        &format!("{}#echo", fixture()),
        "--args",
        "[1]",
        "--args",
        "[2, 3]",
    ]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(
        ended
            .records
            .iter()
            .map(|r| r["result"].clone())
            .collect::<Vec<_>>(),
        [json!([1]), json!([2, 3])]
    );
    let ended = run(&[&format!("{}#echo", fixture()), "--", "-a", "b c"]);
    assert_eq!(ended.records[0]["result"], json!(["-a", "b c"]), "{ended:#?}");
}
