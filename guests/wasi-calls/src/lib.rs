//! Code that the commands share: granted directories, files and buffers.

use wasi::{Ciovec, Errno, Fd, Iovec, Oflags, Rights};

/// The descriptor of the first granted directory.
pub const ROOT: Fd = 3;

/// The rights to read and to write.
pub const BOTH: Rights = wasi::RIGHTS_FD_READ | wasi::RIGHTS_FD_WRITE;

/// Opens a file in the granted directory.
///
/// # Errors
/// Returns the error of the WASI call.
pub fn open(path: &str, how: Oflags, rights: Rights) -> Result<Fd, Errno> {
    // SAFETY: the path is valid during the call.
    unsafe { wasi::path_open(ROOT, 0, path, how, rights, 0, 0) }
}

/// Creates a file with this content, open for reading and writing. The position is at its end.
///
/// # Panics
/// When the file can't be created.
#[must_use]
pub fn file(path: &str, content: &[u8]) -> Fd {
    let fd = open(path, wasi::OFLAGS_CREAT | wasi::OFLAGS_TRUNC, BOTH).expect("a file can be made");
    assert_eq!(write(fd, content), Ok(content.len()));
    fd
}

/// Writes bytes.
///
/// # Errors
/// Returns the error of the WASI call.
pub fn write(fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the bytes are valid during the call.
    unsafe { wasi::fd_write(fd, &[from(bytes)]) }
}

/// Reads at most a hundred bytes.
///
/// # Errors
/// Returns the error of the WASI call.
pub fn read(fd: Fd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 100];
    // SAFETY: the buffer is valid during the call, and nothing else uses it.
    let len = unsafe { wasi::fd_read(fd, &[into(&mut bytes)])? };
    bytes.truncate(len);
    Ok(bytes)
}

/// Returns a buffer for calls that read from memory.
#[must_use]
pub fn from(bytes: &[u8]) -> Ciovec {
    Ciovec {
        buf: bytes.as_ptr(),
        buf_len: bytes.len(),
    }
}

/// Returns a buffer for calls that write to memory.
#[must_use]
pub fn into(bytes: &mut [u8]) -> Iovec {
    Iovec {
        buf: bytes.as_mut_ptr(),
        buf_len: bytes.len(),
    }
}
