//! Guests that trap in every way that WebAssembly has.

use crate::corpus::trap;

const OVERFLOW: &str = "call stack exhausted";
const MEMORY: &str = "out of bounds memory access";

corpus! {
    unreachable => trap("in `runnable`: wasm trap: wasm `unreachable` instruction executed");
    call_of_another_type => trap("indirect call type mismatch");
    call_of_nothing => trap("uninitialized element");
    call_beyond_the_table => trap("undefined element: out of bounds table access");
    division_by_zero => trap("integer divide by zero");
    division_that_overflows => trap("integer overflow");
    float_that_is_no_number => trap("invalid conversion to integer");
    load_beyond_the_memory => trap(MEMORY);
    store_across_the_end => trap(MEMORY);
    fill_beyond_the_memory => trap(MEMORY);
    table_beyond_its_end => trap("out of bounds table access");
    deep_recursion => trap(OVERFLOW);
    mutual_recursion => trap(OVERFLOW);
    recursion_through_the_host => trap(OVERFLOW);
}

/// Each frame has about 400 KB, so the first one beyond the stack is far behind the guard page.
#[test]
fn recursion_with_big_frames() {
    let locals = "i64 ".repeat(20_000);
    let keep: String = (0..20_000)
        .map(|n| format!("(local.set {n} (i64.extend_i32_u (call $input_len)))\n"))
        .collect();
    let sum: String = (0..20_000)
        .map(|n| format!("(global.set $sum (i64.add (global.get $sum) (local.get {n})))\n"))
        .collect();
    // One function, which no second processor helps to compile: on a busy machine that takes longer than by default.
    trap(OVERFLOW)
        .options(&["--compile-timeout", "5min"])
        .judge(&crate::corpus::guest(&format!(
            r#"(memory (export "memory") 1)
           (global $sum (mut i64) (i64.const 0))
           (func $deeper (export "runnable") (result i32) (local {locals})
             {keep} (drop (call $deeper)) {sum} (i32.wrap_i64 (global.get $sum)))"#
        )));
}
