//! See `runtime/src/fuzzing/frames.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm::fuzzing::frames(input);
});
