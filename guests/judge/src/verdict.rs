//! Derives the verdict on a submission from the outcomes of its tasks.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use mpwasm::escape::escape;
use mpwasm::{Kind, Outcome};
use serde::Deserialize;

use crate::problem::Test;

/// The verdict on one submission and one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The output is correct.
    Accepted,
    /// The output is wrong.
    Wrong,
    /// The submission exceeded its time limit, in this measure.
    Time(&'static str),
    /// The submission exceeded its memory limit.
    Memory,
    /// The submission trapped, or its exit code was not 0.
    Error(String),
    /// The submission exceeded its output limit.
    Output,
    /// The pool could not run the submission to its end, which is not the submission's fault.
    Unjudged(String),
}

impl Verdict {
    /// Returns the verdict as one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted => "ok",
            Self::Wrong => "wrong",
            Self::Time(_) => "time",
            Self::Memory => "memory",
            Self::Error(_) => "error",
            Self::Output => "output",
            Self::Unjudged(_) => "?",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Wrong => f.write_str("wrong answer"),
            Self::Time(measure) => write!(f, "time limit ({measure})"),
            Self::Memory => f.write_str("memory limit"),
            // The message may contain text from the submission.
            Self::Error(why) => write!(f, "runtime error ({})", escape(why)),
            Self::Output => f.write_str("output limit"),
            Self::Unjudged(why) => write!(f, "not judged ({})", escape(why)),
        }
    }
}

/// The result of one submission in one test.
#[derive(Debug)]
pub struct TestResult {
    pub verdict: Verdict,
    /// CPU time, if known.
    pub time: Option<Duration>,
    /// Peak memory in bytes, if known.
    pub memory: Option<u64>,
}

/// The part of a command's result that the verdict depends on.
#[derive(Deserialize)]
struct Written {
    /// The output. `None` if it is not UTF-8.
    stdout: Option<String>,
}

impl TestResult {
    pub fn new(outcome: &Outcome, test: &Test) -> Self {
        let usage = &outcome.usage;
        Self {
            verdict: verdict(outcome, test),
            time: usage.cpu_us.map(Duration::from_micros),
            memory: usage.memory_peak,
        }
    }
}

fn verdict(outcome: &Outcome, test: &Test) -> Verdict {
    // The output was truncated, so it can't be judged, whatever the exit code.
    if outcome.usage.output_truncated {
        return Verdict::Output;
    }
    match outcome.parse::<Written>() {
        Ok(Written { stdout: Some(output) }) if test.accepts(&output) => Verdict::Accepted,
        Ok(_) => Verdict::Wrong,
        // The kind is the cause: a program that aborts because an allocation failed has the kind `memory`.
        Err(error) => match error.kind {
            Kind::Fuel => Verdict::Time("instructions"),
            Kind::Timeout => Verdict::Time("clock"),
            Kind::Memory => Verdict::Memory,
            Kind::Limit => Verdict::Output,
            Kind::Exit | Kind::Trap | Kind::Error => Verdict::Error(error.message),
            Kind::Crash | Kind::Cancelled | Kind::Invalid => Verdict::Unjudged(error.message),
        },
    }
}

/// A judged submission.
#[derive(Debug)]
pub struct Judged {
    /// The file name without its extension.
    pub name: String,
    /// The results in the order of the tests, or the reason why the submission can't run.
    pub results: Result<Vec<TestResult>, String>,
}

impl Judged {
    pub fn new(path: &Path, results: Result<Vec<TestResult>, String>) -> Self {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self {
            name: name.to_string_lossy().into_owned(),
            results,
        }
    }

    /// Returns the final verdict, which is that of the first failed test.
    pub fn verdict(&self) -> String {
        let results = match &self.results {
            Ok(results) => results,
            Err(why) => return format!("rejected ({})", escape(why)),
        };
        let failed = (1..)
            .zip(results)
            .find(|(_, result)| result.verdict != Verdict::Accepted);
        match failed {
            None => Verdict::Accepted.to_string(),
            Some((test, result)) => format!("test {test}: {}", result.verdict),
        }
    }
}
