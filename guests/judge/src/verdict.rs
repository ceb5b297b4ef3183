//! The verdict on a submission, from the outcome of its task.

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
    /// The output is the expected one.
    Accepted,
    /// It is another one.
    Wrong,
    /// The submission took too long, by this measure.
    Time(&'static str),
    /// It wanted more memory than there was.
    Memory,
    /// It trapped, or ended with another exit code than 0.
    Error(String),
    /// It wrote too much.
    Output,
    /// The pool could not run it to its end: that is no fault of the submission.
    Unjudged(String),
}

impl Verdict {
    /// One word.
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
            // A message may quote the submission.
            Self::Error(why) => write!(f, "runtime error ({})", escape(why)),
            Self::Output => f.write_str("output limit"),
            Self::Unjudged(why) => write!(f, "not judged ({})", escape(why)),
        }
    }
}

/// How one submission did in one test.
#[derive(Debug)]
pub struct Trial {
    pub verdict: Verdict,
    /// Processor time, where it is known.
    pub time: Option<Duration>,
    /// Bytes of memory at the most, where they are known.
    pub memory: Option<u64>,
}

/// The part of a command's result that matters here.
#[derive(Deserialize)]
struct Written {
    /// Not there when it is no text.
    stdout: Option<String>,
}

impl Trial {
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
    // Its output was cut, so whether it was right is not known, however it ended.
    if outcome.usage.output_truncated {
        return Verdict::Output;
    }
    match outcome.parse::<Written>() {
        Ok(Written { stdout: Some(output) }) if test.accepts(&output) => Verdict::Accepted,
        Ok(_) => Verdict::Wrong,
        // The kind names the cause: a program that aborts because it got no more memory ended as `memory`.
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

/// A submission that was judged.
#[derive(Debug)]
pub struct Judged {
    /// The file's name without its ending.
    pub name: String,
    /// How it did in each test, or why it could not run at all.
    pub trials: Result<Vec<Trial>, String>,
}

impl Judged {
    pub fn new(path: &Path, trials: Result<Vec<Trial>, String>) -> Self {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self {
            name: name.to_string_lossy().into_owned(),
            trials,
        }
    }

    /// The final verdict: that of the first test that it failed.
    pub fn verdict(&self) -> String {
        let trials = match &self.trials {
            Ok(trials) => trials,
            Err(why) => return format!("rejected ({})", escape(why)),
        };
        let failed = (1..)
            .zip(trials)
            .find(|(_, trial)| trial.verdict != Verdict::Accepted);
        match failed {
            None => Verdict::Accepted.to_string(),
            Some((test, trial)) => format!("test {test}: {}", trial.verdict),
        }
    }
}
