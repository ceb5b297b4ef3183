//! Scratch directories: for each worker process that there can be at once, a file system of its own, in memory, which is
//! mounted nowhere.
//!
//! The kernel keeps it to its size, whatever a worker does that was taken over, and it is gone with the last process that
//! holds it, however that ends: nothing of it is on a disk, but in swap. Nothing in it is executed, and no device in it works.
//! The dispatcher makes them all while it still has the right to: as root, or as the root of a user namespace of its own.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::JailError;
use crate::settings::User;

/// Entries that it can have, besides one for each [`BYTES_PER_ENTRY`] of its size: each costs memory that does not count
/// as its contents.
const LEAST_ENTRIES: u64 = 64;
/// Entries are counted as if each had so many bytes.
const BYTES_PER_ENTRY: u64 = 4 << 10;
/// More entries than this would take longer to be cleared away than a worker may take to claim its next task.
const MOST_ENTRIES: u64 = 16 << 10;

/// Makes so many of them, of `size` bytes each, which belong to `user`, or else to who this process is.
///
/// The process has one thread. Where it is an ordinary user's, it is in a user namespace of its own afterwards.
///
/// # Errors
/// When the machine does not let this user mount anything, or is out of memory or descriptors.
pub fn make(count: u32, size: u64, user: Option<User>) -> Result<Vec<OwnedFd>, JailError> {
    let fail = |why: &dyn std::fmt::Display| JailError::new("a scratch directory", why);
    if count > 0 && matches!(one(size, user), Err(rustix::io::Errno::PERM)) {
        own_namespace().map_err(|error| fail(&error))?;
    }
    (0..count)
        .map(|_| one(size, user).map_err(|errno| fail(&errno)))
        .collect()
}

fn one(size: u64, user: Option<User>) -> rustix::io::Result<OwnedFd> {
    let entries = (size / BYTES_PER_ENTRY + LEAST_ENTRIES).min(MOST_ENTRIES);
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &str| fsconfig_set_string(&context, key, value);
    set("size", &size.to_string())?;
    set("nr_inodes", &entries.to_string())?;
    set("mode", "0700")?;
    if let Some(user) = user {
        set("uid", &user.uid.to_string())?;
        set("gid", &user.gid.to_string())?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A user namespace in which this user is who it was before, and may mount.
fn own_namespace() -> std::io::Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    // In this order: whoever may still change groups may not be given one.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}
