//! Reads and writes that use every buffer of a call.
//!
//! wasmtime-wasi moves the bytes of the first buffer of a call only, and `fd_pread` no more than 64 KiB of it. Both are short
//! transfers, which are legal, but a program that prints with `writev` and does not check the count loses output. The
//! functions here call wasmtime-wasi as often as needed.

use std::ops::Range;

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as p1, WasiSnapshotPreview1 as _};
use wasmtime_wasi::runtime::in_tokio;
use wiggle::GuestMemory;

use super::descriptors::{DescriptorKind, aligned, describe, u32_at};
use super::preview1::{MODULE, errno};
use crate::abi::memory::{memory_and_state, range};
use crate::failure::StopReason;
use crate::state::InstanceState;

/// Largest number of buffers in one call: far more than `IOV_MAX`, which is 1024.
const MAX_BUFFERS: u32 = 1 << 20;
/// Bytes of an `iovec`: a pointer and a length.
const IOVEC: usize = 8;
/// Largest number of bytes that one call moves: the limit of Linux. It keeps the sum of overlapping buffers within an `i32`.
const MAX_TRANSFER: usize = 0x7fff_f000;
/// Largest single buffer that is moved without a copy, in one step between two checks of the deadline: 16 MiB.
const DIRECT: usize = 16 << 20;
/// Number of bytes copied between two checks of the deadline, for several buffers or a very large one: 256 KiB.
const PIECE: usize = 256 << 10;
/// Number of bytes that wasmtime-wasi moves with one `fd_pread`.
const PREAD_PIECE: usize = 64 << 10;
/// Number of bytes that wasmtime-wasi may copy from the guest's memory in one call: more than [`DIRECT`] and
/// [`MAX_BUFFERS`] buffers, so that its own limit is never the cause of a failure.
const HOSTCALL_FUEL: usize = DIRECT + IOVEC * MAX_BUFFERS as usize + (1 << 20);

/// Addresses of the result and of the data in a scratch memory, which starts with an `iovec`.
const SCRATCH_RESULT: usize = 8;
const SCRATCH_DATA: usize = 16;

/// The transfer that a call asks for.
#[derive(Clone, Copy)]
enum Transfer {
    Read,
    Write,
    ReadAt(u64),
    WriteAt(u64),
}

/// Defines reads and writes in place of those of wasmtime-wasi.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.func_wrap(
        MODULE,
        "fd_read",
        |caller: Caller<'_, InstanceState>, fd: i32, buffers: i32, count: i32, result: i32| {
            transfer(caller, Transfer::Read, fd, (buffers, count), result)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |caller: Caller<'_, InstanceState>, fd: i32, buffers: i32, count: i32, result: i32| {
            transfer(caller, Transfer::Write, fd, (buffers, count), result)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pread",
        |caller: Caller<'_, InstanceState>, fd: i32, buffers: i32, count: i32, at: i64, result: i32| {
            let at = Transfer::ReadAt(at.cast_unsigned());
            transfer(caller, at, fd, (buffers, count), result)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pwrite",
        |caller: Caller<'_, InstanceState>, fd: i32, buffers: i32, count: i32, at: i64, result: i32| {
            let at = Transfer::WriteAt(at.cast_unsigned());
            transfer(caller, at, fd, (buffers, count), result)
        },
    )?;
    Ok(())
}

impl Transfer {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "fd_read",
            Self::Write => "fd_write",
            Self::ReadAt(_) => "fd_pread",
            Self::WriteAt(_) => "fd_pwrite",
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadAt(_))
    }

    /// Returns the transfer that continues after `done` bytes, or `None` if no file can be that large.
    fn after(self, done: usize) -> Option<Self> {
        Some(match self {
            Self::ReadAt(at) => Self::ReadAt(at.checked_add(done as u64)?),
            Self::WriteAt(at) => Self::WriteAt(at.checked_add(done as u64)?),
            in_order => in_order,
        })
    }

    /// Returns the number of bytes that one step moves through a copy.
    fn piece(self) -> usize {
        match self {
            Self::ReadAt(_) => PREAD_PIECE,
            _ => PIECE,
        }
    }

    /// Returns whether wasmtime-wasi moves all of a single buffer of `len` bytes with one call.
    fn is_whole(self, len: usize) -> bool {
        match self {
            Self::ReadAt(_) => len <= PREAD_PIECE,
            _ => len <= DIRECT,
        }
    }

    /// Calls wasmtime-wasi with arguments that are addresses in `memory`. Returns the error number.
    fn call(
        self,
        state: &mut InstanceState,
        memory: &mut [u8],
        fd: i32,
        (buffers, count): (i32, i32),
        result: i32,
    ) -> wasmtime::Result<i32> {
        let ctx = state.wasi();
        ctx.set_hostcall_fuel(HOSTCALL_FUEL);
        let memory = &mut GuestMemory::Unshared(memory);
        in_tokio(async {
            match self {
                Self::Read => p1::fd_read(ctx, memory, fd, buffers, count, result).await,
                Self::Write => p1::fd_write(ctx, memory, fd, buffers, count, result).await,
                Self::ReadAt(at) => {
                    p1::fd_pread(ctx, memory, fd, buffers, count, at.cast_signed(), result).await
                }
                Self::WriteAt(at) => {
                    p1::fd_pwrite(ctx, memory, fd, buffers, count, at.cast_signed(), result).await
                }
            }
        })
    }
}

