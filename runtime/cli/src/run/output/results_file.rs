//! Opens the path of `--results`: a regular file of this user, or a stream.
//!
//! The last part of the path must not be a symbolic link. A file's type is checked before it is opened, as opening a device can
//! have an effect. A path that names a descriptor of this process, such as `/dev/stdout` or `/dev/fd/63`, is duplicated instead
//! of opened.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, major, minor};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{FlockOperation, flock};

/// The opened path of `--results`.
pub enum OpenedResults {
    /// A regular file of this user.
    File(ResultsFile),
    /// An inherited descriptor, a FIFO, a terminal, `/dev/null` or `/dev/full`.
    Stream(File),
}

/// A regular file, with a descriptor of its folder, which stays valid if the folder is renamed.
pub struct ResultsFile {
    file: File,
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// For writing records.
    Write,
    /// For reading and writing records.
    ReadWrite,
}

/// Flags with which all files are opened. With O_APPEND, writes go to the end even if another process writes too.
const FLAGS: OFlag = OFlag::O_APPEND.union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// Opens the path, and creates a file if there is none. An existing file is not changed.
///
/// # Errors
/// When it is of a type that records are not written to, or of another user.
pub fn open_results(path: &Path, how: OpenFor) -> Result<OpenedResults> {
    if let Some(number) = descriptor_number(path) {
        return duplicate(number).map(OpenedResults::Stream);
    }
    let (folder, name) = split(path)?;
    let flags = FLAGS
        | match how {
            OpenFor::Write => OFlag::O_WRONLY,
            OpenFor::ReadWrite => OFlag::O_RDWR,
        };
    let make = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let created = openat(&folder, name, make, Mode::from_bits_truncate(0o666));
    let fd = match created {
        Err(Errno::EEXIST) => {
            let found = openat(
                &folder,
                name,
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )?;
            let is_stream = check(&fstat(&found)?)?;
            // Opens the file that was checked, even if its name was replaced meanwhile.
            let fd = open(
                &*format!("/proc/self/fd/{}", found.as_raw_fd()),
                flags,
                Mode::empty(),
            )?;
            if is_stream {
                return Ok(OpenedResults::Stream(fd.into()));
            }
            fd
        }
        result => result?,
    };
    Ok(OpenedResults::File(ResultsFile {
        file: fd.into(),
        folder,
        name: name.to_owned(),
        path: path.to_owned(),
    }))
}

/// Opens the folder of a path. Returns it with the last part of the path.
fn split(path: &Path) -> Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().context("it names no file")?;
    if path.as_os_str().as_bytes().ends_with(b"/") {
        bail!("it names a folder");
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok((openat(AT_FDCWD, folder, flags, Mode::empty())?, name))
}

/// Returns whether a file is a stream.
///
/// # Errors
/// When records are not written to files of this type or owner.
fn check(found: &FileStat) -> Result<bool> {
    let is_ours = found.st_uid == nix::unistd::geteuid().as_raw();
    let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFLNK => bail!("it is a symbolic link: name the file itself, which may have to be replaced"),
        SFlag::S_IFREG | SFlag::S_IFIFO if !is_ours => {
            bail!("it belongs to another user: name a file of your own, or one that is not there yet")
        }
        SFlag::S_IFREG => Ok(false),
        SFlag::S_IFIFO => Ok(true),
        SFlag::S_IFCHR if is_output_device(found) => Ok(true),
        SFlag::S_IFCHR | SFlag::S_IFBLK => {
            bail!("it is a device: of these, records are written to /dev/null and terminals only")
        }
        SFlag::S_IFDIR => bail!("it is a folder"),
        _ => bail!("it is no file"),
    }
}

/// Returns whether a character device is `/dev/null`, `/dev/full` or a terminal.
fn is_output_device(device: &FileStat) -> bool {
    // The numbers are from the kernel's Documentation/admin-guide/devices.txt.
    match (major(device.st_rdev), minor(device.st_rdev)) {
        (1, minor) => [3, 7].contains(&minor),
        (4, minor) => minor < 64, // virtual consoles; those above are serial lines
        (5, minor) => minor == 0,
        (136..=143, _) => true, // pseudo-terminals
        _ => false,
    }
}

/// Returns the number of the descriptor of this process that a path names, if it names one.
fn descriptor_number(path: &Path) -> Option<i32> {
    let path: PathBuf = path.components().collect();
    match path.to_str()? {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let number = path
        .strip_prefix("/dev/fd")
        .or_else(|_| path.strip_prefix("/proc/self/fd"));
    let number = number.ok()?.to_str()?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse().ok()).flatten()
}

/// Returns whether a path names a descriptor of this process.
pub fn is_descriptor(path: &Path) -> bool {
    descriptor_number(path).is_some()
}

