//! Whether an input was valid.

/// Result of an input. A corpus must contain both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The input was valid: whole frames, a task, or a guest that runs to its end.
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
