//! Identity of the contents of a file: while it is the same, the contents are.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Least age of a file's last change when a shortcut is made: 1 s. Clocks of file systems have ticks of some milliseconds, and two
/// changes within one can have the same time.
const MIN_AGE: Duration = Duration::from_secs(1);

/// Identity of the contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    /// Returns the identity of a file. `None` if it is not a regular file.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| Self::from(&metadata)))
    }

    /// Returns whether the last change is old enough that a further change would have another time.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let (seconds, nanos) = self.changed;
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
            return false;
        };
        // A change in the future was made by another clock.
        now.checked_sub(Duration::new(seconds, nanos))
            .is_some_and(|age| age >= MIN_AGE)
    }

    /// Returns the identity of a file whose last change has this age.
    #[cfg(test)]
    pub fn changed_before(age: Duration) -> Self {
        let changed = SystemTime::now() - age;
        let changed = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self {
            device: 1,
            inode: 2,
            size: 3,
            modified: (4, 5),
            changed: (changed.as_secs() as i64, i64::from(changed.subsec_nanos())),
        }
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns the id of this boot of the machine.
pub fn boot_id() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/sys/kernel/random/boot_id")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_change_of_a_file_changes_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let identity = || FileIdentity::of(&file).unwrap().unwrap();
        let first = identity();
        std::thread::sleep(Duration::from_millis(20)); // longer than a tick
        (&file).write_all(b"two").unwrap();
        // A process can restore the time of the last modification, but not that of the last change of status.
        let second = identity();
        file.set_modified(
            SystemTime::UNIX_EPOCH + Duration::new(first.modified.0 as u64, first.modified.1 as u32),
        )
        .unwrap();
        let third = identity();
        assert!(first != second && first != third);
        assert_eq!(first.modified, third.modified);
        assert_eq!(FileIdentity::of(&File::open(dir.path()).unwrap()).unwrap(), None);
    }
}
