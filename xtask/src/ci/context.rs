//! What the steps share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::command::cargo;
use crate::repository::Repository;

/// What the steps share.
pub struct Context {
    pub repository: Repository,
    /// Removed at the end.
    pub scratch: TempDir,
    /// What a step had to leave out on this machine.
    pub not_checked: RefCell<Vec<String>>,
}

impl Context {
    /// Records that something could not be checked on this machine. The summary repeats it.
    pub fn not_checked(&self, what: &str) {
        println!("NOT CHECKED: {what}");
        self.not_checked.borrow_mut().push(what.to_owned());
    }

    /// The file to which tests append the name of each check that they tried again, as this user and as an ordinary one.
    pub fn retries(&self) -> PathBuf {
        self.scratch.path().join("retries")
    }

    /// Shows how often which test tried a check again.
    pub fn show_retries(&self) {
        for path in [self.retries(), self.scratch.path().join("tmp/retries")] {
            // Without retries there is no such file.
            let text = fs::read_to_string(path).unwrap_or_default();
            for (test, count) in counted(&text) {
                println!("RETRIED: {test}, {count} of its tries failed");
            }
        }
    }

    /// `cargo ARGS...` with an empty cache of compiled guests in place of the user's own.
    pub fn cargo_with_own_cache(&self, args: &[&str]) -> Command {
        let mut command = cargo(args);
        command.env("MPWASM_CACHE_DIR", self.scratch.path().join("cache"));
        command
    }

    /// How many tests run at the same time: twice as many as there are processors. Most of the time they wait, for timeouts
    /// and processes. `RUST_TEST_THREADS` is another number.
    pub fn test_threads(&self) -> String {
        std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| {
            let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
            (2 * processors).to_string()
        })
    }
}

/// Each line, and how often it is there.
fn counted(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

#[test]
fn retries_are_counted_by_test() {
    let counts = counted("a::one\nb::two\na::one\n");
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("a::one", 2), ("b::two", 1)]
    );
}
