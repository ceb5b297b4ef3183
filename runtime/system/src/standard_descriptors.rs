//! Keeps the numbers of the three standard descriptors taken. Part of the library and of the command line.
//!
//! A descriptor that mpwasm opens while one of them is closed would get its number, and what is written to stdout would
//! go there.

use std::ffi::c_int;

/// Opens /dev/null for each of them that is closed: such that reads from stdin and writes to stdout and stderr fail as if
/// they were still closed.
pub fn fill() {
    for descriptor in 0..=2 {
        // SAFETY: it asks for the flags of a number, which need not be a descriptor.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            let access: c_int = if descriptor == 0 {
                libc::O_WRONLY
            } else {
                libc::O_RDONLY
            };
            // SAFETY: the path is a string of C. The descriptor that results is the lowest that is free: this one.
            unsafe { libc::open(c"/dev/null".as_ptr(), access) };
        }
    }
}
