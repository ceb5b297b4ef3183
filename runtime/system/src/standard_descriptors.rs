//! Opens standard descriptors that are closed.
//!
//! Otherwise a file that mpwasm opens could get the number of stdout, and output would be written to it.

use std::ffi::c_int;

/// Opens /dev/null for each closed standard descriptor: stdin for writing only, stdout and stderr for reading only. So reads from
/// stdin and writes to stdout and stderr fail as if it were still closed.
pub fn fill() {
    for descriptor in 0..=2 {
        // SAFETY: F_GETFD accepts any number.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            let access: c_int = if descriptor == 0 {
                libc::O_WRONLY
            } else {
                libc::O_RDONLY
            };
            // SAFETY: the path is a C string. The new descriptor is the lowest free number: this one.
            unsafe { libc::open(c"/dev/null".as_ptr(), access) };
        }
    }
}
