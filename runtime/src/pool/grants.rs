//! The parent opens the directories that are granted, once, and refuses those that would give the kernel away, and what
//! this machine or the pool's user can't have.
//!
//! What is opened here is all that anybody uses afterwards: the descriptors travel to the dispatcher and to each worker, and
//! Landlock's rules are made from them. Who replaces a name later changes nothing.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open as open_path};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

use crate::error::Error;
use crate::grants::{DirGrant, Grants};
use crate::jail::{self, Plan};
use crate::scratch;

/// File systems whose files are the kernel itself: its processes, devices and settings, and those who can write there need
/// no hole in any wall.
const KERNELS_OWN: [&str; 26] = [
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

/// Opens the directories, in their order, for processes that are jailed as the plan says.
///
/// # Errors
/// [`Error::Grant`] for one that is no directory, that these processes can't enter, or that is on or with a file system of
/// the kernel's own; [`Error::BadSetting`] when there can't be scratch directories; [`Error::Io`] when it can't be tried.
pub fn open(grants: &Grants, plan: Option<&Plan>) -> Result<Vec<OwnedFd>, Error> {
    if let Some(size) = grants.tmp {
        let tried = scratch::try_to_make(size, plan.and_then(|plan| plan.user))?;
        tried.map_err(|errno| {
            let hint = match may_not_mount(errno) {
                true => " (that takes root, or a machine with user namespaces)",
                false => "",
            };
            let why = errno.desc();
            Error::BadSetting(format!("scratch directories can't be made here{hint}: {why}"))
        })?;
    }
    grants.dirs.iter().map(|dir| open_one(dir, plan)).collect()
}

/// Whether that is what whoever has neither root's rights nor a user namespace is told: there may be none of these here, no
/// more of them, not so deep in one another, or not in this kernel.
fn may_not_mount(errno: Errno) -> bool {
    use Errno::{EACCES, EINVAL, ENOSPC, EPERM, EUSERS};
    let has_rights = nix::unistd::geteuid().is_root();
    matches!(errno, EPERM | EACCES | ENOSPC | EUSERS) || errno == EINVAL && !has_rights
}

fn open_one(dir: &DirGrant, plan: Option<&Plan>) -> Result<OwnedFd, Error> {
    let refused = |why: String| Error::Grant {
        path: dir.host().to_owned(),
        why,
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = open_path(dir.host(), flags, Mode::empty()).map_err(|errno| refused(errno.desc().to_owned()))?;
    // Else it would only be found out when a worker starts.
    let entered = match plan {
        Some(plan) => jail::try_to_enter(fd.as_fd(), plan.user)?,
        None => faccessat(&fd, ".", AccessFlags::X_OK, AtFlags::AT_EACCESS),
    };
    entered.map_err(|errno| {
        let why = errno.desc();
        refused(format!("it can't be entered by the pool's processes: {why}"))
    })?;
    let unseen = |error: std::io::Error| refused(format!("it can't be seen what is mounted there: {error}"));
    let place = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).map_err(unseen)?;
    let mounts = fs::read("/proc/self/mountinfo").map_err(unseen)?;
    let path = fs::read_link(place).map_err(unseen)?;
    match against(&info, &mounts, &path) {
        None => Ok(fd),
        Some(why) => Err(refused(why)),
    }
}

/// What speaks against a directory, by what the kernel says of its descriptor (`info`), of the mounts of this process, and
/// of its path.
fn against(info: &str, mounts: &[u8], path: &Path) -> Option<String> {
    let Some(mount) = mount_of(info) else {
        return Some("the kernel does not say on which mount it is".to_owned());
    };
    if !Mount::all(mounts).any(|line| line.number == mount) {
        return Some("it is on a mount that is not one of this process's".to_owned());
    }
    kernels_own(mounts, mount, path).map(|found| match found {
        Kernels { kind, place: None } => format!("it is on {kind}, which is the kernel's own"),
        Kernels {
            kind,
            place: Some(place),
        } => format!(
            "{} is mounted beneath it, with {kind}, which is the kernel's own",
            place.display()
        ),
    })
}

/// The number of the mount, in what `/proc/.../fdinfo/...` says of a descriptor.
fn mount_of(info: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    value.trim().parse().ok()
}

/// A file system of the kernel's own that a directory has.
#[derive(Debug, PartialEq, Eq)]
struct Kernels {
    kind: &'static str,
    /// Where it is mounted, if that is beneath the directory.
    place: Option<PathBuf>,
}

/// The first file system of the kernel's own that the directory at `path` is on, or that is mounted beneath it. `mounts` is
/// as `/proc/self/mountinfo` has it, `mount` the number of the directory's own.
fn kernels_own(mounts: &[u8], mount: u64, path: &Path) -> Option<Kernels> {
    Mount::all(mounts).find_map(|line| {
        let kind = KERNELS_OWN
            .into_iter()
            .find(|kind| kind.as_bytes() == line.kind)?;
        if line.number == mount {
            return Some(Kernels { kind, place: None });
        }
        let is_beneath = line.place != path && line.place.starts_with(path);
        is_beneath.then_some(Kernels {
            kind,
            place: Some(line.place),
        })
    })
}

/// A line of `mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'a> {
    number: u64,
    place: PathBuf,
    kind: &'a [u8],
}

