//! See `tests/fuzzing/src/frames.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm_fuzzing::frames(input);
});