/// Moves bytes between a descriptor and all buffers of a call.
fn transfer(
    mut caller: Caller<'_, InstanceState>,
    transfer: Transfer,
    fd: i32,
    (buffers, count): (i32, i32),
    result: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    if count.cast_unsigned() > MAX_BUFFERS {
        return Ok(errno::INVAL);
    }
    let whole = read_buffers(memory, transfer.name(), buffers, count)?;
    if let [] | [_] = &whole[..]
        && transfer.is_whole(whole.first().map_or(0, Range::len))
    {
        return transfer.call(state, memory, fd, (buffers, count), result);
    }
    let result = range(memory, transfer.name(), result, 4)?;
    match transfer_all(state, memory, transfer, fd, whole)? {
        Ok(done) => {
            // No more than `MAX_TRANSFER`, which is less than 2 GiB.
            memory[result].copy_from_slice(&(done as u32).to_le_bytes());
            Ok(errno::SUCCESS)
        }
        Err(errno) => Ok(errno),
    }
}

/// Returns the buffers of a call that are not empty.
fn read_buffers(
    memory: &[u8],
    name: &str,
    buffers: i32,
    count: i32,
) -> Result<Vec<Range<usize>>, StopReason> {
    // At most `MAX_BUFFERS`, so that this does not overflow.
    let table = range(memory, name, buffers, count * IOVEC as i32)?;
    let number = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("a range of 4 bytes"));
    memory[table]
        .chunks_exact(IOVEC)
        .map(|iovec| range(memory, name, number(&iovec[..4]), number(&iovec[4..])))
        .filter(|buffer| !buffer.as_ref().is_ok_and(Range::is_empty))
        .collect()
}

/// Moves bytes in pieces, through a copy, until all buffers are done or a piece is moved only in part. Returns the number of
/// bytes moved, or the error number if the first piece fails. A later failure ends the transfer and is not reported.
fn transfer_all(
    state: &mut InstanceState,
    memory: &mut [u8],
    transfer: Transfer,
    fd: i32,
    buffers: Vec<Range<usize>>,
) -> wasmtime::Result<Result<usize, i32>> {
    let mut rest = buffers.into_iter().peekable();
    let mut scratch = Vec::new();
    let mut done = 0;
    loop {
        if let Some(interrupt) = state.deadline.interrupted() {
            return Err(StopReason::Interrupted(interrupt).into());
        }
        let parts = next_piece(&mut rest, transfer.piece().min(MAX_TRANSFER - done));
        let wanted = parts.iter().map(Range::len).sum();
        let Some(here) = transfer.after(done).filter(|_| wanted > 0) else {
            return Ok(Ok(done));
        };
        let moved = match move_piece(state, memory, here, fd, &parts, &mut scratch)? {
            Ok(moved) => moved,
            Err(errno) if done == 0 => return Ok(Err(errno)),
            Err(_) => return Ok(Ok(done)),
        };
        done += moved;
        // Do not wait for a stream a second time: more may never come.
        let is_over = moved < wanted
            || matches!(transfer, Transfer::Read)
                && rest.peek().is_some()
                && describe(state, fd)? != DescriptorKind::File;
        if is_over {
            return Ok(Ok(done));
        }
    }
}

/// Takes at most `size` bytes from the front of what is left of the buffers.
fn next_piece(
    rest: &mut std::iter::Peekable<std::vec::IntoIter<Range<usize>>>,
    size: usize,
) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut left = size;
    while left > 0
        && let Some(buffer) = rest.peek_mut()
    {
        let part = buffer.start..buffer.end.min(buffer.start + left);
        left -= part.len();
        buffer.start = part.end;
        if buffer.start == buffer.end {
            rest.next();
        }
        parts.push(part);
    }
    parts
}

