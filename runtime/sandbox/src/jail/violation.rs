//! Reports the number of a forbidden system call before SIGSYS ends the process.
//!
//! The filters answer a forbidden system call with SIGSYS instead of killing the process, which then could report nothing.
//! The handler stores the number of the system call in the page that a worker shares with the dispatcher, and writes its
//! name to the diagnostics. Then it raises the signal again with the default action, which ends the process. The system
//! call itself is never made. The handler can't be replaced, since the filters forbid it. It runs once: if code that has
//! taken over the process avoids its end, the next forbidden system call has the default action.

use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::error::JailError;
use mpwasm_types::role::Role;

/// Points to where the number of a forbidden system call is stored, plus one; null if it is not stored.
static CELL: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The role of this process, as an index, for the message of the handler.
static ROLE: AtomicU32 = AtomicU32::new(0);

/// Makes the handler store the number of a forbidden system call in `cell`, plus one.
///
/// # Safety
/// `cell` must stay valid as long as this process lives.
pub unsafe fn report_in(cell: *const AtomicU64) {
    CELL.store(cell.cast_mut(), Ordering::Release);
}

/// Returns the name of a system call on this architecture, or its number.
#[must_use]
pub fn name(call: u64) -> String {
    let known = usize::try_from(call).ok().and_then(syscalls::Sysno::new);
    known.map_or_else(|| format!("number {call}"), |call| call.name().to_owned())
}

/// Installs the handler of SIGSYS.
pub fn install_handler(role: Role) -> Result<(), JailError> {
    ROLE.store(role as u32, Ordering::Relaxed);
    // SAFETY: all zeroes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_violation as *const () as usize;
    // The default action is restored when the handler starts, and the signal is not blocked in it.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
    // SAFETY: the action is valid, and the handler is async-signal-safe: it uses atomics and system calls only.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(JailError::new("seccomp", std::io::Error::last_os_error()))
    }
}

/// The beginning of `siginfo_t` for SIGSYS (signal(7), `_sigsys`); the `libc` crate has no names for these fields.
#[repr(C)]
struct SigsysInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    address: usize,
    call: c_int,
}

/// The code of a SIGSYS that a filter has raised (`asm-generic/siginfo.h`).
const SYS_SECCOMP: c_int = 1;

extern "C" fn on_violation(_signal: c_int, info: *const SigsysInfo, _context: *const ()) {
    // SAFETY: the kernel passes a valid siginfo_t, of which this is the beginning for this signal.
    let (code, call) = unsafe { ((*info).code, (*info).call) };
    // Another process could have sent the signal. Then it names no system call.
    if code == SYS_SECCOMP {
        let call = u64::from(call.cast_unsigned());
        let cell = CELL.load(Ordering::Acquire);
        if !cell.is_null() {
            // SAFETY: the caller of `report_in` promises that it is valid as long as this process lives.
            unsafe { (*cell).store(call + 1, Ordering::Release) };
        }
        write_message(call);
    }
    // SAFETY: system calls without pointers. Should the first one fail, the second ends the process.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGSYS);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// Writes one line to stderr, without allocating.
fn write_message(call: u64) {
    let known = usize::try_from(call).ok().and_then(syscalls::Sysno::new);
    let role = Role::ALL
        .get(ROLE.load(Ordering::Relaxed) as usize)
        .map_or("", |role| role.name());
    let mut line = [0_u8; 160];
    let mut length = 0;
    let mut digits = [b'0'; 20];
    let number = decimal(call, &mut digits);
    for part in [
        "mpwasm ",
        role,
        ": it made the system call ",
        known.map_or("number", |call| call.name()),
        " (",
        number,
        "), which its jail forbids\n",
    ] {
        let part = part.as_bytes();
        let room = line.len() - length;
        let taken = part.len().min(room);
        line[length..length + taken].copy_from_slice(&part[..taken]);
        length += taken;
    }
    // SAFETY: the buffer is valid for the length. An error is ignored, since the process ends in any case.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length) };
}

/// Formats a number without allocating.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || start == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_name() {
        assert_eq!(name(libc::SYS_openat.cast_unsigned()), "openat");
        assert_eq!(name(1 << 40), "number 1099511627776");
    }

    #[test]
    fn numbers_are_formatted_without_an_allocator() {
        for number in [0, 7, 10, 257, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string());
        }
    }
}
