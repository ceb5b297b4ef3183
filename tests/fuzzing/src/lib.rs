//! What is fuzzed: a harness for each border over which untrusted bytes come.
//!
//! A harness takes any bytes, sends them the way that they would go in a process of the pool, and panics when something
//! is not as it must be; that it neither crashes nor hangs is for the fuzzer to see. The targets of cargo-fuzz
//! (`fuzz/`) only hand it their input. Unit tests run the same harnesses over the corpus in `fuzz/corpus`.
//!
//! A crate of its own, so that it is part of nothing that is shipped.

#![warn(missing_docs)]

mod calls;
mod frames;
mod guest;
mod lines;
mod rig;
#[cfg(test)]
mod seeds;

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
    fn folder(target: &str) -> PathBuf {
        let corpus = std::env::var_os("MPWASM_TEST_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus"),
            PathBuf::from,
        );
        corpus.join(target)
    }

    /// The files in it.
    fn corpus(target: &str) -> Vec<PathBuf> {
        let folder = folder(target);
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

    /// A fuzzer that starts from bytes of another layout finds nothing behind it. Where the messages have changed, this writes the corpus anew if
    /// `MPWASM_WRITE_CORPUS` is set.
    #[test]
    fn seeds_of_frames_stand_in_the_corpus_and_are_what_they_are_called() {
        let folder = folder("frames");
        for (name, verdict, input) in seeds::inputs() {
            assert_eq!(frames(&input), verdict, "{name}");
            let file = folder.join(name);
            if std::env::var_os("MPWASM_WRITE_CORPUS").is_some() {
                std::fs::write(&file, &input).unwrap();
            }
            let written = std::fs::read(&file).unwrap();
            assert!(written == input, "{name} is of another layout: write it anew");
        }
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
