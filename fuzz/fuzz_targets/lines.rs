//! See `runtime/src/fuzzing/lines.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm::fuzzing::lines(input);
});
