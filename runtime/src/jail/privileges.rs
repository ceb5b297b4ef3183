//! Rights that a process gives up: capabilities, its user, the ways to get rights back, and what others may do to it.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::JailError;
use crate::settings::User;

/// A network without any device but a loopback that is down, and no System V objects.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWIPC);

/// Step 3. Where the machine does not permit it, seccomp and Landlock stand alone: no role has a socket call that could
/// reach a network.
pub fn enter_namespaces() {
    // Root can; whoever else must be root of a user namespace of their own, in which they are nobody. Those rights go
    // with step 5.
    let _ = unshare(NAMESPACES).or_else(|_| unshare(NAMESPACES | CloneFlags::CLONE_NEWUSER));
}

/// Whether [`enter_namespaces`] does something here: tried by a process of its own.
///
/// # Errors
/// With why it does not.
pub fn try_namespaces() -> Result<&'static str, String> {
    let root = nix::unistd::geteuid().is_root();
    let flags = if root {
        NAMESPACES
    } else {
        NAMESPACES | CloneFlags::CLONE_NEWUSER
    };
    // SAFETY: the child makes two system calls that need no memory and no lock, and ends.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => {
            let code = unshare(flags).map_or_else(|errno| errno as i32, |()| 0);
            // SAFETY: _exit takes any code and has no precondition.
            unsafe { libc::_exit(code) }
        }
        Ok(nix::unistd::ForkResult::Parent { child }) => match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok("network and ipc"),
            Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => {
                Err(nix::errno::Errno::from_raw(code).desc().to_owned())
            }
            _ => Err("it can't be tried".to_owned()),
        },
        Err(errno) => Err(errno.desc().to_owned()),
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
