//! Names the resource limit behind an error of the system. Part of the library and of the command line.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// An error, with the limit of this process that may have caused it.
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error().and_then(limit_behind) {
        Some(limit) => format!("{error}; {limit}"),
        None => error.to_string(),
    }
}

/// The limit that leads to this error where it is reached: with the option of `ulimit` that sets it, and its value.
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
