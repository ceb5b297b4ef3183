//! That `cargo run` and `cargo test` build the dependencies with the same features, and so each once.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::command::{Run as _, cargo};

/// Names the packages that have other features when no test is built.
pub fn faults() -> Result<Vec<String>> {
    let tree = |edges: &str| {
        cargo(&[
            "tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p} {f}",
        ])
        .stdout_of()
    };
    Ok(faults_of(&tree("no-dev")?, &tree("normal,build,dev")?))
}

/// Compares lines of packages and their features.
fn faults_of(without_tests: &str, with_tests: &str) -> Vec<String> {
    let packages = |text: &str| -> BTreeSet<String> {
        // A package whose dependencies were shown before is marked.
        let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
        lines.map(str::to_owned).collect()
    };
    packages(without_tests)
        .difference(&packages(with_tests))
        .map(|package| {
            format!(
                "{package}: tests build it with more features: name these in tests/support/Cargo.toml too"
            )
        })
        .collect()
}

#[test]
fn a_feature_that_only_tests_need_is_a_fault() {
    let without_tests = "tokio v1.0.0 rt\nserde v1.0.0 std\nserde v1.0.0 std (*)\n";
    let with_tests = "tokio v1.0.0 macros,rt\nserde v1.0.0 std\nproptest v1.0.0 std\n";
    let faults = faults_of(without_tests, with_tests);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("tokio v1.0.0 rt: "), "{faults:?}");
    assert_eq!(faults_of(with_tests, with_tests), [""; 0]);
}
