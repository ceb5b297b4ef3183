//! Names the resource limit behind a system error.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Formats an error with the limit of this process that may have caused it.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error().and_then(limit_behind) {
        Some(limit) => format!("{error}; {limit}"),
        None => error.to_string(),
    }
}

/// Describes the limit that causes this error when it is reached, with its `ulimit` option and its value. `None` if there is no
/// such limit.
#[must_use]
pub fn limit_behind(errno: i32) -> Option<String> {
    let (resource, what, unit) = match errno {
        libc::EMFILE => (Resource::RLIMIT_NOFILE, "open files (ulimit -n)", ""),
        libc::EFBIG => (Resource::RLIMIT_FSIZE, "the size of files (ulimit -f)", " bytes"),
        libc::EAGAIN => (
            Resource::RLIMIT_NPROC,
            "processes and threads of this user (ulimit -u)",
            "",
        ),
        libc::ENOMEM => (Resource::RLIMIT_AS, "address space (ulimit -v)", " bytes"),
        _ => return None,
    };
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != RLIM_INFINITY).then(|| format!("the limit of {what} is {soft}{unit}"))
}
