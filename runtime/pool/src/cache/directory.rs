//! The directory of the cache: permissions, and its files.
//!
//! Files in it become native code, so no other user may write to the directory. It is opened without following a symbolic
//! link, its owner and mode are checked on the descriptor, and all files are reached through that descriptor. Entries are
//! checked in the same way.
//!
//! A file is renamed to its final name once it is complete. So two processes may write the same entry at the same time,
//! and either version is valid. Nothing is flushed to the disk: an entry that a power failure left incomplete fails the
//! check of its hash.

use std::ffi::{CStr, CString};
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Age at which an unfinished file in the cache counts as left over from a writer that died.
pub const STALE_CACHE_FILE_AGE: Duration = Duration::from_secs(3600);

/// Suffix of an entry's file name.
const ENTRY: &str = ".guest";
/// Suffix of a shortcut's file name.
const SHORTCUT: &str = ".seen";
/// Suffix of a file that is being written.
const UNFINISHED: &str = ".new";

/// Interval in which the use of an entry is recorded at most once: 1 h.
const TOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// The directory, opened and checked.
#[derive(Debug)]
pub struct CacheDirectory(OwnedFd);

/// A file with the name of an entry. It was not opened or checked.
#[derive(Debug)]
pub struct ListedEntry {
    name: CString,
    /// Size of the file.
    pub bytes: u64,
    /// When it was last used or written: seconds and nanoseconds.
    used: (i64, i64),
}

