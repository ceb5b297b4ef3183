//! Exit codes, and errors with the exit code that they lead to.

use std::{fmt, io};

use mpwasm_system::limit_names::limit_behind;

/// The result of a command line, which is its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: every task and callback succeeded.
    Success,
    /// 1: some task or callback failed, the guest's `tasks` failed, or the run took too long.
    TasksFailed,
    /// 1, of `doctor`: a mandatory layer of the jail is missing, or no task could be run in the jail.
    JailIncomplete,
    /// 2: wrong usage or a bad guest; nothing ran.
    Usage,
    /// 3: mpwasm itself failed.
    Failed,
    /// 129, 130 or 143: a signal ended the run.
    Interrupted(EndSignal),
    /// The exit code of the command of `exec`.
    Command(i32),
    /// 124, of `exec`: the command ran out of time.
    TimedOut,
    /// 125, of `exec`: mpwasm itself failed, or was used wrongly.
    ExecFailed,
    /// 126, of `exec`: a bad guest.
    BadCommand,
    /// 134, of `exec`: the command trapped, or ran out of memory or fuel.
    Trapped,
    /// 141: the reader of stdout or of the records' pipe closed it before everything was written. A shell reports the same
    /// code for a program that SIGPIPE ended.
    Unread,
}

impl Exit {
    /// Returns the number that the shell sees.
    pub const fn code(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::TasksFailed | Self::JailIncomplete => 1,
            Self::Usage => 2,
            Self::Failed => 3,
            Self::Interrupted(EndSignal::Hangup) => 129,
            Self::Interrupted(EndSignal::Interrupt) => 130,
            Self::Interrupted(EndSignal::Terminate) => 143,
            Self::Command(code @ 0..=255) => code,
            // An exit code has 8 bits. Truncated, this one could become that of success.
            Self::Command(_) => 255,
            Self::TimedOut => 124,
            Self::ExecFailed => 125,
            Self::BadCommand => 126,
            Self::Trapped => 134,
            Self::Unread => 141,
        }
    }
}

/// A signal that ends mpwasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// An error with the exit code that it leads to.
#[derive(Debug)]
pub struct ExitError {
    /// The exit code.
    pub exit: Exit,
    /// The error.
    pub error: anyhow::Error,
}

impl ExitError {
    /// Returns a failure for wrong usage or a bad guest: exit code 2.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// Returns a failure of mpwasm itself: exit code 3.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Failed,
            error: error.into(),
        }
    }

    /// Returns the failure for an error of loading or inspecting a guest: wrong usage, or mpwasm's own failure for errors that
    /// are not the guest's fault.
    pub fn of_guest(error: mpwasm::Error) -> Self {
        use mpwasm::Error;
        match error {
            Error::InitMissing
            | Error::Jail { .. }
            | Error::Start { .. }
            | Error::Io(_)
            | Error::TooManyGuests { .. }
            | Error::Closed
            | Error::PoolFailed { .. }
            | Error::DispatcherDied { .. }
            | Error::Report { .. } => Self::internal(error),
            _ => Self::usage(error),
        }
    }
}

/// Returns the exit code of a command line that could not be parsed, or that asked for help.
pub fn of_usage(error: &clap::Error, is_exec: bool) -> i32 {
    let exit = match error.exit_code() {
        0 => Exit::Success,
        // 2 could be the exit code of the command.
        _ if is_exec => Exit::ExecFailed,
        _ => Exit::Usage,
    };
    exit.code()
}

/// Converts errors to [`ExitError`]s with an exit code.
pub trait OrExit<T> {
    /// Marks an error as wrong usage: exit code 2.
    fn or_usage(self) -> Result<T, ExitError>;
    /// Marks an error as a failure of mpwasm: exit code 3.
    fn or_internal(self) -> Result<T, ExitError>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, ExitError> {
        self.map_err(ExitError::usage)
    }

    fn or_internal(self) -> Result<T, ExitError> {
        self.map_err(ExitError::internal)
    }
}

/// Returns whether an error only means that the pool has ended.
pub fn has_pool_ended(error: &mpwasm::Error) -> bool {
    use mpwasm::Error;
    matches!(
        error,
        Error::Closed | Error::PoolFailed { .. } | Error::DispatcherDied { .. } | Error::Report { .. }
    )
}

/// Returns an error and its causes in one line, with the resource limit that may have caused it.
pub fn error_line(error: &anyhow::Error) -> String {
    let errno = error.chain().find_map(|cause| {
        let in_pool_error = cause.downcast_ref().and_then(|error| match error {
            mpwasm::Error::Io(error) | mpwasm::Error::Read { error, .. } => Some(error),
            _ => None,
        });
        in_pool_error
            .or(cause.downcast_ref::<io::Error>())?
            .raw_os_error()
    });
    match errno.and_then(limit_behind) {
        Some(limit) => format!("{error:#}; {limit}"),
        None => format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_exit_has_its_documented_code() {
        let endings = [
            (Exit::Success, 0),
            (Exit::TasksFailed, 1),
            (Exit::JailIncomplete, 1),
            (Exit::Usage, 2),
            (Exit::Failed, 3),
            (Exit::Interrupted(EndSignal::Hangup), 129),
            (Exit::Interrupted(EndSignal::Interrupt), 130),
            (Exit::Interrupted(EndSignal::Terminate), 143),
            (Exit::Command(0), 0),
            (Exit::Command(255), 255),
            (Exit::Command(256), 255),
            (Exit::Command(-1), 255),
            (Exit::TimedOut, 124),
            (Exit::ExecFailed, 125),
            (Exit::BadCommand, 126),
            (Exit::Trapped, 134),
            (Exit::Unread, 141),
        ];
        for (exit, code) in endings {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn a_guest_that_cannot_be_loaded_is_a_usage_error_and_a_dead_dispatcher_is_not() {
        let bad = mpwasm::Error::InvalidArgs(mpwasm::InputError::NotArray);
        assert_eq!(ExitError::of_guest(bad).exit, Exit::Usage);
        let dead = mpwasm::Error::DispatcherDied("signal 9".into());
        assert_eq!(ExitError::of_guest(dead).exit, Exit::Failed);
    }

    #[test]
    fn an_error_line_has_all_causes() {
        let error = anyhow!("cause").context("what was attempted");
        assert_eq!(error_line(&error), "what was attempted: cause");
    }
}