impl<'a> Mount<'a> {
    /// All lines that are some.
    fn all(mounts: &'a [u8]) -> impl Iterator<Item = Self> {
        mounts.split(|&byte| byte == b'\n').filter_map(Self::parse)
    }

    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let number = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let place = unescaped(fields.nth(3)?);
        // Optional fields end with a dash.
        fields.find(|field| field == b"-")?;
        Some(Self {
            number,
            place: PathBuf::from(OsString::from_vec(place)),
            kind: fields.next()?,
        })
    }
}

/// A field without its escapes: a backslash and three octal digits for a byte that would end the field, or a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| after.first_chunk::<3>())
            .flatten()
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Access;

    const MOUNTS: &[u8] = b"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        22 21 0:20 / /proc rw - proc proc rw\n\
        23 21 0:21 / /sys rw shared:2 master:1 - sysfs sysfs rw\n\
        24 21 0:22 / /tmp rw - tmpfs tmpfs rw\n\
        25 24 0:20 /sys /tmp/a\\040folder/with\\134proc rw - proc proc rw\n\
        26 24 0:23 / /tmp/other rw - ext4 /dev/vdb rw\n\
        garbage\n";

    #[test]
    fn what_is_the_kernels_own_is_found_on_and_beneath_a_directory() {
        let on = |kind| Some(Kernels { kind, place: None });
        let beneath = |kind, place: &str| {
            Some(Kernels {
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
            assert_eq!(kernels_own(MOUNTS, mount, Path::new(path)), found, "{path}");
        }
    }

    #[test]
    fn what_speaks_against_a_directory_is_told() {
        for (info, path, why) in [
            ("mnt_id:\t21\n", "/home", None),
            ("pos:\t0\n", "/home", Some("does not say on which mount")),
            // A mount that was never attached, or is one of another namespace's: nobody says what is beneath it.
            ("mnt_id:\t27\n", "/home", Some("not one of this process's")),
            ("mnt_id:\t27\n", "/", Some("not one of this process's")),
            ("mnt_id:\t22\n", "/proc/self", Some("it is on proc")),
            ("mnt_id:\t24\n", "/tmp", Some("with\\proc is mounted beneath it")),
        ] {
            let told = against(info, MOUNTS, Path::new(path));
            let fits = match (&told, why) {
                (None, None) => true,
                (Some(told), Some(why)) => told.contains(why),
                _ => false,
            };
            assert!(fits, "{info:?} {path}: {told:?}");
        }
    }

    #[test]
    fn the_kernel_says_on_which_mount_a_descriptor_is() {
        assert_eq!(
            mount_of("pos:\t0\nflags:\t012300000\nmnt_id:\t21\nino:\t2\n"),
            Some(21)
        );
        assert_eq!(mount_of("pos:\t0\n"), None);
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
