//! What each of a guest's file descriptors is.
//!
//! The table of descriptors belongs to wasmtime-wasi. It is asked through its own calls, with a small memory of ours in place
//! of the guest's.

use wasmtime_wasi::p1::wasi_snapshot_preview1 as p1;
use wasmtime_wasi::runtime::in_tokio;
use wiggle::GuestMemory;

use super::preview1::errno;
use crate::state::InstanceState;

/// The kind of a guest's file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DescriptorKind {
    Closed,
    Stdin,
    /// Stdout or stderr.
    Output,
    Directory,
    File,
}

/// Returns `len` bytes of `scratch`, with the alignment that wasmtime-wasi needs.
pub(crate) fn aligned(scratch: &mut Vec<u8>, len: usize) -> &mut [u8] {
    scratch.resize(scratch.len().max(len + 8), 0);
    let from = scratch.as_ptr().align_offset(8).min(8);
    &mut scratch[from..from + len]
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of 4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of 8 bytes"))
}

/// `filetype`.
const DIRECTORY: u8 = 3;
/// `rights`: those of stdin, and of stdout and stderr, which have no other. Files and directories have many.
const FD_READ: u64 = 1 << 1;
const FD_WRITE: u64 = 1 << 6;
/// Bytes of an `fdstat` and of a `filestat`.
const FDSTAT: usize = 24;
const FILESTAT: usize = 64;

/// Returns the kind of `fd`. Needs no WASI context: before the first call that makes one, the descriptors are the initial ones.
///
/// # Errors
/// Returns an error if wasmtime-wasi fails, which only ends the call.
pub(crate) fn describe(state: &mut InstanceState, fd: i32) -> wasmtime::Result<DescriptorKind> {
    if !state.has_wasi() {
        let directories = state.granted.all_dirs().count();
        return Ok(match fd.cast_unsigned() as usize {
            0 => DescriptorKind::Stdin,
            1 | 2 => DescriptorKind::Output,
            other if other - 3 < directories => DescriptorKind::Directory,
            _ => DescriptorKind::Closed,
        });
    }
    let mut scratch = Vec::new();
    let own = aligned(&mut scratch, FDSTAT);
    let ctx = state.wasi();
    let errno = in_tokio(p1::fd_fdstat_get(ctx, &mut GuestMemory::Unshared(own), fd, 0))?;
    Ok(match (errno, own[0], u64_at(own, 8)) {
        (errno::BADF, ..) => DescriptorKind::Closed,
        (errno::SUCCESS, DIRECTORY, _) => DescriptorKind::Directory,
        (errno::SUCCESS, _, FD_READ) => DescriptorKind::Stdin,
        (errno::SUCCESS, _, FD_WRITE) => DescriptorKind::Output,
        // Also a file that can't be looked at.
        _ => DescriptorKind::File,
    })
}

/// Returns the number of bytes of the file `fd` after its position, or 0 if that is not known.
///
/// # Errors
/// As [`describe`].
pub(crate) fn left_in_file(state: &mut InstanceState, fd: i32) -> wasmtime::Result<u64> {
    let mut scratch = Vec::new();
    let own = aligned(&mut scratch, FILESTAT + 8);
    let memory = &mut GuestMemory::Unshared(own);
    let ctx = state.wasi();
    let size = in_tokio(p1::fd_filestat_get(ctx, memory, fd, 0))?;
    let position = p1::fd_tell(ctx, memory, fd, FILESTAT as i32)?;
    if (size, position) != (errno::SUCCESS, errno::SUCCESS) {
        return Ok(0);
    }
    Ok(u64_at(own, 32).saturating_sub(u64_at(own, FILESTAT)))
}
