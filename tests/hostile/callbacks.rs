//! Callbacks that misbehave in the dispatcher, which must not die. The record of their task shows it, and the callbacks
//! of the good model continue to run.

use crate::corpus::{Bad, Scratch, fails, guest, options, returns, trap};
use crate::session::HANGS;
use crate::support::{run_records, statuses};

/// Long enough for the callbacks of the good model on a busy machine.
const TIMEOUT: &[&str] = &["--callback-timeout", "500ms"];

/// After three timeouts a model's callbacks are disabled.
const SWITCHED_OFF: &[&str] = &["timeout", "timeout", "timeout", "skipped"];

const fn well(callbacks: &'static [&'static str]) -> Bad {
    returns("null").callbacks(callbacks)
}

const fn trapped(callbacks: &'static [&'static str]) -> Bad {
    trap("unreachable").callbacks(callbacks)
}

corpus! {
    callback_that_traps => well(&["trap"; 4]);
    callback_that_spins => well(SWITCHED_OFF).options(TIMEOUT);
    callback_that_sleeps => well(SWITCHED_OFF).options(TIMEOUT);
    callback_that_writes_on_the_way_back => well(SWITCHED_OFF).options(TIMEOUT);
    callback_that_floods => well(SWITCHED_OFF).options(TIMEOUT);
    callback_that_takes_all_memory => well(&["memory"; 4]);
    callback_that_exits => well(&["exit"; 4]);
    callback_that_recurses => well(&["trap"; 4]);
    callback_that_pushes => well(&["trap"; 4]);
    callback_that_puts_out_too_much => well(&["limit"; 4]);
    callback_that_puts_out_no_json => well(&["ok"; 4]);
    callback_that_fails_with_escapes => well(&["error"; 4]);
    callback_that_is_out_of_bounds => well(&["trap"; 4]);
    callback_whose_start_loops => well(SWITCHED_OFF).options(TIMEOUT);
    callback_that_is_never_content => well(&["error"; 4]);

    error_callback_that_traps => trapped(&["trap"; 4]);
    error_callback_that_spins => trapped(SWITCHED_OFF).options(TIMEOUT);
    error_callback_that_writes_on_the_way_back => trapped(SWITCHED_OFF).options(TIMEOUT);
    error_callback_that_floods => trapped(SWITCHED_OFF).options(TIMEOUT);
    error_callback_that_takes_all_memory => trapped(&["memory"; 4]);
    error_callback_that_exits => fails("error", "the guest returned 3").callbacks(&["exit"; 4]);
    error_callback_that_recurses => trapped(&["trap"; 4]);
}

/// Returns a function with a deep recursion whose frames each compute for a while on the way back, without imports or
/// bulk operations.
fn computes_on_the_way_back() -> String {
    let step = "(local.set $n (i64.rem_u (i64.const -7) (i64.add (local.get $n) (i64.const 13))))\n";
    format!(
        r#"(func $compute (param $levels i32) (local $n i64)
             (if (local.get $levels) (then (call $compute (i32.sub (local.get $levels) (i32.const 1)))))
             (local.set $n (i64.extend_i32_u (local.get $levels)))
             {}
             (i64.store (i32.const 0) (local.get $n)))"#,
        step.repeat(40_000)
    )
}

#[test]
fn callback_that_computes_on_the_way_back() {
    let compute = computes_on_the_way_back();
    let fields = format!(
        r#"(memory (export "memory") 1) {compute}
           (func (export "runnable") (result i32) (i32.const 0))
           (func (export "callback") (result i32) (call $compute (i32.const 15000)) (i32.const 0))"#
    );
    let (ended, _) = well(&["timeout", "skipped", "skipped"])
        .options(TIMEOUT)
        .judge(&guest(&fields));
    let warnings = ended
        .stderr
        .matches("mpwasm: warning: a callback of model \"\" could not be ended");
    assert_eq!(warnings.count(), 1, "{}", ended.stderr);
}

/// Each of these timeouts costs the dispatcher a thread. After three all callbacks of the guest are disabled; the tasks
/// and the pool continue.
#[test]
fn callbacks_of_one_guest_that_cannot_be_ended() {
    let compute = computes_on_the_way_back();
    let models: String = (0..5)
        .map(|n| {
            format!(
                r#"(func (export "m{n}.runnable") (result i32) (i32.const 0))
                   (func (export "m{n}.callback") (result i32) (call $compute (i32.const 15000)) (i32.const 0))"#
            )
        })
        .collect();
    let fields = format!(r#"(memory (export "memory") 1) {compute} {models}"#);
    let file = Scratch::file("guest.wat", guest(&fields));
    let lines = (0..5)
        .chain(0..5)
        .map(|n| format!("{{\"model\":\"m{n}\",\"args\":[]}}\n"));
    let tasks = Scratch::file("tasks", lines.collect::<String>());
    let (file, tasks) = (file.path(), tasks.path());
    let args = [
        "--callback-timeout",
        "50ms",
        "--tasks",
        tasks.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let (records, output) = run_records(HANGS, &[&options()[..], &args].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(statuses(&records), [("ok", 10)], "{said}");
    let count = |status| {
        records
            .iter()
            .filter(|record| record["callback"] == status)
            .count()
    };
    assert_eq!((count("timeout"), count("skipped")), (3, 7), "{said}");
    assert_eq!(
        said.matches("all of its callbacks are switched off").count(),
        1,
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1), "{said}");
}
