//! Drops the privileges of a process: capabilities, its user, the ways to gain privileges again, and access by others.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::AtFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::error::JailError;
use mpwasm_system::probe::in_fork;
use mpwasm_system::process::set_parent_death_signal;
use mpwasm_types::settings::User;

/// Namespaces with no network device but a loopback that is down, and without System V objects.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET.union(CloneFlags::CLONE_NEWIPC);

/// Enters new network and IPC namespaces (step 3). Where the machine does not permit it, seccomp and Landlock still apply: no
/// role may make a system call that connects to a network.
///
/// # Errors
/// When the machine does not permit it.
pub fn enter_namespaces(user: Option<User>) -> nix::Result<()> {
    match unshare(NAMESPACES) {
        // Root may do this directly. Any other user needs a user namespace, which gives the process capabilities until
        // step 5. A process can't change to another user in such a namespace.
        Err(_) if user.is_none() => unshare(NAMESPACES | CloneFlags::CLONE_NEWUSER),
        result => result,
    }
}

/// Why namespaces are not available.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel does not permit them.
    #[error("{}", .0.desc())]
    Refused(nix::errno::Errno),
    /// It cannot be found out.
    #[error(transparent)]
    Probe(io::Error),
}

/// Probes, in a copy of this process, whether [`enter_namespaces`] succeeds. Returns the names of the namespaces.
///
/// # Errors
/// With the reason why it fails.
pub fn probe_namespaces() -> Result<&'static str, NamespaceError> {
    // SAFETY: the closure makes system calls only, and allocates nothing.
    match unsafe { in_fork(|| Ok(enter_namespaces(None)?)) } {
        Ok(Ok(())) => Ok("network and ipc"),
        Ok(Err(errno)) => Err(NamespaceError::Refused(errno)),
        Err(error) => Err(NamespaceError::Probe(error)),
    }
}

/// Changes the user and group of this process, and drops all other groups (step 4).
pub fn become_user(user: User) -> Result<(), JailError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // This order is required: only root can change groups. The functions of the C library apply to all threads.
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|errno| JailError::new("the change of the user", errno))
}

/// Does the same as [`become_user`] for the calling thread alone, by system calls only. In a copy of this process the C
/// library would wait for threads that do not exist there.
fn become_user_in_fork(uid: rustix::process::Uid, gid: rustix::process::Gid) -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Probes whether the processes of a pool can enter this directory after steps 4 and 5. Returns the result of the probe.
/// It is made in a copy of this process, unless this process has no privileges to drop.
///
/// # Errors
/// When the probe can't be made.
pub fn probe_access(dir: BorrowedFd<'_>, user: Option<User>) -> io::Result<nix::Result<()>> {
    let enter = || faccessat(dir, c".", AccessFlags::X_OK, AtFlags::AT_EACCESS);
    if user.is_none() && capabilities(None)?.effective.is_empty() {
        return Ok(enter());
    }
    let ids = user.map(|user| {
        let uid = rustix::process::Uid::from_raw(user.uid);
        (uid, rustix::process::Gid::from_raw(user.gid))
    });
    let drop_and_enter = || {
        if let Some((uid, gid)) = ids {
            become_user_in_fork(uid, gid)?;
        }
        set_capabilities(None, NO_CAPABILITIES)?;
        // The changes above have cleared it. A directory of a network file system may block this copy forever.
        set_parent_death_signal()?;
        Ok(enter()?)
    };
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { in_fork(drop_and_enter) }
}

const NO_CAPABILITIES: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

/// Drops all capabilities (step 5). The bounding set is cleared, too: otherwise a program that root executes would gain all
/// capabilities again.
pub fn drop_capabilities() -> Result<(), JailError> {
    let fail = |errno| JailError::new("the capabilities", errno);
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no higher number. Or the user has no capabilities, and can gain none after step 6.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(errno) => return Err(fail(errno)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(fail)?;
    set_capabilities(None, NO_CAPABILITIES).map_err(fail)
}

/// Makes this process gain no privileges by executing a program (step 6).
pub fn no_new_privileges() -> Result<(), JailError> {
    rustix::thread::set_no_new_privs(true).map_err(|errno| JailError::new("no new privileges", errno))
}

/// Forbids processes of the same user to attach to this one (step 10).
pub fn not_dumpable() -> Result<(), JailError> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| JailError::new("not dumpable", errno))
}
