//! See `tests/fuzzing/src/lines.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm_fuzzing::lines(input);
});
