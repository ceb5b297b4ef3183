//! [`WaitLimit`]: how long an operation may wait.

use std::time::Duration;

/// How long an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitLimit {
    /// Not at all.
    Never,
    /// At most this long.
    For(Duration),
    /// Until it can be done, or the manager ends.
    Forever,
}

impl WaitLimit {
    /// Returns the timeout that a request carries.
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Self::Never => Some(Duration::ZERO),
            Self::For(timeout) => Some(timeout),
            Self::Forever => None,
        }
    }
}
