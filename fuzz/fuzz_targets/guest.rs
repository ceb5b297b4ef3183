//! See `tests/fuzzing/src/guest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm_fuzzing::guest(input);
});