/// Moves one piece of a transfer, gathered from or scattered over these parts of the guest's memory.
fn move_piece(
    state: &mut InstanceState,
    memory: &mut [u8],
    transfer: Transfer,
    fd: i32,
    parts: &[Range<usize>],
    scratch: &mut Vec<u8>,
) -> wasmtime::Result<Result<usize, i32>> {
    let len: usize = parts.iter().map(Range::len).sum();
    let own = aligned(scratch, SCRATCH_DATA + len);
    own[..4].copy_from_slice(&(SCRATCH_DATA as u32).to_le_bytes());
    own[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    if !transfer.is_read() {
        let mut at = SCRATCH_DATA;
        for part in parts {
            own[at..at + part.len()].copy_from_slice(&memory[part.clone()]);
            at += part.len();
        }
    }
    let errno = transfer.call(state, own, fd, (0, 1), SCRATCH_RESULT as i32)?;
    if errno != errno::SUCCESS {
        return Ok(Err(errno));
    }
    let moved = (u32_at(own, SCRATCH_RESULT) as usize).min(len);
    if transfer.is_read() {
        let mut data = &own[SCRATCH_DATA..SCRATCH_DATA + moved];
        for part in parts {
            let (now, later) = data.split_at(data.len().min(part.len()));
            memory[part.start..part.start + now.len()].copy_from_slice(now);
            data = later;
        }
    }
    Ok(Ok(moved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rig, ended, fails, runnable};
    use mpwasm_types::outcome::Kind;

    /// Fills a table of `count` buffers at address 0, each of them the same 32 KiB.
    fn overlapping(count: u32) -> String {
        format!(
            "(local $n i32)
             (loop $l
               (i32.store (i32.mul (local.get $n) (i32.const 8)) (i32.const 0))
               (i32.store offset=4 (i32.mul (local.get $n) (i32.const 8)) (i32.const 32768))
               (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))"
        )
    }

    #[test]
    fn buffers_that_are_the_same_are_moved_piece_by_piece_and_end_at_the_deadline() {
        // Nearly 256 MiB for each call, out of one page: the count is written after the last buffer that is used.
        let body = overlapping(8192)
            + "(loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 8191) (i32.const 65528)))
               (br $l)) (i32.const 0)";
        ended(Kind::Timeout, Rig::new(&runnable(&body)).timed());
    }

    #[test]
    fn a_call_moves_what_a_count_can_tell_and_no_more() {
        // 2.5 GiB out of 640 KiB of buffers: the guest returns how many of their 32 KiB were written.
        let body = overlapping(8192)
            + "(drop (memory.grow (i32.const 10)))
               (memory.copy (i32.const 65536) (i32.const 0) (i32.const 65536))
               (memory.copy (i32.const 131072) (i32.const 0) (i32.const 65536))
               (memory.copy (i32.const 196608) (i32.const 0) (i32.const 65536))
               (memory.copy (i32.const 262144) (i32.const 0) (i32.const 262144))
               (memory.copy (i32.const 524288) (i32.const 0) (i32.const 131072))
               (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 81920) (i32.const 655360)))
               (i32.shr_u (i32.load (i32.const 655360)) (i32.const 12))";
        let message = fails(Kind::Error, &body).message;
        assert_eq!(message, format!("the guest returned {}", MAX_TRANSFER >> 12));
    }

    #[test]
    fn a_table_of_buffers_that_is_no_table_is_an_error_or_a_trap() {
        let call = |buffers: i32, count: i32| {
            format!("(call $fd_write (i32.const 1) (i32.const {buffers}) (i32.const {count}) (i32.const 0))")
        };
        for count in [-1, MAX_BUFFERS as i32 + 1] {
            assert_eq!(
                fails(Kind::Error, &call(0, count)).message,
                "the guest returned 28"
            );
        }
        assert!(
            fails(Kind::Trap, &call(65532, 1))
                .message
                .contains("out of bounds")
        );
        assert!(
            fails(Kind::Trap, &call(0, MAX_BUFFERS as i32))
                .message
                .contains("out of bounds")
        );
        // The second buffer is out of bounds: nothing is written.
        let second = "(i32.store offset=4 (i32.const 0) (i32.const 1))
            (i32.store offset=8 (i32.const 0) (i32.const 65536)) (i32.store offset=12 (i32.const 0) (i32.const 1))";
        let message = fails(Kind::Trap, &format!("{second} {}", call(0, 2))).message;
        assert!(message.contains("out of bounds"), "{message}");
    }
}
