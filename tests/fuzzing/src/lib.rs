//! Fuzzing: a harness for each boundary at which untrusted bytes arrive.
//!
//! A harness takes any bytes, processes them as a process of the pool would, and panics when an invariant is broken. The
//! fuzzer detects crashes and hangs. The targets of cargo-fuzz (`fuzz/`) only pass on their input. Unit tests run the
//! same harnesses over the corpus in `fuzz/corpus`.
//!
//! It is a separate crate, so that it is not part of anything that is shipped.

#![warn(missing_docs)]

mod calls;
mod frames;
mod guest;
mod lines;
mod object_client;
mod objects;
mod rig;
#[cfg(test)]
mod seeds;
mod verdict;

pub use calls::calls;
pub use frames::frames;
pub use guest::guest;
pub use lines::lines;
pub use objects::objects;
pub use verdict::Verdict;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// Returns the folder of a target's corpus.
    fn folder(target: &str) -> PathBuf {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        corpus.join(target)
    }

    /// Returns the files in it.
    fn corpus(target: &str) -> Vec<PathBuf> {
        let folder = folder(target);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Runs a harness over the corpus of its target, which must contain inputs of both kinds.
    fn run(target: &str, harness: fn(&[u8]) -> Verdict) {
        let mut verdicts = Vec::new();
        for file in corpus(target) {
            println!("{}", file.display()); // shown if it panics
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

    /// Checks that the corpus has the current layout of messages, as a fuzzer that starts from another layout finds
    /// nothing. With `MPWASM_WRITE_CORPUS` this writes the corpus anew.
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
    fn objects_of_the_corpus() {
        run("objects", objects);
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
