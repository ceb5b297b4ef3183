//! Sealed memory files (memfd_create(2)).

use std::fs::File;
use std::io::{self, Write};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::inherited::{self, explained};
use crate::process::role;

/// Creates a sealed memory file of `bytes`. No process can change it, so it can be mapped safely.
///
/// # Errors
/// Fails without memory or a descriptor for the file.
pub fn sealed_memory(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<File> {
    sealed_memory_of(name, |file| file.write_all(bytes))
}

/// Like [`sealed_memory`], with the contents that `fill` writes.
///
/// # Errors
/// Fails without memory or a descriptor for the file, or if `fill` does.
pub fn sealed_memory_of(
    name: &std::ffi::CStr,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map_err(|errno| explained(errno.into()))?;
    let mut file = File::from(fd);
    // The limit of file sizes (RLIMIT_FSIZE) covers memory files. Children ignore its signal, and most sandboxes forbid the system
    // calls to block it.
    let filled = match role() {
        None => inherited::without_signals(|| fill(&mut file)),
        Some(_) => fill(&mut file),
    };
    filled.map_err(|error| {
        let (kind, name) = (error.kind(), name.to_string_lossy());
        io::Error::new(
            kind,
            format!("the memory file {name} can't be written: {}", explained(error)),
        )
    })?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}
