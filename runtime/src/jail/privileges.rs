//! Rights that a process gives up: capabilities, its user, the ways to get rights back, and what others may do to it.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::JailError;
use crate::settings::User;

/// A network without any device but a loopback that is down, and no System V objects.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWIPC);

/// Step 3. Where the machine does not permit it, seccomp and Landlock stand alone: no role has a socket call that could
/// reach a network.
///
/// # Errors
/// With why the machine does not.
pub fn enter_namespaces(user: Option<User>) -> nix::Result<()> {
    match unshare(NAMESPACES) {
        // Root can; whoever else must be root of a user namespace of their own, in which they are nobody. Those rights
        // go with step 5. But nobody can become another user in there.
        Err(_) if user.is_none() => unshare(NAMESPACES | CloneFlags::CLONE_NEWUSER),
        result => result,
    }
}

/// Whether [`enter_namespaces`] does something here: tried by a process of its own.
///
/// # Errors
/// With why it does not.
pub fn try_namespaces() -> Result<&'static str, String> {
    // Not the C library's fork: that runs what other parts of this program have registered for it.
    // SAFETY: like a fork, with all of the process's memory copied. The child makes system calls that need no memory
    // and no lock, and ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize, 0_usize, 0_usize, 0_usize) };
    match pid {
        0 => {
            let code = enter_namespaces(None).map_or_else(|errno| errno as i32, |()| 0);
            // SAFETY: _exit takes any code and has no precondition.
            unsafe { libc::_exit(code) }
        }
        -1 => Err(Errno::last().desc().to_owned()),
        pid => match wait_for(Pid::from_raw(pid as i32)) {
            Some(0) => Ok("network and ipc"),
            Some(code) => Err(Errno::from_raw(code).desc().to_owned()),
            None => Err("it can't be tried".to_owned()),
        },
    }
}

/// Waits for a child's exit code; `None` when it has none.
fn wait_for(child: Pid) -> Option<i32> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Some(code),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    }
}

/// Step 4.
pub fn become_user(user: User) -> Result<(), JailError> {
    let fail = |errno| JailError::new("the change of the user", errno);
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // In this order: whoever is no longer root can't change groups.
    setgroups(&[]).map_err(fail)?;
    setresgid(gid, gid, gid).map_err(fail)?;
    setresuid(uid, uid, uid).map_err(fail)
}

/// Step 5. The bounding set goes too: with it a program started by root would get all of them again.
pub fn drop_capabilities() -> Result<(), JailError> {
    let fail = |errno| JailError::new("the capabilities", errno);
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no more; or this is an ordinary user, who has none and, with the next step, gets none.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(errno) => return Err(fail(errno)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(fail)?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(fail)
}

/// Step 6.
pub fn no_new_privileges() -> Result<(), JailError> {
    rustix::thread::set_no_new_privs(true).map_err(|errno| JailError::new("no new privileges", errno))
}

/// Step 7, and at the start of every child: asks for SIGKILL when the thread that started this process ends. The kernel
/// forgets it when this process's rights change.
///
/// # Errors
/// When the kernel refuses.
pub fn die_with_starter() -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
}

/// Step 10.
pub fn not_dumpable() -> Result<(), JailError> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| JailError::new("not dumpable", errno))
}
