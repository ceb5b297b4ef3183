//! Trying again what depends on real time, for everybody to see.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;

/// Most tries of a check that depends on real time. Three are enough: a machine that is too busy in each of them is too
/// busy for these tests.
const TRIES: usize = 3;

/// Tries a check that depends on real time up to three times, until it succeeds.
///
/// On a busy machine any thread may stand still at any moment, and no event says so. A check of how soon something happens
/// is therefore made in here, and everything that holds on any machine is asserted within the attempt. No failure is
/// silent: each is written to stderr and, for CI to count, to the file that `MPWASM_TEST_RETRIES` names.
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

/// Writes a failure where the harness does not capture it. A write that fails is no failure of the test.
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
        // One write: lines of several processes stay whole.
        let _ = file.write_all(format!("{test}\n").as_bytes());
    }
}
