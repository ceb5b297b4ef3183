//! Callbacks: they run in the dispatcher, keep their state, and do not harm anything else.

use crate::completed::{GuestFile, fixture, line, run_lines};
use crate::support::assert_each_id_once;

#[test]
fn a_callback_gets_the_result_and_an_error_callback_the_error() {
    let lines = [
        line("well", "cb_print", "[true,{\"a\":5}]"),
        line("ill", "cb_print", "[false,\"no\"]"),
        line("without", "noop", "[]"),
    ];
    let ended = run_lines(lines.concat(), &[fixture(), "--size", "1"]);
    assert_eq!(ended.column("status"), ["ok", "error", "ok"], "{ended:#?}");
    assert_eq!(ended.column("callback"), ["ok", "ok", "none"], "{ended:#?}");
    let prints = ended.prints();
    let [well, ill] = prints[..] else {
        panic!("{prints:?}")
    };
    let [name, pid, result] = well.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("{well}")
    };
    assert_eq!((name, result), ("callback", "{\"a\":5}"));
    assert_eq!(ill, format!("error_callback {pid} error 1 [false,\"no\"] no"));
    let workers: Vec<_> = ended
        .records
        .iter()
        .map(|record| record["pid"].to_string())
        .collect();
    assert!(
        pid != ended.pid.to_string() && !workers.iter().any(|worker| worker == pid),
        "{pid} {workers:?}"
    );
}

