//! Starts the binary by hand instead of from a pool.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::process::Command;

#[test]
fn started_by_hand_it_says_what_it_is_in_one_line_and_exits_with_2() {
    // Looked up beside the test program: both may have been moved since they were built.
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("mpwasm-host");
    let output = Command::new(binary).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("mpwasm-host "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
