//! Opens granted directories once, and refuses those that expose the kernel, that tasks could use to change trusted files, or
//! that this machine or the pool's user can't provide.
//!
//! The descriptors that are opened here are sent to the dispatcher and the workers, and Landlock's rules are made from them.
//! Replacing a path later changes nothing.

pub(crate) mod mounts;
pub(crate) mod trusted_paths;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open as open_path};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use crate::error::Error;
use crate::grants::mounts::{Mounts, OpenPath};
use crate::grants::trusted_paths::{Overlap, ResolvedPath, TrustedPaths};
use crate::invalid_setting::InvalidSetting;
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_sandbox::scratch;
use mpwasm_types::escape::Untrusted;
use mpwasm_types::grants::{Access, DirGrant, Grants};
use mpwasm_types::sandbox_options::SandboxOptions;

/// File systems whose files expose the kernel: its processes, devices and settings. A task that may write there can
/// escape from the sandbox.
const KERNEL_FILE_SYSTEMS: [&str; 26] = [
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "functionfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
    "xenfs",
];

/// Opens the directories, in their order, for processes in this sandbox.
///
/// # Errors
/// [`Error::Grant`] for a directory that does not exist, that these processes can't enter, that is on or contains a file
/// system of the kernel's own, or that lets tasks change trusted paths; [`Error::BadSetting`] when scratch directories
/// can't be created; [`Error::Io`] when the checks themselves fail.
pub fn open(
    grants: &Grants,
    sandbox: Option<&SandboxOptions>,
    trusted: &TrustedPaths,
) -> Result<Vec<OwnedFd>, Error> {
    if let Some(size) = grants.tmp {
        let tried = scratch::probe_create(size, sandbox.and_then(|sandbox| sandbox.user))?;
        tried.map_err(|errno| InvalidSetting::NoScratch {
            is_denied: is_mount_denied(errno),
            why: errno.desc(),
        })?;
    }
    let open = |dir| {
        let (fd, mounts) = open_one(dir, sandbox)?;
        check_trusted(dir, &fd, &mounts, trusted)?;
        Ok(fd)
    };
    grants.dirs.iter().map(open).collect()
}

/// Refuses a directory through which tasks could change trusted paths.
fn check_trusted(dir: &DirGrant, fd: &OwnedFd, mounts: &Mounts, trusted: &TrustedPaths) -> Result<(), Error> {
    if dir.access() == Access::ReadOnly {
        return Ok(());
    }
    for (what, place, advice) in trusted.places() {
        let Some(overlap) = overlap(dir, fd, mounts, place)? else {
            continue;
        };
        // Show the executable's path rather than /proc/self/exe.
        let is_own = place == Executable::Own.path();
        let own = is_own.then(|| std::env::current_exe().ok()).flatten();
        let shown = Untrusted::from(own.as_deref().unwrap_or(place));
        return Err(refused(dir, format!("it {overlap} {what} ({shown}): {advice}")));
    }
    Ok(())
}

fn refused(dir: &DirGrant, why: String) -> Error {
    Error::Grant {
        path: dir.host().to_owned(),
        why,
    }
}

fn overlap(dir: &DirGrant, fd: &OwnedFd, mounts: &Mounts, place: &Path) -> Result<Option<Overlap>, Error> {
    let found = || Ok(ResolvedPath::find(place, mounts)?.overlap(&mounts.trees(fd)?));
    found().map_err(|error: io::Error| {
        let place = Untrusted::from(&place);
        refused(
            dir,
            format!("it can't be told whether it contains {place}: {error}"),
        )
    })
}

impl Overlap {
    /// Returns how tasks that have the directory `dir` could change what is at `place`, or where that path leads. `None`
    /// when they could not, or when the directory is granted read-only.
    ///
    /// A pool itself refuses only a directory that reaches its [`Cache`](crate::Cache) or its executable. A program calls
    /// this for the other paths that it trusts, reads as its own or writes to. Links and bind mounts are followed.
    /// `place` need not exist yet.
    ///
    /// ```
    /// use mpwasm::{Access, DirGrant, Overlap};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let here = DirGrant::new(".", "/work", Access::ReadWrite)?;
    /// assert_eq!(Overlap::between(&here, "results/log")?, Some(Overlap::Contains));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Grant`] when the directory can't be granted, or when the check fails.
    pub fn between(dir: &DirGrant, place: impl AsRef<Path>) -> Result<Option<Self>, Error> {
        if dir.access() == Access::ReadOnly {
            return Ok(None);
        }
        let (fd, mounts) = open_one(dir, None)?;
        overlap(dir, &fd, &mounts, place.as_ref())
    }
}

/// Returns whether mounting failed for lack of root's rights or of a user namespace: the machine may have none, its limit
/// on their number or depth may be reached, or the kernel may not support them.
fn is_mount_denied(errno: Errno) -> bool {
    use Errno::{EACCES, EINVAL, ENOSPC, EPERM, EUSERS};
    let has_rights = nix::unistd::geteuid().is_root();
    matches!(errno, EPERM | EACCES | ENOSPC | EUSERS) || errno == EINVAL && !has_rights
}

