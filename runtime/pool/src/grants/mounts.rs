//! The mounts of this process, from `/proc/self/mountinfo`, and the locations of files in them.
//!
//! A file can have several paths: a bind mount gives a folder a second one. A [`Location`] is the same for all of them.
//! It consists of the file system and the path within it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount: one line of `mountinfo`, see proc_pid_mountinfo(5).
#[derive(Debug)]
pub(crate) struct Mount {
    /// The mount id, which `fdinfo` shows as `mnt_id`.
    pub id: u64,
    /// Device number of the file system, as `major:minor`.
    device: Vec<u8>,
    /// Path within the file system that is mounted.
    root: PathBuf,
    /// Mount point.
    pub mount_point: PathBuf,
    /// Type of the file system.
    pub kind: Vec<u8>,
}

/// Location of a file. It is the same for all paths that lead to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    device: Vec<u8>,
    /// Path within the file system, not below a mount point.
    path: PathBuf,
}

impl Location {
    /// Returns whether this location is `other`, or lies in it.
    pub fn is_in(&self, other: &Self) -> bool {
        self.device == other.device && self.path.starts_with(&other.path)
    }

    /// Returns the location of `name` in this folder.
    pub fn join(&self, name: &Path) -> Self {
        Self {
            device: self.device.clone(),
            path: self.path.join(name),
        }
    }
}

/// The mounts of this process.
#[derive(Debug)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads the mounts from the kernel.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/self/mountinfo")?))
    }

    /// Parses the contents of `mountinfo`. Lines of another format are skipped.
    pub fn parse(mounts: &[u8]) -> Self {
        Self(
            mounts
                .split(|&byte| byte == b'\n')
                .filter_map(Mount::parse)
                .collect(),
        )
    }

    /// Iterates over the mounts.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// Returns the mount with this id.
    pub fn get(&self, id: u64) -> Option<&Mount> {
        self.iter().find(|mount| mount.id == id)
    }

    /// Returns the location of an open file. `None` when the file is on no mount of this process, and so has no path
    /// here.
    pub fn locate(&self, fd: impl AsFd) -> io::Result<Option<Location>> {
        let OpenPath { mount, path } = OpenPath::new(fd)?;
        Ok(mount
            .and_then(|id| self.get(id))
            .and_then(|mount| mount.locate(&path)))
    }

    /// Returns the locations of everything that an open folder contains: the folder itself first, then the mounts beneath
    /// it. Empty when the folder is on no mount of this process.
    pub fn trees(&self, folder: impl AsFd) -> io::Result<Vec<Location>> {
        let Some(own) = self.locate(&folder)? else {
            return Ok(Vec::new());
        };
        let OpenPath { path, .. } = OpenPath::new(folder)?;
        let beneath = self
            .iter()
            .filter(|mount| mount.mount_point != path && mount.mount_point.starts_with(&path));
        Ok(std::iter::once(own).chain(beneath.map(Mount::location)).collect())
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let device = fields.nth(1)?.to_owned();
        let root = unescaped(fields.next()?);
        let mount_point = unescaped(fields.next()?);
        // A dash ends the optional fields.
        fields.find(|field| field == b"-")?;
        Some(Self {
            id,
            device,
            root: PathBuf::from(OsString::from_vec(root)),
            mount_point: PathBuf::from(OsString::from_vec(mount_point)),
            kind: fields.next()?.to_owned(),
        })
    }

    fn location(&self) -> Location {
        Location {
            device: self.device.clone(),
            path: self.root.clone(),
        }
    }

    fn locate(&self, path: &Path) -> Option<Location> {
        let below = path.strip_prefix(&self.mount_point).ok()?;
        Some(self.location().join(below))
    }
}

/// Mount and path of an open descriptor.
#[derive(Debug)]
pub(crate) struct OpenPath {
    /// Id of its mount; `None` when the kernel does not show it.
    pub mount: Option<u64>,
    /// Its path.
    pub path: PathBuf,
}

impl OpenPath {
    /// Reads mount and path of `fd` from the kernel.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        let number = fd.as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        Ok(Self {
            mount: mount_of(&info),
            path: fs::read_link(format!("/proc/self/fd/{number}"))?,
        })
    }
}

/// Returns the mount id from the contents of `/proc/.../fdinfo/...`.
fn mount_of(info: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    value.trim().parse().ok()
}

/// Unescapes a field. The kernel writes whitespace and backslashes as a backslash and three octal digits.
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

    #[test]
    fn the_kernel_says_on_which_mount_a_descriptor_is() {
        assert_eq!(
            mount_of("pos:\t0\nflags:\t012300000\nmnt_id:\t21\nino:\t2\n"),
            Some(21)
        );
        assert_eq!(mount_of("pos:\t0\n"), None);
    }

    #[test]
    fn a_folder_has_one_location_under_all_its_names() {
        let mounts = Mounts::parse(
            b"21 1 254:0 / / rw - ext4 /dev/vda rw\n\
            22 21 254:0 /home/me /mnt/a\\040name rw - ext4 /dev/vda rw\n\
            23 21 0:9 / /home/me/disk rw - tmpfs tmpfs rw\n",
        );
        let at = |mount: u64, path: &str| mounts.get(mount).unwrap().locate(Path::new(path)).unwrap();
        let home = at(21, "/home/me");
        assert_eq!(home, at(22, "/mnt/a name"));
        assert!(at(22, "/mnt/a name/x").is_in(&home) && home.is_in(&at(21, "/home")));
        assert!(!at(21, "/home/meander").is_in(&home));
        assert!(
            !at(23, "/home/me/disk/home/me").is_in(&home),
            "it is another file system"
        );
        assert!(mounts.get(22).unwrap().locate(Path::new("/mnt/b")).is_none());
    }

    #[test]
    fn what_has_no_path_here_has_no_location() {
        let mounts = Mounts::read().unwrap();
        let (pipe, _other) = io::pipe().unwrap();
        assert_eq!(mounts.locate(&pipe).unwrap(), None);
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| fs::File::open(path).unwrap();
        let outer = mounts.locate(open(folder.path())).unwrap().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let inner = mounts.locate(open(&folder.path().join("in"))).unwrap().unwrap();
        assert!(inner.is_in(&outer) && !outer.is_in(&inner));
    }
}
