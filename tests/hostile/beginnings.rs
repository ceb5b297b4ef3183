//! Guests that misbehave before `runnable`: in their start function, in `_initialize`, or while they are instantiated.
//!
//! The bad tasks are those without args. Every instance begins in the same way, so the guest looks at its input.

use crate::corpus::{fails, timeout, trap};

const START: &str = "while it was instantiated";
const INITIALIZE: &str = "in `_initialize`";

corpus! {
    start_loops => timeout();
    start_sleeps => timeout();
    start_traps => trap("while it was instantiated: wasm trap: wasm `unreachable`");
    start_takes_all_memory => fails("memory", START);
    start_recurses => trap("while it was instantiated: wasm trap: call stack exhausted");
    start_pushes => trap("`push` was called outside of `tasks`");
    initialize_loops => timeout();
    initialize_traps => trap(INITIALIZE);
    initialize_exits => fails("exit", "proc_exit(0) in `_initialize`");
    initialize_fails => fails("error", "not today");
    initialize_calls_runnable => trap("in `_initialize`: wasm trap: call stack exhausted");
}
