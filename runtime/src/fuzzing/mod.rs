//! What is fuzzed: a harness for each border over which untrusted bytes come.
//!
//! A harness takes any bytes, sends them the way that they would go in a process of the pool, and panics when something
//! is not as it must be; that it neither crashes nor hangs is for the fuzzer to see. The targets of cargo-fuzz
//! (`fuzz/`) only hand it their input. Unit tests run the same harnesses over the corpus in `fuzz/corpus`.
//!
//! Built for tests and for fuzzing (`--cfg fuzzing`, which cargo-fuzz sets), and part of nothing that is shipped.

mod calls;
mod frames;
mod guest;
mod lines;
// The command line's, which is no part of the library.
#[path = "../cli/record_line.rs"]
mod record_line;
mod rig;

pub use calls::calls;
pub use frames::frames;
pub use guest::guest;
pub use lines::lines;

/// What became of an input. A corpus has to hold both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was what was expected there: whole frames, a task, a guest that runs to its end.
    Taken,
    /// It was refused or failed, with a reason.
    Refused,
}

impl<T, E> From<&Result<T, E>> for Verdict {
    fn from(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Taken,
            Err(_) => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The corpus of a target. `.ci/run` has the tests run as a user who can't read this checkout, and says where it
    /// put a copy.
    fn corpus(target: &str) -> Vec<PathBuf> {
        let folder = std::env::var_os("MPWASM_TEST_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus"),
            PathBuf::from,
        );
        let folder = folder.join(target);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Runs a harness over the corpus of its target, which has to hold inputs of both kinds.
    fn run(target: &str, harness: fn(&[u8]) -> Verdict) {
        let mut verdicts = Vec::new();
        for file in corpus(target) {
            println!("{}", file.display()); // shown when it panics
            verdicts.push(harness(&std::fs::read(file).unwrap()));
        }
        for verdict in [Verdict::Taken, Verdict::Refused] {
            assert!(verdicts.contains(&verdict), "no input of {target} is {verdict:?}");
        }
    }

    #[test]
    fn frames_of_the_corpus() {
        run("frames", frames);
    }

    #[test]
    fn lines_of_the_corpus() {
        run("lines", lines);
    }

    #[test]
    fn guests_of_the_corpus() {
        run("guest", guest);
    }

    #[test]
    fn calls_of_the_corpus() {
        run("calls", calls);
    }
}