/// Opens and checks a directory. Also returns the mounts by which it was checked.
fn open_one(dir: &DirGrant, sandbox: Option<&SandboxOptions>) -> Result<(OwnedFd, Mounts), Error> {
    let refused = |why| refused(dir, why);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = open_path(dir.host(), flags, Mode::empty()).map_err(|errno| refused(errno.desc().to_owned()))?;
    // Checked here, as a worker would fail only when it starts.
    let entered = match sandbox {
        Some(sandbox) => jail::probe_access(fd.as_fd(), sandbox.user)?,
        None => faccessat(&fd, ".", AccessFlags::X_OK, AtFlags::AT_EACCESS),
    };
    entered.map_err(|errno| {
        let why = errno.desc();
        refused(format!("it can't be entered by the pool's processes: {why}"))
    })?;
    let unseen = |error: io::Error| refused(format!("it can't be seen what is mounted there: {error}"));
    let mounts = Mounts::read().map_err(unseen)?;
    let opened = OpenPath::new(&fd).map_err(unseen)?;
    match refusal(&opened, &mounts) {
        None => Ok((fd, mounts)),
        Some(why) => Err(refused(why)),
    }
}

/// Returns why a directory is refused, if it is, from its descriptor and this process's mounts.
fn refusal(dir: &OpenPath, mounts: &Mounts) -> Option<String> {
    let Some(mount) = dir.mount else {
        return Some("the kernel does not say on which mount it is".to_owned());
    };
    if mounts.get(mount).is_none() {
        return Some("it is on a mount that is not one of this process's".to_owned());
    }
    kernel_fs(mounts, mount, &dir.path).map(|found| match found {
        KernelFs { kind, place: None } => format!("it is on {kind}, which is the kernel's own"),
        KernelFs {
            kind,
            place: Some(place),
        } => format!(
            "{} is mounted beneath it, with {kind}, which is the kernel's own",
            Untrusted::from(&place)
        ),
    })
}

/// A file system of the kernel's own that a directory is on or contains.
#[derive(Debug, PartialEq, Eq)]
struct KernelFs {
    kind: &'static str,
    /// Where it is mounted, if that is beneath the directory.
    place: Option<PathBuf>,
}

/// Returns the first file system of the kernel's own that the directory at `path` is on, or that is mounted beneath it.
/// `mount` is the id of the directory's own mount.
fn kernel_fs(mounts: &Mounts, mount: u64, path: &Path) -> Option<KernelFs> {
    mounts.iter().find_map(|line| {
        let kind = KERNEL_FILE_SYSTEMS
            .into_iter()
            .find(|kind| kind.as_bytes() == line.kind)?;
        if line.id == mount {
            return Some(KernelFs { kind, place: None });
        }
        let is_beneath = line.mount_point != path && line.mount_point.starts_with(path);
        is_beneath.then(|| KernelFs {
            kind,
            place: Some(line.mount_point.clone()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    const MOUNTS: &[u8] = b"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        22 21 0:20 / /proc rw - proc proc rw\n\
        23 21 0:21 / /sys rw shared:2 master:1 - sysfs sysfs rw\n\
        24 21 0:22 / /tmp rw - tmpfs tmpfs rw\n\
        25 24 0:20 /sys /tmp/a\\040folder/with\\134proc rw - proc proc rw\n\
        26 24 0:23 / /tmp/other rw - ext4 /dev/vdb rw\n\
        garbage\n";

    #[test]
    fn what_is_the_kernels_own_is_found_on_and_beneath_a_directory() {
        let on = |kind| Some(KernelFs { kind, place: None });
        let beneath = |kind, place: &str| {
            Some(KernelFs {
                kind,
                place: Some(place.into()),
            })
        };
        for (mount, path, found) in [
            (21, "/", beneath("proc", "/proc")),
            (22, "/proc", on("proc")),
            (22, "/proc/self", on("proc")),
            (23, "/sys/kernel", on("sysfs")),
            (21, "/home", None),
            (24, "/tmp", beneath("proc", "/tmp/a folder/with\\proc")),
            (24, "/tmp/a folder", beneath("proc", "/tmp/a folder/with\\proc")),
            (24, "/tmp/a fold", None),
            (26, "/tmp/other", None),
            // A directory that another mount hides.
            (21, "/proc", None),
        ] {
            let mounts = Mounts::parse(MOUNTS);
            assert_eq!(kernel_fs(&mounts, mount, Path::new(path)), found, "{path}");
        }
    }

    #[test]
    fn the_reason_to_refuse_a_directory_is_reported() {
        for (mount, path, why) in [
            (Some(21), "/home", None),
            (None, "/home", Some("does not say on which mount")),
            // A mount that was never attached, or belongs to another namespace: the mounts beneath it are unknown.
            (Some(27), "/home", Some("not one of this process's")),
            (Some(27), "/", Some("not one of this process's")),
            (Some(22), "/proc/self", Some("it is on proc")),
            (Some(24), "/tmp", Some("with\\proc is mounted beneath it")),
        ] {
            let dir = OpenPath {
                mount,
                path: path.into(),
            };
            let told = refusal(&dir, &Mounts::parse(MOUNTS));
            let fits = match (&told, why) {
                (None, None) => true,
                (Some(told), Some(why)) => told.contains(why),
                _ => false,
            };
            assert!(fits, "{mount:?} {path}: {told:?}");
        }
    }

    #[test]
    fn directories_are_opened_and_nothing_else() {
        let open = |path: &str| open_one(&DirGrant::new(path, "x", Access::ReadOnly).unwrap(), None);
        let folder = tempfile::tempdir().unwrap();
        open(folder.path().to_str().unwrap()).unwrap();
        for (path, why) in [
            ("/proc/self/exe", "Not a directory"),
            ("/no such directory", "No such file"),
            ("/proc", "it is on proc"),
            ("/proc/self/fd", "it is on proc"),
            ("/", "is mounted beneath it"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(why), "{error}");
        }
    }
}
