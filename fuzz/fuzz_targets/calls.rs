//! See `runtime/src/fuzzing/calls.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm::fuzzing::calls(input);
});
