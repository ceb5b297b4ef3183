//! Rights that a process gives up: capabilities, its user, the ways to get rights back, and what others may do to it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::AtFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::JailError;
use mpwasm_system::probe::in_fork;
use mpwasm_system::process::set_parent_death_signal;
use mpwasm_types::settings::User;

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

/// Whether [`enter_namespaces`] does something here: tried by a copy of this process.
///
/// # Errors
/// With why it does not.
pub fn try_namespaces() -> Result<&'static str, String> {
    // SAFETY: these are system calls and nothing else.
    match unsafe { in_fork(|| Ok(enter_namespaces(None)?)) } {
        Ok(Ok(())) => Ok("network and ipc"),
        Ok(Err(errno)) => Err(errno.desc().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Step 4.
pub fn become_user(user: User) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // In this order: whoever is no longer root can't change groups. These are the C library's, which ask it of every thread.
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|errno| JailError::new("the change of the user", errno))
}

/// As [`become_user`], of the calling thread alone, by system calls and nothing else: for a copy of this process, in which
/// the C library would wait for threads that are not there.
fn become_user_in_a_copy(uid: rustix::process::Uid, gid: rustix::process::Gid) -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Whether the pool's processes can enter this directory when they have taken steps 4 and 5: tried by a copy of this
/// process, where it has rights to give up. What is returned within is whether they can.
///
/// # Errors
/// With why it can't be tried.
pub fn try_to_enter(dir: BorrowedFd<'_>, user: Option<User>) -> io::Result<nix::Result<()>> {
    let enter = || faccessat(dir, c".", AccessFlags::X_OK, AtFlags::AT_EACCESS);
    if user.is_none() && capabilities(None)?.effective.is_empty() {
        return Ok(enter());
    }
    let ids = user.map(|user| {
        let uid = rustix::process::Uid::from_raw(user.uid);
        (uid, rustix::process::Gid::from_raw(user.gid))
    });
    let as_they_are = || {
        if let Some((uid, gid)) = ids {
            become_user_in_a_copy(uid, gid)?;
        }
        set_capabilities(None, NONE)?;
        // Anew, as for any child. A directory of somebody else's file system may keep whoever asks waiting.
        set_parent_death_signal()?;
        Ok(enter()?)
    };
    // SAFETY: these are system calls and nothing else.
    unsafe { in_fork(as_they_are) }
}

const NONE: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

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
    set_capabilities(None, NONE).map_err(fail)
}

/// Step 6.
pub fn no_new_privileges() -> Result<(), JailError> {
    rustix::thread::set_no_new_privs(true).map_err(|errno| JailError::new("no new privileges", errno))
}

/// Step 10.
pub fn not_dumpable() -> Result<(), JailError> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| JailError::new("not dumpable", errno))
}
