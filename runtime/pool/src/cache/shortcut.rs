//! Shortcuts: a small file that leads from a guest's file to its entry, so that neither is read as a whole.
//!
//! Hashing a guest and its entry takes 1.1 ms per MiB, and copying the entry 0.4 ms. A shortcut records that both were read and
//! hashed, and the identity that each file had then: device, inode, size, and the times of its last changes. The kernel
//! sets the time of the last change of status (`ctime`) at each change, and no process can choose it. While both files have the same
//! identity, they have the same contents.
//!
//! The name of a shortcut is a [`Key`] over the identity of the guest's file, all that an entry's key covers but the guest's bytes,
//! and the boot. So each entry is hashed anew after each boot, which finds what a power failure left incomplete.

use std::fs::File;
use std::io::Read;

use nix::sys::statfs::{self, FsType};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::FileIdentity;
use super::key::{HASH, Key};
use mpwasm_protocol::frame::decode;

/// Largest shortcut, bytes. It has about 200.
const MAX_SIZE: u64 = 1024;
/// File systems whose files change without a change of their identity here, or can become unreadable: other machines or
/// programs provide them.
const REMOTE: [FsType; 4] = [
    statfs::NFS_SUPER_MAGIC,
    statfs::SMB_SUPER_MAGIC,
    statfs::FUSE_SUPER_MAGIC,
    statfs::AFS_SUPER_MAGIC,
];

/// The contents of a shortcut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcut {
    /// The key of the shortcut itself.
    pub name: [u8; HASH],
    /// The key of the entry.
    pub entry: [u8; HASH],
    /// Identity of the entry's file when its hash was checked.
    pub checked: FileIdentity,
    /// SHA-256 of the guest's file.
    pub guest_hash: [u8; HASH],
}

impl Shortcut {
    /// Creates a shortcut from the guest's file to an entry that was hashed while it had the identity `checked`. `None` if one
    /// of the files was changed just now.
    pub fn new(
        name: &Key,
        guest: &FileIdentity,
        guest_hash: [u8; HASH],
        entry: &Key,
        checked: FileIdentity,
    ) -> Option<Self> {
        (guest.is_settled() && checked.is_settled()).then_some(Self {
            name: name.0,
            entry: entry.0,
            checked,
            guest_hash,
        })
    }

    /// Returns the bytes of its file: its contents, and their hash.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = postcard::to_allocvec(self).expect("numbers serialize, and a Vec takes all bytes");
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Reads a shortcut. `None` if it is damaged, or has another name.
    pub fn read(file: &File, name: &Key) -> Option<Self> {
        let mut bytes = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut bytes).ok()?;
        let (contents, hash) = bytes.split_last_chunk::<HASH>()?;
        if Sha256::digest(contents).as_slice() != hash {
            return None;
        }
        let shortcut: Self = decode(contents).ok()?;
        (shortcut.name == name.0).then_some(shortcut)
    }
}

/// Returns whether code can be mapped from this file directly: it is on a local file system, from which programs may be executed.
pub fn can_be_mapped(file: &File) -> bool {
    let is_local = statfs::fstatfs(file).is_ok_and(|of| !REMOTE.contains(&of.filesystem_type()));
    is_local && fstatvfs(file).is_ok_and(|of| !of.flags().contains(FsFlags::ST_NOEXEC))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::time::Duration;

    use super::*;

    fn identity(age: Duration) -> FileIdentity {
        FileIdentity::changed_before(age)
    }

    fn shortcut(guest: Duration, entry: Duration) -> Option<Shortcut> {
        Shortcut::new(
            &Key([1; HASH]),
            &identity(guest),
            [2; HASH],
            &Key([3; HASH]),
            identity(entry),
        )
    }

    const OLD: Duration = Duration::from_secs(10);

    fn read(bytes: &[u8], name: u8) -> Option<Shortcut> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Shortcut::read(&file, &Key([name; HASH]))
    }

    #[test]
    fn files_that_were_changed_just_now_get_no_shortcut() {
        assert!(shortcut(OLD, OLD).is_some());
        assert!(shortcut(Duration::ZERO, OLD).is_none());
        assert!(shortcut(OLD, Duration::ZERO).is_none());
    }

    #[test]
    fn a_shortcut_is_read_as_it_was_written_and_every_damage_is_noticed() {
        let written = shortcut(OLD, OLD).unwrap();
        let bytes = written.to_bytes();
        assert!((bytes.len() as u64) < MAX_SIZE);
        assert_eq!(read(&bytes, 1), Some(written));
        assert_eq!(read(&bytes, 2), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged, 1), None, "byte {at}");
            assert_eq!(read(&bytes[..at], 1), None, "{at} bytes");
        }
    }
}
