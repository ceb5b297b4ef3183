//! Who makes a forbidden system call dies of SIGSYS, and says before which call it was.
//!
//! The filters answer with a signal instead of the kill itself, since a process that is killed can't be asked. The
//! handler writes the call's number where the dispatcher finds it (the page that it shares with a worker) and its name
//! to the diagnostics, and then lets the signal's default action end the process. It can't be replaced: the filters
//! let nobody install another one. And it works once: should whoever took the process over get around it, the next
//! forbidden call finds the default action. The call itself is never made.

use std::ffi::c_int;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::JailError;
use mpwasm_types::role::Role;

/// Where the number of a forbidden call is left, plus one; null where nobody looks.
static CELL: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The role of this process, as an index, for the handler's message.
static ROLE: AtomicU32 = AtomicU32::new(0);

/// Leaves the number of a forbidden call in `cell`, plus one.
///
/// # Safety
/// `cell` must stay valid as long as this process lives.
pub unsafe fn leave_number_in(cell: *const AtomicU64) {
    CELL.store(cell.cast_mut(), Ordering::Release);
}

/// The name of a system call on this architecture, or its number.
#[must_use]
pub fn name(call: u64) -> String {
    let known = usize::try_from(call).ok().and_then(syscalls::Sysno::new);
    known.map_or_else(|| format!("number {call}"), |call| call.name().to_owned())
}

/// Installs the handler.
pub fn tell_of_violations(role: Role) -> Result<(), JailError> {
    ROLE.store(role as u32, Ordering::Relaxed);
    // SAFETY: all zeroes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_violation as *const () as usize;
    // The default action comes back as the handler begins, and the signal is not held back in it.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
    // SAFETY: the action is valid, and the handler keeps to what a handler may do: atomics and system calls.
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

/// The code of a SIGSYS that a filter sent (`asm-generic/siginfo.h`).
const SYS_SECCOMP: c_int = 1;

extern "C" fn on_violation(_signal: c_int, info: *const SigsysInfo, _context: *const ()) {
    // SAFETY: the kernel passes a valid siginfo_t, of which this is the beginning for this signal.
    let (code, call) = unsafe { ((*info).code, (*info).call) };
    // Anybody of the same user could send the signal, and then it names no call.
    if code == SYS_SECCOMP {
        let call = u64::from(call.cast_unsigned());
        let cell = CELL.load(Ordering::Acquire);
        if !cell.is_null() {
            // SAFETY: `leave_number_in` promises that it is valid as long as this process lives.
            unsafe { (*cell).store(call + 1, Ordering::Release) };
        }
        say(call);
    }
    // SAFETY: system calls without pointers. Whatever becomes of the first two, the last one ends the process.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGSYS);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// One line on stderr, without allocating.
fn say(call: u64) {
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
    // SAFETY: the buffer is valid for the length. A line that can't be written is no reason to do anything else.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length) };
}

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
    fn numbers_are_written_without_an_allocator() {
        for number in [0, 7, 10, 257, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string());
        }
    }
}
