//! The failure of an output, which ends a run.

use std::io::{self, ErrorKind};

/// An output of a run that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Output of guests.
    Prints,
    /// Records.
    Records,
    /// The buffer of `--keep-order`.
    OrderBuffer,
}

/// The first write that failed, which ended the run.
#[derive(Debug)]
pub struct OutputFailure {
    /// The output.
    pub output: OutputKind,
    /// The error.
    pub error: io::Error,
    /// Whether a report was lost.
    pub lost: bool,
}

impl OutputFailure {
    /// Returns whether the reader has closed the output, which is no error.
    pub fn is_closed_pipe(&self) -> bool {
        // A socket is reset if it is closed before everything was read.
        matches!(
            self.error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )
    }
}
