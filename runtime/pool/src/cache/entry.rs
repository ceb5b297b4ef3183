//! The format of a cache entry, and the check that it is intact.
//!
//! ```text
//! artifact │ description (postcard)
//! magic (16) │ key (32) │ length of the description (8) │ length of the artifact (8) │ SHA-256 of all that (32)
//! ```
//!
//! The artifact comes first, so that the file can be mapped as it is: the engine ignores what follows.
//!
//! The engine would accept an artifact with a flipped byte and run it, so an entry contains a hash. The hash protects
//! against damage: a torn write, a bad disk, a foreign file. It does not protect against an attacker, who would compute
//! it anew; the [directory](super::directory) makes sure that no other user can write an entry.
//!
//! [`read`] copies the artifact into a sealed memory file, and hashes the copy: the bytes that were checked are the ones that
//! run. [`open`] takes the file itself, for an entry that was hashed before and has not changed since
//! ([`shortcut`](super::shortcut)). mpwasm never changes an entry: it replaces or removes the file, and a process that has it
//! open keeps the old one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::key::{HASH, Key};
use crate::compile::compiled_guest::CompiledGuest;
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::MAX_ARTIFACT;
use mpwasm_system::memory_file::sealed_memory_of;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::guest_info::MAX_DESCRIPTION;

/// First bytes of the trailer of an entry. They change with the format of entries. The key covers the executable of the pool's
/// processes, and this process, which writes entries, may run another.
const MAGIC: &[u8; 16] = b"mpwasm guest, 2\n";
/// Size of the trailer without the hash, bytes.
const TRAILER: usize = MAGIC.len() + HASH + 8 + 8;
/// Bytes per copy: the default capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// Why an entry is not used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("it is no compiled guest")]
    Foreign,
    #[error("it is the compiled form of another guest")]
    OtherKey,
    #[error("it is not as long as it says")]
    WrongLength,
    #[error("its hash is another")]
    WrongHash,
    #[error("its description can't be read")]
    Description,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Returns the length of a guest's entry.
///
/// # Errors
/// When the artifact's length can't be determined.
pub fn length(compiled: &CompiledGuest) -> io::Result<u64> {
    let description = describe(&compiled.info).len() as u64;
    Ok(description + compiled.artifact.metadata()?.len() + (TRAILER + HASH) as u64)
}

/// Writes an entry.
///
/// # Errors
/// Whatever writing returns.
pub fn write(out: &mut impl Write, key: &Key, compiled: &CompiledGuest) -> io::Result<()> {
    let description = describe(&compiled.info);
    let artifact = compiled.artifact.metadata()?.len();
    let mut out = Hashing {
        out,
        hash: Sha256::new(),
    };
    in_chunks(&compiled.artifact, artifact, |chunk| out.write_all(chunk))?;
    out.write_all(&description)?;
    out.write_all(MAGIC)?;
    out.write_all(&key.0)?;
    out.write_all(&(description.len() as u64).to_le_bytes())?;
    out.write_all(&artifact.to_le_bytes())?;
    let Hashing { out, hash } = out;
    out.write_all(&hash.finalize())
}

/// Reads the entry for `key` into a sealed memory file, and checks it. The file must be at its start.
///
/// # Errors
/// When it is damaged, or has another key.
pub fn read(file: &File, key: &Key) -> Result<CompiledGuest, EntryError> {
    let end = EntryTail::read(file, key)?;
    let artifact = end.artifact;
    let copy = |memory: &mut File| io::copy(&mut Read::take(file, artifact), memory).map(drop);
    let memory = sealed_memory_of(c"mpwasm-artifact", copy)?;
    if memory.metadata()?.len() != artifact {
        return Err(EntryError::WrongLength);
    }
    let mut hash = Sha256::new();
    in_chunks(&memory, artifact, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    hash.update(&end.description);
    hash.update(end.trailer);
    if hash.finalize().as_slice() != end.hash {
        return Err(EntryError::WrongHash);
    }
    end.guest(memory)
}

/// Returns the entry for `key` with the file itself as its artifact. The caller knows that the hash is right.
///
/// # Errors
/// When it is not as long as it says, or has another key.
pub fn open(file: File, key: &Key) -> Result<CompiledGuest, EntryError> {
    EntryTail::read(&file, key)?.guest(file)
}

/// What follows the artifact.
struct EntryTail {
    /// Length of the artifact, bytes.
    artifact: u64,
    description: Vec<u8>,
    trailer: [u8; TRAILER],
    hash: [u8; HASH],
}

impl EntryTail {
    fn read(file: &File, key: &Key) -> Result<Self, EntryError> {
        let length = file.metadata()?.len();
        let at = length.checked_sub((TRAILER + HASH) as u64);
        let at = at.ok_or(EntryError::WrongLength)?;
        let mut trailer = [0; TRAILER];
        take(file, &mut trailer, at)?;
        let mut hash = [0; HASH];
        take(file, &mut hash, at + TRAILER as u64)?;
        let (magic, rest) = trailer.split_at(MAGIC.len());
        let (of, lengths) = rest.split_at(HASH);
        if magic != MAGIC {
            return Err(EntryError::Foreign);
        }
        if of != key.0 {
            return Err(EntryError::OtherKey);
        }
        let (description, artifact) = lengths.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let (description, artifact) = (number(description), number(artifact));
        let is_whole = description.checked_add(artifact) == Some(at);
        if !is_whole || description > MAX_DESCRIPTION as u64 || artifact > MAX_ARTIFACT as u64 {
            return Err(EntryError::WrongLength);
        }
        let mut bytes = vec![0; description as usize];
        take(file, &mut bytes, artifact)?;
        Ok(Self {
            artifact,
            description: bytes,
            trailer,
            hash,
        })
    }

    fn guest(&self, artifact: File) -> Result<CompiledGuest, EntryError> {
        let info = decode(&self.description).map_err(|_| EntryError::Description)?;
        Ok(CompiledGuest {
            info,
            artifact,
            checked_artifact: None,
        })
    }
}

fn describe(info: &GuestInfo) -> Vec<u8> {
    postcard::to_allocvec(info).expect("names and numbers serialize, and a Vec takes all bytes")
}

/// Fills `bytes` with those of `file` from `at` on.
fn take(file: &File, bytes: &mut [u8], at: u64) -> Result<(), EntryError> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => EntryError::WrongLength,
        _ => error.into(),
    })
}

