//! Pointers and lengths outside of the guest's memory: beyond its end, across it, negative, or with a sum that overflows
//! 32 bits. Nothing is read or written, and the guest traps.

use crate::corpus::{returns, trap};

const OUT: &str = "out of bounds of a memory of 65536 bytes";
/// The error of wasmtime-wasi.
const WASI: &str = "ointer out of bounds";

corpus! {
    input_read_out_of_bounds => trap(OUT);
    input_read_to_a_negative_address => trap(OUT);
    input_read_from_a_negative_offset => returns("null");
    output_write_of_a_negative_length => trap(OUT);
    output_write_that_wraps_around => trap(OUT);
    memory_of_nothing => trap("1 bytes at 0, which is out of bounds of a memory of 0 bytes");
    fail_out_of_bounds => trap(OUT);
    log_out_of_bounds => trap(OUT);
    push_out_of_bounds => trap(OUT);
    random_out_of_bounds => trap(OUT);
    pieces_out_of_bounds => trap(OUT);
    piece_of_a_negative_length => trap(OUT);
    pieces_that_wrap_around => returns("null");
    written_to_nowhere => trap(WASI);
    poll_out_of_bounds => trap(OUT);
    poll_of_too_many => returns("null");
    clock_out_of_bounds => trap(OUT);
    arguments_out_of_bounds => trap(WASI);
}
