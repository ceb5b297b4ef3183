//! What the binary does when a person starts it instead of a pool.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::process::Command;

#[test]
fn started_by_hand_it_says_what_it_is_in_one_line_and_exits_with_2() {
    // Beside the test program: it may have been moved together with that since it was built.
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("mpwasm-host");
    let output = Command::new(binary).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("mpwasm-host "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
