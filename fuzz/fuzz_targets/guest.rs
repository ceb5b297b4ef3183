//! See `runtime/src/fuzzing/guest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = mpwasm::fuzzing::guest(input);
});