#[test]
fn state_accumulates_over_results_and_errors_of_all_workers() {
    let lines: String = (0..20)
        .map(|i| line("", "cb_count", &format!("[{},null]", i % 2 == 0)))
        .collect();
    let ended = run_lines(lines, &[fixture(), "--size", "2"]);
    let counts: Vec<_> = ended
        .prints()
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(counts, (1..=20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(ended.stdout.matches(" error").count(), 10);
}

#[test]
fn a_callback_that_fails_is_recorded_with_its_task_and_keeps_its_state() {
    let lines: String = [
        line("a", "cb_fail", "[true,1]"),
        line("b", "cb_fail", "[false,2]"),
    ]
    .concat();
    let ended = run_lines(lines, &[fixture(), "--size", "1"]);
    assert_eq!(ended.column("status"), ["ok", "error"]);
    assert_eq!(ended.column("callback"), ["error", "error"], "{ended:#?}");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("callback 1 fails"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error_callback 2 fails"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .lines()
            .last()
            .unwrap()
            .contains("2 callbacks failed"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_callback_that_fails_makes_a_run_fail_whose_tasks_were_ok() {
    let ended = run_lines("[true,1]\n", &[&format!("{}#cb_fail", fixture())]);
    assert_eq!(
        (ended.column("status"), ended.code),
        (vec!["ok"], Some(1)),
        "{ended:#?}"
    );
}

#[test]
fn after_a_trap_the_next_callback_gets_a_fresh_instance() {
    let lines: String = ["1", "\"abort\"", "2", "\"panic\"", "3"]
        .map(|v| line("", "cb_trap", &format!("[true,{v}]")))
        .concat();
    let ended = run_lines(lines, &[fixture(), "--size", "1"]);
    assert_eq!(ended.column("status"), ["ok"; 5]);
    assert_eq!(
        ended.column("callback"),
        ["ok", "trap", "ok", "error", "ok"],
        "{ended:#?}"
    );
    assert_eq!(
        ended.prints(),
        ["count 1", "count 2", "count 1", "count 2", "count 1"]
    );
}

#[test]
fn after_three_timeouts_in_a_row_a_models_callbacks_are_switched_off() {
    let spins = line("", "cb_spin", "[true,null]").repeat(6);
    let lines = [spins, line("", "cb_count", "[true,null]")].concat();
    let ended = run_lines(&lines, &[fixture(), "--size", "1", "--callback-timeout", "200ms"]);
    assert_eq!(ended.column("status"), ["ok"; 7]);
    let callbacks = ended.column("callback");
    assert_eq!(
        callbacks[..6],
        ["timeout", "timeout", "timeout", "skipped", "skipped", "skipped"],
        "{ended:#?}"
    );
    // The callbacks of the other model are not switched off. On a busy machine one can be late by itself.
    assert!(["ok", "timeout"].contains(&callbacks[6]), "{ended:#?}");
    let warnings: Vec<_> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("switched off"))
        .collect();
    assert!(
        matches!(warnings[..], [warning] if warning.contains("cb_spin")),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.code, Some(1));
}

#[test]
fn callbacks_that_trap_spin_flood_and_hog_harm_no_other() {
    let mut lines = String::new();
    for bad in ["cb_trap", "cb_spin", "cb_flood", "cb_hog"] {
        lines += &line("", "cb_count", "[true,null]");
        lines += &line(bad, bad, "[true,\"abort\"]");
        lines += &line("", "noop", "[]");
    }
    lines += &line("", "cb_count", "[true,null]");
    // Two of them use up the time. For the others it is enough even if their thread is descheduled.
    let timeout = ["--callback-timeout", "5s"];
    let options = [fixture(), "--size", "2", "--max-output", "10KiB"];
    let ended = run_lines(lines, &[&options[..], &timeout].concat());
    assert_each_id_once(&ended.records, 13);
    assert_eq!(ended.column("status"), ["ok"; 13]);
    for (bad, callback) in [
        ("cb_trap", "trap"),
        ("cb_spin", "timeout"),
        ("cb_flood", "timeout"),
        ("cb_hog", "memory"),
    ] {
        assert_eq!(ended.record(bad)["callback"], callback, "{ended:#?}");
    }
    let counts: Vec<_> = ended
        .prints()
        .into_iter()
        .filter(|l| l.starts_with("count ") && !l.contains("abort"))
        .collect();
    // The trap of `cb_trap` counts for itself, once.
    assert_eq!(counts.len(), 6, "{counts:?}");
    for n in 1..=5 {
        assert!(counts.contains(&format!("count {n}").as_str()), "{counts:?}");
    }
    let flood = ended
        .prints()
        .iter()
        .filter(|line| line.contains("floods"))
        .map(|line| line.len() + 1)
        .sum::<usize>();
    assert!(
        (9 << 10..=(10 << 10) + 1).contains(&flood),
        "{flood} bytes of a flood"
    );
}

/// Models whose callback takes long, or logs more than a result may have.
const SLOW: &str = r#"(module
    (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
    (memory (export "memory") 8)
    (func (export "runnable") (result i32) (i32.const 0))
    (func (export "callback") (result i32) (local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 200000))))
        (i32.const 0))
    (func (export "talks.runnable") (result i32)
        (call $log (i32.const 1) (i32.const 0) (i32.const 300000)) (i32.const 0))
    (func (export "talks.callback") (result i32)
        (call $log (i32.const 1) (i32.const 0) (i32.const 300000)) (i32.const 0)))"#;

#[test]
fn callbacks_that_are_slower_than_their_tasks_hold_them_back_and_all_run() {
    let guest = GuestFile::wat(SLOW);
    let ended = run_lines("[]\n".repeat(4000), &[guest.path(), "--size", "2"]);
    assert_each_id_once(&ended.records, 4000);
    assert!(ended.column("callback").iter().all(|callback| *callback == "ok"));
    assert_eq!(ended.code, Some(0));
}

#[test]
fn a_long_log_line_is_cut_and_costs_neither_the_worker_nor_the_dispatcher() {
    let guest = GuestFile::wat(SLOW);
    let ended = run_lines(
        "{\"args\":[],\"model\":\"talks\"}\n".repeat(3),
        &[guest.path(), "--size", "1", "--max-result", "64KiB"],
    );
    assert_eq!(ended.column("status"), ["ok"; 3], "{:?}", ended.code);
    assert_eq!(ended.column("callback"), ["ok"; 3]);
    assert!(
        ended
            .records
            .iter()
            .all(|record| record["output_truncated"] == true)
    );
}

#[test]
fn log_lines_that_are_no_utf8_count_as_what_they_become() {
    // Each byte becomes three. A worker that sent more than the cap would be taken for a compromised one.
    let guest = GuestFile::wat(
        r#"(module
            (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
            (memory (export "memory") 8)
            (func (export "runnable") (result i32)
                (memory.fill (i32.const 0) (i32.const 255) (i32.const 60000))
                (call $log (i32.const 5) (i32.const 0) (i32.const 60000))
                (call $log (i32.const 5) (i32.const 0) (i32.const 60000))
                (i32.const 0)))"#,
    );
    let ended = run_lines(
        "[]\n[]\n",
        &[guest.path(), "--size", "1", "--max-output", "100KiB"],
    );
    assert_eq!(ended.column("status"), ["ok"; 2], "{ended:#?}");
}

#[test]
fn a_fold_is_reported_in_the_end() {
    let lines: String = [1, 2, -5, 3]
        .iter()
        .map(|n| line("", "fold", &format!("[{n}]")))
        .collect();
    let ended = run_lines(lines, &[fixture(), "--size", "2"]);
    assert_eq!(ended.code, Some(1), "a task failed");
    assert_eq!(ended.prints(), ["folding"]);
    let told: Vec<&str> = ended.stderr.lines().rev().take(2).collect();
    assert!(told[0].starts_with("mpwasm: 4 tasks: "), "{told:?}");
    assert_eq!(told[1], "mpwasm: the final value of model \"fold\": [6,1]");
}

#[test]
fn a_fold_that_was_lost_fails_the_run_and_is_reported_as_lost() {
    let lines: String = [1, 13, 2]
        .iter()
        .map(|n| line("", "fold", &format!("[{n}]")))
        .collect();
    let ended = run_lines(lines, &[fixture(), "--size", "1"]);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stdout, "", "the final callback was not asked");
    let told = "mpwasm: there is no final value of model \"fold\": error: what it had accumulated was lost with its \
                callback for task 1: panicked at";
    assert!(
        ended.stderr.lines().any(|line| line.starts_with(told)),
        "{}",
        ended.stderr
    );
}