fn duplicate(number: i32) -> Result<File> {
    // SAFETY: the call takes two integers, and the new descriptor has no other owner.
    let file = unsafe {
        let copy = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        Errno::result(copy).map(|copy| File::from_raw_fd(copy))?
    };
    let mode = OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    if mode == OFlag::O_RDONLY {
        bail!("it is not open for writing");
    }
    Ok(file)
}

impl ResultsFile {
    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the path by which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file and closes the folder.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Replaces the file by a new one with what `write` writes, and returns that. Until it is complete, the old file stays.
    ///
    /// # Errors
    /// When another process has replaced the file, or it can't be written.
    pub fn replace(&self, write: impl FnOnce(&File) -> Result<()>) -> Result<File> {
        let folder = self.folder.as_fd();
        let ours = fstat(&self.file)?;
        // A file that another process has put there meanwhile is not overwritten.
        let current = fstatat(
            folder,
            self.name.as_os_str(),
            nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if (current.st_dev, current.st_ino) != (ours.st_dev, ours.st_ino) {
            bail!("another process has replaced it");
        }
        let name = format!(".mpwasm-{:016x}.new", rand::random::<u64>());
        let flags = FLAGS | OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let copy = File::from(openat(folder, &*name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let replace = || {
            fchmod(&copy, Mode::from_bits_truncate(ours.st_mode & 0o777))?;
            write(&copy)?;
            copy.sync_all()?;
            lock(&copy)?;
            Ok(renameat(folder, &*name, folder, self.name.as_os_str())?)
        };
        if let Err(error) = replace() {
            let _ = unlinkat(folder, &*name, UnlinkatFlags::NoRemoveDir);
            return Err(error);
        }
        flush_folder(folder)?;
        Ok(copy)
    }
}

/// Flushes a folder's entries to disk.
fn flush_folder(folder: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    File::from(openat(folder, ".", flags, Mode::empty())?).sync_all()
}

/// Locks a file of records against other runs, until it is closed.
///
/// # Errors
/// When another run has locked it. A file system without locks is no error.
pub fn lock(file: &File) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => bail!("another run is writing it"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn refusal(path: &Path) -> String {
        match open_results(path, OpenFor::Write) {
            Ok(_) => panic!("{} was opened", path.display()),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_file_is_made_or_written_to_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for expected in ["x", "xx"] {
            let Ok(OpenedResults::File(file)) = open_results(&path, OpenFor::Write) else {
                panic!("it is a file");
            };
            file.file().write_all(b"x").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    }

    #[test]
    fn no_link_is_followed_and_no_odd_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("nothing", path("dangling")).unwrap();
        symlink("/dev/null", path("to a device")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, why) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("to a device", "symbolic link"),
            ("socket", "no file"),
            (".", "folder"),
            ("..", "names no file"),
            ("none/", "folder"),
            ("none/log", "No such file"),
        ] {
            assert!(
                refusal(&path(name)).contains(why),
                "{name}: {}",
                refusal(&path(name))
            );
        }
        assert!(!path("nothing").exists() && !path("none").exists());
        for device in ["/dev/zero", "/dev/random"] {
            assert!(refusal(Path::new(device)).contains("device"), "{device}");
        }
        assert!(matches!(
            open_results(Path::new("/dev/null"), OpenFor::Write),
            Ok(OpenedResults::Stream(_))
        ));
    }

    /// Only root can give a file away; an ordinary user meets one that is root's.
    #[test]
    fn another_users_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        if !nix::unistd::geteuid().is_root() {
            assert!(refusal(Path::new("/etc/passwd")).contains("another user"));
            return;
        }
        fs::write(&path, "").unwrap();
        chown(&path, Some(1234), None).unwrap();
        assert!(refusal(&path).contains("another user"), "{}", refusal(&path));
    }

    #[test]
    fn descriptors_are_known_by_their_names() {
        for (path, number) in [
            ("/dev/stdout", Some(1)),
            ("/dev//stderr", Some(2)),
            ("/dev/fd/63", Some(63)),
            ("/proc/self/fd/7", Some(7)),
            ("/dev/fd", None),
            ("/dev/fd/", None),
            ("/dev/fd/-1", None),
            ("/dev/fd/x", None),
            ("/dev/fd/99999999999", None),
            ("/dev/null", None),
            ("stdout", None),
        ] {
            assert_eq!(descriptor_number(Path::new(path)), number, "{path}");
        }
        let (read, write) = io::pipe().unwrap();
        let path = |fd: i32| PathBuf::from(format!("/dev/fd/{fd}"));
        assert!(matches!(
            open_results(&path(write.as_raw_fd()), OpenFor::Write),
            Ok(OpenedResults::Stream(_))
        ));
        assert!(refusal(&path(read.as_raw_fd())).contains("not open for writing"));
        assert!(refusal(Path::new("/dev/fd/1000000")).contains("EBADF"));
    }
}
