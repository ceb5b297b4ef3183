//! Memory files that nobody can change any more.

use std::fs::File;
use std::io::{self, Write};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::inherited::{self, explained};
use crate::process::role;

/// Makes a sealed memory file of `bytes`: nobody can change it any more, who maps it may rely on that.
///
/// # Errors
/// When there is no memory or descriptor for it.
pub fn sealed_memory(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<File> {
    sealed_memory_of(name, |file| file.write_all(bytes))
}

/// As [`sealed_memory`], with what `fill` writes.
///
/// # Errors
/// When there is no memory or descriptor for it, and whatever `fill` returns.
pub fn sealed_memory_of(
    name: &std::ffi::CStr,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map_err(|errno| explained(errno.into()))?;
    let mut file = File::from(fd);
    // A memory file counts against the limit of the size of files. Children ignore the signal of that, and the jail of
    // most lacks the system calls of a shield.
    let filled = match role() {
        None => inherited::shielded(|| fill(&mut file)),
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
