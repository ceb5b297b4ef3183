//! Makes scratch directories: as root, or as the root of a user namespace of its own.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use mpwasm_system::probe::in_fork;
use mpwasm_types::settings::User;

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
pub fn make(count: u32, size: u64, user: Option<User>) -> io::Result<Vec<OwnedFd>> {
    let (options, own) = (Options::new(size, user), Namespace::of_this_user());
    (0..count).map(|_| one(&options, &own)).collect()
}

/// Whether a process like this one can [`make`] some for this user: tried by a copy of this process. What is returned within
/// is whether it can.
///
/// # Errors
/// With why it can't be tried.
pub fn try_to_make(size: u64, user: Option<User>) -> io::Result<nix::Result<()>> {
    let (options, own) = (Options::new(size, user), Namespace::of_this_user());
    // SAFETY: these are system calls and nothing else.
    unsafe { in_fork(|| one(&options, &own).map(drop)) }
}

/// Makes one, and where this process may not, enters a namespace of its own for that. These are system calls and nothing
/// else.
fn one(options: &Options, own: &Namespace) -> io::Result<OwnedFd> {
    match mount(options) {
        Err(Errno::PERM) => {
            own.enter()?;
            Ok(mount(options)?)
        }
        made => Ok(made?),
    }
}

/// A user namespace in which this process may mount, and is who it was before.
struct Namespace {
    uid_map: String,
    gid_map: String,
}

impl Namespace {
    fn of_this_user() -> Self {
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        Self {
            uid_map: format!("{user} {user} 1"),
            gid_map: format!("{group} {group} 1"),
        }
    }

    fn enter(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        // In this order: whoever may still change groups may not be given one.
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", &self.uid_map)?;
        std::fs::write("/proc/self/gid_map", &self.gid_map)
    }
}

/// How they are made, in the words of the file system.
struct Options(Vec<(&'static CStr, CString)>);

impl Options {
    fn new(size: u64, user: Option<User>) -> Self {
        let entries = (size / BYTES_PER_ENTRY + LEAST_ENTRIES).min(MOST_ENTRIES);
        let owner = user.map(|user| [(c"uid", user.uid.into()), (c"gid", user.gid.into())]);
        let numbers = [(c"size", size), (c"nr_inodes", entries)].into_iter();
        let texts = numbers.chain(owner.into_iter().flatten()).map(|(name, number)| {
            let text = CString::new(number.to_string()).expect("digits");
            (name, text)
        });
        Self([(c"mode", c"0700".to_owned())].into_iter().chain(texts).collect())
    }
}

/// These are system calls and nothing else.
fn mount(options: &Options) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in &options.0 {
        fsconfig_set_string(&context, *name, value)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
