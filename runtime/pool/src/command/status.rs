//! [`ExitStatus`]: how a child ended, and [`Output`]: what it wrote.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::child_state::OutputCut;
use crate::error::Error;
use mpwasm_types::escape::Untrusted;
use mpwasm_types::escape::escape_bytes;
use mpwasm_types::outcome::{Failure, Kind, Outcome, TaskError, Usage};

/// Most bytes of the end of stderr that an error shows: enough for a few lines.
const TAIL: usize = 1000;

/// How a child ended.
#[derive(Clone, Debug)]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(i32),
    /// It was ended because its stdout could not be written. With [`BrokenPipe`](io::ErrorKind::BrokenPipe) the reader is
    /// gone. A native program gets SIGPIPE for that; it is not the command's fault.
    Unwritten(Arc<io::Error>),
    /// It ended in another way, which the kind names: `timeout`, `trap`, `memory`, `fuel`, `crash`, or `cancelled` if it
    /// was killed.
    Failed(Box<TaskError>),
}

impl ExitStatus {
    /// Derives the status from the task's outcome and from how its output was cut. `args` are its arguments, as JSON.
    pub(super) fn new(outcome: Outcome, cut: Option<OutputCut>, args: &str) -> Self {
        let (id, attempt) = (outcome.id, outcome.attempts);
        let failed_as = |kind, message: &str| {
            let failure = Failure::new(kind, message);
            Self::Failed(TaskError::new(failure, args, id, attempt).into())
        };
        match (cut, outcome.result) {
            (Some(OutputCut::Unwritten(error)), _) => Self::Unwritten(error),
            (Some(OutputCut::Late), Err(error)) if error.kind == Kind::Timeout => Self::Failed(error.into()),
            (Some(OutputCut::Late), _) => {
                failed_as(Kind::Timeout, "the deadline passed while its output was not read")
            }
            (Some(OutputCut::Killed { lost: true }), _) => failed_as(Kind::Cancelled, "it was killed"),
            (Some(OutputCut::Killed { .. }), Err(error)) if error.kind == Kind::Cancelled => {
                failed_as(Kind::Cancelled, "it was killed")
            }
            (_, Ok(_)) => Self::Exited(0),
            (_, Err(error)) => match (error.kind, error.code) {
                (Kind::Exit, Some(code)) => Self::Exited(code),
                _ => Self::Failed(error.into()),
            },
        }
    }

    /// Returns whether it exited with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// Returns the exit code, if it exited. WASI allows any `i32`, whereas exit codes of Linux end at 255.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(*code),
            Self::Unwritten(_) | Self::Failed(_) => None,
        }
    }

    /// Returns the kind of error of a task that ended in this way: `None` for success, [`Kind::Exit`] for another exit
    /// code, [`Kind::Cancelled`] when its stdout could not be written.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Exited(0) => None,
            Self::Exited(_) => Some(Kind::Exit),
            Self::Unwritten(_) => Some(Kind::Cancelled),
            Self::Failed(error) => Some(error.kind),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Unwritten(error) => write!(f, "its stdout can't be written: {error}"),
            Self::Failed(error) => {
                write!(f, "{}: {}", error.kind, Untrusted::from(&error.message))
            }
        }
    }
}

/// Status, output and resource usage of a child that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout, if that was piped; empty otherwise.
    pub stdout: Vec<u8>,
    /// Its stderr, likewise.
    pub stderr: Vec<u8>,
    /// Whether output was dropped beyond [`Command::max_output`](super::Command::max_output).
    pub truncated: bool,
    /// Its resource usage: wall time, CPU time, peak memory.
    pub usage: Usage,
    pub(super) program: String,
}

impl Output {
    /// Returns the output if the command exited with code 0.
    ///
    /// ```no_run
    /// # fn f(tool: mpwasm::Guest) -> Result<(), mpwasm::Error> {
    /// use mpwasm::command::Command;
    ///
    /// match Command::new(&tool).arg("--check").output()?.check() {
    ///     Ok(output) => println!("{} bytes", output.stdout.len()),
    ///     Err(error) => println!("{error}"), // tool.wasm ended with exit code 2; its stderr ends with: no such option
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Any other status. The message contains the end of stderr. `?` converts it into an [`Error`].
    pub fn check(self) -> Result<Self, CheckError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(CheckError {
            output: Box::new(self),
        })
    }
}

/// A command ended in another way than with exit code 0.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ended with {}{}", Untrusted::from(&output.program), output.status, tail(&output.stderr))]
#[non_exhaustive]
pub struct CheckError {
    /// The output of the command.
    pub output: Box<Output>,
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        Self::Command(error.to_string())
    }
}

/// Returns the end of stderr as one readable line.
fn tail(stderr: &[u8]) -> String {
    let end = stderr.trim_ascii_end();
    let end = &end[end.len().saturating_sub(TAIL)..];
    if end.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&escape_bytes(end)).replace('\n', "\\n");
    format!("; its stderr ends with: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::ids::TaskId;
    use mpwasm_types::outcome::CallbackStatus;

    fn outcome(result: Result<(), Failure>) -> Outcome {
        Outcome {
            id: TaskId(0),
            key: None,
            model: String::new(),
            result: result
                .map(|()| serde_json::value::RawValue::NULL.to_owned())
                .map_err(|failure| TaskError::new(failure, "[]", TaskId(0), 1)),
            attempts: 1,
            tried: Vec::new(),
            usage: Usage::default(),
            callback: CallbackStatus::None,
        }
    }

    fn status(result: Result<(), Failure>, cut: Option<OutputCut>) -> (Option<i32>, Option<Kind>) {
        let status = ExitStatus::new(outcome(result), cut, "[]");
        (status.code(), status.kind())
    }

    #[test]
    fn a_kill_after_the_end_of_a_child_changes_its_status_only_if_output_was_lost() {
        let failed = |kind| Err(Failure::new(kind, ""));
        let (kept, lost) = (
            OutputCut::Killed { lost: false },
            OutputCut::Killed { lost: true },
        );
        let unwritten = OutputCut::Unwritten(Arc::new(io::ErrorKind::StorageFull.into()));
        assert_eq!(status(Ok(()), Some(kept.clone())), (Some(0), None));
        assert_eq!(status(Ok(()), Some(lost)), (None, Some(Kind::Cancelled)));
        assert_eq!(status(Ok(()), Some(unwritten)), (None, Some(Kind::Cancelled)));
        assert_eq!(status(Ok(()), Some(OutputCut::Late)), (None, Some(Kind::Timeout)));
        assert_eq!(
            status(failed(Kind::Cancelled), Some(OutputCut::Late)),
            (None, Some(Kind::Timeout))
        );
        assert_eq!(
            status(failed(Kind::Trap), Some(kept)),
            (None, Some(Kind::Trap)),
            "it had ended before the kill"
        );
    }

    #[test]
    fn the_end_of_stderr_is_shown_on_one_line_and_escaped() {
        assert_eq!(tail(b" \n"), "");
        assert_eq!(
            tail(b"one\n\x1b[2Jtwo\n"),
            "; its stderr ends with: one\\n\\u{1b}[2Jtwo"
        );
        let long = tail(&[b'x'; 2 * TAIL]);
        assert_eq!(long.len(), "; its stderr ends with: ".len() + TAIL);
    }
}