impl CacheDirectory {
    /// Opens an existing directory.
    ///
    /// # Errors
    /// When the path does not exist, is not a directory or is a symbolic link, or when other users have access to the
    /// directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Drops a trailing slash, with which the kernel would follow a symbolic link.
        let path: std::path::PathBuf = path.components().collect();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match open(&path, flags, Mode::empty()) {
            Err(Errno::ENOTDIR | Errno::ELOOP) if path.symlink_metadata().is_ok() => {
                return Err(unsafe_place("it is no directory, or a symbolic link to one"));
            }
            result => result?,
        };
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if !is_ours(&metadata) {
            return Err(unsafe_place("it belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(unsafe_place("others have access to it: its mode should be 700"));
        }
        Ok(Self(file.into()))
    }

    /// Opens the directory, and creates it first if it does not exist.
    ///
    /// # Errors
    /// As [`CacheDirectory::open`], and when it can't be created.
    pub fn make(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                Self::open(path)
            }
            result => result,
        }
    }

    /// Opens the entry `name`. Returns `None` when there is none.
    ///
    /// # Errors
    /// When it can't be opened, or when another user could have written it.
    pub fn entry(&self, name: &str) -> io::Result<Option<File>> {
        self.file(&entry_name(name))
    }

    /// Opens the shortcut `name`. Returns `None` when there is none.
    ///
    /// # Errors
    /// As [`CacheDirectory::entry`].
    pub fn shortcut(&self, name: &str) -> io::Result<Option<File>> {
        self.file(&shortcut_name(name))
    }

    fn file(&self, name: &str) -> io::Result<Option<File>> {
        // O_NONBLOCK: opening a FIFO in its place must not block.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(unsafe_place("it is a symbolic link")),
            result => File::from(result?),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(unsafe_place("it is no regular file"));
        }
        if !is_ours(&metadata) {
            return Err(unsafe_place("it belongs to another user"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(unsafe_place("others may write to it"));
        }
        // Zero links are fine: another process may have replaced the entry after it was opened.
        if metadata.nlink() > 1 {
            return Err(unsafe_place("it has another name, somewhere else perhaps"));
        }
        Ok(Some(file))
    }

    /// Records that the entry was used, which makes it one of the last to be evicted. Does nothing if that was recorded within
    /// the last hour, as each record changes the [identity](super::identity::FileIdentity) of the file.
    pub fn touch(&self, entry: &File) {
        let used = entry.metadata().and_then(|metadata| metadata.modified());
        if used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age < TOUCH_INTERVAL)) {
            return;
        }
        // This fails on a read-only file system, where nothing is evicted either.
        let _ = futimens(entry, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW);
    }

    /// Writes the entry `name` and replaces an earlier one.
    ///
    /// # Errors
    /// When it can't be written. The incomplete file is removed then.
    pub fn write(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        self.replace(&entry_name(name), write)
    }

    /// Writes the shortcut `name` and replaces an earlier one.
    ///
    /// # Errors
    /// As [`CacheDirectory::write`].
    pub fn write_shortcut(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(&shortcut_name(name), |file| file.write_all(bytes))
    }

    fn replace(&self, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let unfinished = format!("{:016x}{UNFINISHED}", rand::random::<u64>());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(&self.0, unfinished.as_str(), flags, mode)?);
        let result = write(&mut file).and_then(|()| {
            let rename = || renameat(&self.0, unfinished.as_str(), &self.0, name);
            match rename() {
                // An empty directory in its place is removed. One that is not empty can't be, and the write fails.
                Err(Errno::EISDIR) => {
                    unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?;
                    rename()
                }
                result => result,
            }
            .map_err(io::Error::from)
        });
        if result.is_err() {
            let _ = unlinkat(&self.0, unfinished.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        result
    }

    /// Returns the entries, in no particular order.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn entries(&self) -> io::Result<Vec<ListedEntry>> {
        self.list(is_entry)
    }

    /// Removes the least recently used entries until the others and a new entry `name` of `bytes` bytes take at most
    /// `limit` bytes. Also removes old shortcuts, and incomplete files of writers that died.
    ///
    /// # Errors
    /// When the directory can't be read or changed.
    pub fn make_room(&self, name: &str, bytes: u64, limit: u64) -> io::Result<()> {
        let replaced = entry_name(name);
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.name.as_bytes() != replaced.as_bytes());
        entries.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        let mut total = entries.iter().map(|entry| entry.bytes).sum::<u64>();
        for oldest in &entries {
            if total.saturating_add(bytes) <= limit {
                break;
            }
            self.remove(oldest)?;
            total -= oldest.bytes;
        }
        let stale_before = SystemTime::now().checked_sub(STALE_CACHE_FILE_AGE);
        let stale_before = stale_before.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let stale_before = stale_before.as_ref().map_or(0, Duration::as_secs);
        // A shortcut of an earlier boot, or of a file that has changed, is never used again, and one that is missing is written
        // again.
        for file in self.list(|name| is_unfinished(name) || is_shortcut(name))? {
            if u64::try_from(file.used.0).unwrap_or(0) < stale_before {
                self.remove(&file)?;
            }
        }
        Ok(())
    }

    /// Removes all entries, shortcuts and incomplete files. Leaves any other file in the directory. Returns the entries removed.
    ///
    /// # Errors
    /// When the directory can't be read or changed.
    pub fn clear(&self) -> io::Result<Vec<ListedEntry>> {
        for file in self.list(|name| is_unfinished(name) || is_shortcut(name))? {
            self.remove(&file)?;
        }
        let entries = self.entries()?;
        for entry in &entries {
            self.remove(entry)?;
        }
        Ok(entries)
    }

    /// Removes a file. Succeeds if another process has removed it already.
    fn remove(&self, listed: &ListedEntry) -> io::Result<()> {
        match unlinkat(&self.0, listed.name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn list(&self, wanted: fn(&CStr) -> bool) -> io::Result<Vec<ListedEntry>> {
        // A separate descriptor, because the position in the listing belongs to it.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.0, ".", flags, Mode::empty())?;
        let mut found = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            if !wanted(entry.file_name()) {
                continue;
            }
            // Another process may have removed it.
            let Ok(stat) = fstatat(self.0.as_fd(), entry.file_name(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                continue;
            }
            found.push(ListedEntry {
                name: entry.file_name().to_owned(),
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
                used: (stat.st_mtime, stat.st_mtime_nsec),
            });
        }
        Ok(found)
    }
}

fn entry_name(name: &str) -> String {
    format!("{name}{ENTRY}")
}

fn shortcut_name(name: &str) -> String {
    format!("{name}{SHORTCUT}")
}

fn is_shortcut(name: &CStr) -> bool {
    is_hex_with(name, SHORTCUT)
}

fn is_entry(name: &CStr) -> bool {
    is_hex_with(name, ENTRY)
}

fn is_unfinished(name: &CStr) -> bool {
    is_hex_with(name, UNFINISHED)
}

/// Returns whether a file name is one that this module gives: hexadecimal digits and this suffix. Any other file in a directory that
/// the user named is left alone.
fn is_hex_with(name: &CStr, suffix: &str) -> bool {
    let stem = name.to_bytes().strip_suffix(suffix.as_bytes());
    stem.is_some_and(|stem| !stem.is_empty() && stem.iter().all(u8::is_ascii_hexdigit))
}

fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Returns the error for a directory or entry that another user could have written: its contents would become native
/// code.
fn unsafe_place(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}
