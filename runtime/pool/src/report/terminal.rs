//! [`Terminal`]: the default reporter, which writes guests' output to this process's stdout and stderr.

use std::io::{self, IsTerminal};

use crate::report::Reporter;
use crate::report::event::{PrintedOutput, Source};
use crate::report::prints::{Prints, Target, Targets};
use mpwasm_types::outcome::Outcome;

/// Writes guests' output to this process's stdout and stderr, in whole lines that are never mixed, and their log lines to
/// `tracing`. Output to a terminal is escaped. Outcomes go only to task handles.
pub struct Terminal(Prints);

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

impl Default for Terminal {
    fn default() -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (on_stdout, on_stderr) = (stdout.is_terminal(), stderr.is_terminal());
        Self(Prints::new(Targets::Apart {
            stdout: Target::new(Box::new(stdout), on_stdout),
            stderr: Target::new(Box::new(stderr), on_stderr),
        }))
    }
}

impl Reporter for Terminal {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.0.end(Source::Task(outcome.id))
    }

    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        self.0.print(output)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.end_all()?;
        self.0.flush()
    }
}
