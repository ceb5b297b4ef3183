//! Guests that do not end: by computing, by waiting, by bulk operations that can't be interrupted, or by calling the host
//! forever. Each ends as a timeout, at most 0.2 s after its deadline.

use crate::corpus::timeout;

corpus! {
    endless_loop => timeout();
    endless_tail_calls => timeout();
    endless_indirect_tail_calls => timeout();
    endless_tree => timeout();
    endless_fill => timeout();
    endless_copy => timeout();
    fills_on_the_way_back => timeout();
    writes_on_the_way_back => timeout();
    endless_table_fill => timeout();
    endless_table_grow => timeout();
    endless_memory_grow => timeout();
    sleep => timeout();
    sleep_until_the_end_of_time => timeout();
    sleep_4096_times_at_once => timeout();
    endless_polls => timeout();
    endless_stdin => timeout();
    endless_yields => timeout();
    endless_clocks => timeout();
    endless_random => timeout();
    endless_descriptors => timeout();
}

/// The compiled code checks the deadline at loops and at function entries. This code has neither.
#[test]
fn fills_in_a_straight_line() {
    let fill = "(memory.fill (local.get $0) (local.get $0) (local.get $all))\n".repeat(20_000);
    timeout().check(&format!(
        r#"(memory (export "memory") 1)
           (func (export "runnable") (result i32) (local $0 i32) (local $all i32)
             (drop (memory.grow (i32.const 4095)))
             (local.set $all (i32.const 0x10000000))
             {fill} (i32.const 0))"#
    ));
}
