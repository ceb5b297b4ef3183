//! How an attack ended.

use std::io;

/// The result of an attempt.
pub enum Attempted {
    /// The system call succeeded.
    Succeeded,
    /// The kernel refused it, with this error.
    Refused(io::Error),
    /// There is no such attack.
    Unknown,
}

/// Returns the result of a system call that returned this.
pub fn result(returned: libc::c_long) -> Attempted {
    match returned {
        -1 => Attempted::Refused(io::Error::last_os_error()),
        _ => Attempted::Succeeded,
    }
}