/// Passes the contents of `file` to `each` in chunks. Reads at offsets, as the file position is shared by all processes
/// that have the descriptor.
fn in_chunks(file: &File, length: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let chunk = &mut buffer[..CHUNK.min(usize::try_from(length - at).unwrap_or(CHUNK))];
        file.read_exact_at(chunk, at)?;
        each(chunk)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

/// Writes to `out` and hashes what is written.
struct Hashing<'a, W> {
    out: &'a mut W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;
    use mpwasm_system::memory_file::sealed_memory;

    const KEY: Key = Key([7; HASH]);

    fn guest(artifact: &[u8]) -> CompiledGuest {
        CompiledGuest {
            info: GuestInfo {
                has_tasks: true,
                warnings: vec!["a warning".to_owned()],
                ..GuestInfo::default()
            },
            artifact: sealed_memory(c"test", artifact).unwrap(),
            checked_artifact: None,
        }
    }

    fn written(compiled: &CompiledGuest) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &KEY, compiled).unwrap();
        bytes
    }

    fn read_bytes(bytes: &[u8], key: &Key) -> Result<CompiledGuest, EntryError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        read(&file, key)
    }

    fn artifact(compiled: &CompiledGuest) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = compiled.artifact.metadata().unwrap().len();
        in_chunks(&compiled.artifact, length, |chunk| bytes.write_all(chunk)).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let compiled = guest(&bytes);
            let entry = written(&compiled);
            assert_eq!(entry.len() as u64, super::length(&compiled).unwrap());
            let again = read_bytes(&entry, &KEY).unwrap();
            assert_eq!(again.info, compiled.info);
            assert!(artifact(&again) == bytes, "{length}");
        }
    }

    #[test]
    fn what_is_read_can_not_be_changed_any_more() {
        let compiled = read_bytes(&written(&guest(b"artifact")), &KEY).unwrap();
        assert!(compiled.artifact.write_at(b"x", 0).is_err());
        assert!(compiled.artifact.set_len(0).is_err());
    }

    #[test]
    fn an_entry_that_is_opened_begins_with_its_artifact() {
        let entry = written(&guest(b"artifact"));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&entry).unwrap();
        let opened = open(file.try_clone().unwrap(), &KEY).unwrap();
        assert_eq!(opened.info, guest(b"").info);
        assert!(artifact(&opened).starts_with(b"artifact"));
        assert!(matches!(open(file, &Key([8; HASH])), Err(EntryError::OtherKey)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let entry = written(&guest(b"the artifact"));
        for at in 0..entry.len() {
            for bit in [0, 7] {
                let mut damaged = entry.clone();
                damaged[at] ^= 1 << bit;
                let read = read_bytes(&damaged, &KEY);
                assert!(read.is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn every_length_but_the_right_one_is_noticed() {
        let mut entry = written(&guest(b"the artifact"));
        for length in 0..entry.len() {
            assert!(read_bytes(&entry[..length], &KEY).is_err(), "{length}");
        }
        entry.push(0);
        assert!(read_bytes(&entry, &KEY).is_err());
    }

    #[test]
    fn lengths_that_can_not_be_are_refused_before_there_is_memory_for_them() {
        let entry = written(&guest(b"the artifact"));
        let lengths = [
            (u64::MAX, 1),
            (1, u64::MAX),
            (1 << 62, 1 << 62),
            (u64::MAX, u64::MAX),
        ];
        for (description, artifact) in lengths {
            let mut damaged = entry.clone();
            let at = entry.len() - HASH - 16;
            damaged[at..at + 8].copy_from_slice(&description.to_le_bytes());
            damaged[at + 8..at + 16].copy_from_slice(&artifact.to_le_bytes());
            assert!(matches!(read_bytes(&damaged, &KEY), Err(EntryError::WrongLength)));
        }
    }

    #[test]
    fn an_entry_of_another_guest_is_not_used() {
        let entry = written(&guest(b"the artifact"));
        assert!(matches!(
            read_bytes(&entry, &Key([8; HASH])),
            Err(EntryError::OtherKey)
        ));
        assert!(matches!(read_bytes(&[b' '; 200], &KEY), Err(EntryError::Foreign)));
    }
}
