//! See `tests/fuzzing/src/objects.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm_fuzzing::objects(input);
});
