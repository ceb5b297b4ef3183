//! The source of a run's tasks: a stream of lines, lists of inputs, args, or the guests' `tasks` exports.

use serde_json::value::RawValue;

use crate::run::input::combinations::Combinations;
use crate::run::input::lines::InputLines;
use crate::run::input::task_template::TaskTemplate;
use crate::terminal::stdio::BlockingFile;

/// The source of a run's tasks.
pub enum TaskSource {
    /// Lines of a stream.
    Lines {
        /// The lines.
        lines: InputLines<BlockingFile>,
        /// The name of the file, for messages.
        name: String,
        /// The format of a line.
        form: LineFormat,
    },
    /// Inputs from the command line.
    Listed(Vec<String>, InputExpansion),
    /// The args of each task, from the command line.
    Args(Vec<Box<RawValue>>),
    /// The guests' `tasks` exports.
    GuestExport,
}

/// The format of a line.
#[derive(Debug)]
pub enum LineFormat {
    /// A task line.
    Task,
    /// An input of the first list.
    Input(InputExpansion),
}

/// How the inputs of the first list become tasks.
#[derive(Clone, Debug)]
pub struct InputExpansion {
    /// The template of tasks.
    pub template: TaskTemplate,
    /// The other lists of inputs.
    pub others: Combinations,
    /// Whether an input ends with a zero byte instead of a newline.
    pub null: bool,
}

/// Why a line is no task or input.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is not UTF-8, first at this byte, counted from 1.
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// The stream is UTF-16.
    #[error("it begins with the byte-order mark of UTF-16: tasks have to be UTF-8")]
    Utf16,
    /// It is longer than the limit.
    #[error("longer than --max-args allows")]
    TooLong,
}

/// Returns the input in a line of a file. `null` is true if inputs end with a zero byte.
///
/// # Errors
/// When it is not UTF-8.
pub fn input(line: &[u8], null: bool) -> Result<&str, LineError> {
    let line = line.strip_suffix(b"\r").filter(|_| !null).unwrap_or(line);
    str::from_utf8(line).map_err(|error| LineError::NotUtf8(error.valid_up_to() + 1))
}
