//! Retries checks that depend on real time, visibly.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// Most tries of a check that depends on real time. Three are enough: a machine that is too busy in each of them is too
/// busy for these tests.
const TRIES: usize = 3;

/// Tries a check that depends on real time up to three times, until it succeeds.
///
/// On a busy machine any thread may be descheduled at any moment, without an event. So a check of how soon something
/// happens is retried, and everything that holds on any machine is asserted within each attempt. No failure is silent:
/// each is written to stderr and, for CI to count, to the file that `MPWASM_TEST_RETRIES` names.
#[track_caller]
pub fn retry_when_late(mut attempt: impl FnMut() -> Result<(), String>) {
    let mut failures = Vec::new();
    for _ in 0..TRIES {
        let Err(failure) = attempt() else { return };
        report(failures.len() + 1, &failure);
        failures.push(failure);
    }
    panic!("each of {TRIES} tries failed: {failures:#?}");
}

/// Writes a failure to where the test harness does not capture it. A failed write does not fail the test.
fn report(number: usize, failure: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(
        std::io::stderr(),
        "RETRIED: {test}, try {number} of {TRIES}: {failure}"
    );
    if let Some(path) = std::env::var_os("MPWASM_TEST_RETRIES")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        // A single write, so that lines of several processes do not mix.
        let _ = file.write_all(format!("{test}\n").as_bytes());
    }
}
