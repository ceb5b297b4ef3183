//! Creates scratch directories: as root, or as the root of a new user namespace.

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

/// Smallest limit of entries: 64. An entry takes memory that does not count as contents, so their number is limited, too.
const MIN_ENTRIES: u64 = 64;
/// Size for which the limit grows by one entry: 4 KiB, a page.
const BYTES_PER_ENTRY: u64 = 4 << 10;
/// Largest limit of entries: 16384. To remove more would take longer than a worker may take to claim its next task.
const MAX_ENTRIES: u64 = 16 << 10;

/// Creates `count` scratch directories of `size` bytes each. They belong to `user`, or else to the user of this process.
///
/// The process must have one thread. Unless it may mount, it enters a user namespace of its own.
///
/// # Errors
/// When the machine does not let this user mount, or is out of memory or file descriptors.
pub fn create(count: u32, size: u64, user: Option<User>) -> io::Result<Vec<OwnedFd>> {
    let (options, own) = (TmpfsOptions::new(size, user), UserNamespace::of_this_user());
    (0..count).map(|_| create_one(&options, &own)).collect()
}

/// Probes, in a copy of this process, whether it could [`create`](create()) a scratch directory for this user. Returns the
/// result of the probe.
///
/// # Errors
/// When the probe can't be made.
pub fn probe_create(size: u64, user: Option<User>) -> io::Result<nix::Result<()>> {
    let (options, own) = (TmpfsOptions::new(size, user), UserNamespace::of_this_user());
    // SAFETY: the closure makes system calls only, and allocates nothing.
    unsafe { in_fork(|| create_one(&options, &own).map(drop)) }
}

/// Creates one. If this process may not mount, it enters a namespace of its own first. Makes system calls only.
fn create_one(options: &TmpfsOptions, own: &UserNamespace) -> io::Result<OwnedFd> {
    match mount(options) {
        Err(Errno::PERM) => {
            own.enter()?;
            Ok(mount(options)?)
        }
        made => Ok(made?),
    }
}

/// A user namespace in which this process may mount and keeps its user and group.
struct UserNamespace {
    uid_map: String,
    gid_map: String,
}

impl UserNamespace {
    fn of_this_user() -> Self {
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        Self {
            uid_map: format!("{user} {user} 1"),
            gid_map: format!("{group} {group} 1"),
        }
    }

    fn enter(&self) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        // This order is required: the kernel takes no map of groups from a process that may still change its groups.
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", &self.uid_map)?;
        std::fs::write("/proc/self/gid_map", &self.gid_map)
    }
}

/// Mount options of tmpfs, see tmpfs(5).
struct TmpfsOptions(Vec<(&'static CStr, CString)>);

impl TmpfsOptions {
    fn new(size: u64, user: Option<User>) -> Self {
        let entries = (size / BYTES_PER_ENTRY + MIN_ENTRIES).min(MAX_ENTRIES);
        let owner = user.map(|user| [(c"uid", user.uid.into()), (c"gid", user.gid.into())]);
        let numbers = [(c"size", size), (c"nr_inodes", entries)].into_iter();
        let texts = numbers.chain(owner.into_iter().flatten()).map(|(name, number)| {
            let text = CString::new(number.to_string()).expect("digits have no NUL");
            (name, text)
        });
        Self([(c"mode", c"0700".to_owned())].into_iter().chain(texts).collect())
    }
}

/// Creates a tmpfs that is mounted nowhere. Makes system calls only.
fn mount(options: &TmpfsOptions) -> rustix::io::Result<OwnedFd> {
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
