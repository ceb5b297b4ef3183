//! Guests whose `tasks` misbehaves. The tasks that it pushed before run to their end, the failure is reported, and the
//! run exits with 1.

use crate::corpus::pushes;

/// A timeout that does not pass before the limit that is tested.
const PATIENT: &[&str] = &["--timeout", "20s"];

corpus! {
    tasks_that_loops => pushes(2, "");
    tasks_that_sleeps => pushes(1, "");
    tasks_that_fills_on_the_way_back => pushes(1, "");
    tasks_that_pushes_for_ever =>
        pushes(50, "more than 50 tasks are pushed").options(&["--max-tasks", "50", "--timeout", "20s"]);
    tasks_that_pushes_no_json => pushes(1, "trap in `tasks`").options(PATIENT);
    tasks_that_pushes_no_utf8 => pushes(1, "not UTF-8").options(PATIENT);
    tasks_that_pushes_an_unknown_model => pushes(1, r"no model `\u{1b}[2J\nx`").options(PATIENT);
    tasks_that_pushes_depth => pushes(1, "nested deeper than 128").options(PATIENT);
    tasks_that_pushes_too_much => pushes(1, "--max-args").options(PATIENT);
    tasks_that_pushes_endless_keys => pushes(1, "the key has 1000000 bytes").options(PATIENT);
    tasks_that_pushes_out_of_bounds => pushes(1, "out of bounds").options(PATIENT);
    tasks_that_traps => pushes(3, "unreachable").options(PATIENT);
    tasks_that_exits => pushes(1, "exit: proc_exit(0) in `tasks`").options(PATIENT);
    tasks_that_floods => pushes(1, "");
    tasks_that_recurses => pushes(0, "call stack exhausted").options(PATIENT);
    tasks_that_takes_all_memory => pushes(1, "memory: out of memory").options(PATIENT);
    tasks_that_fails_with_escapes =>
        pushes(1, r"\u{1b}]0;title\u{7}\nmpwasm: all is well\r\u{9b}2J").options(PATIENT);
}
