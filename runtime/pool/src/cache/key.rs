//! Identifies a compiled guest in the cache: a hash over everything that the compiler's output depends on.
//!
//! An entry with the right key is used without a further check that it is acceptable and loads. A worker that can't load
//! it would fail the pool. So the key has to be complete. The compiler's output is a function of
//!
//! - its program: this build of mpwasm, and the size and modification time of the executable. The build is a hash of the
//!   sources of all child processes, which include the engine's settings and the description of a guest. Size and time
//!   stand for everything else that the executable was built from.
//! - the engine: its version, target, processor features and settings, as [`hash_compatibility`] hashes them. With equal
//!   hashes an artifact of one engine loads in another.
//! - the guest's bytes.
//!
//! Limits are not part of the key. An entry contains the initial sizes of its guest's instances, which the parent
//! compares with its limits when it loads the entry.
//!
//! The compiler has no other input: no files, no environment, no clock, and no other message.

use std::hash::Hasher;
use std::io;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use super::identity::{FileIdentity, boot_id};
use mpwasm_engine::{LoadError, hash_compatibility};
use mpwasm_protocol::messages::Hello;
use mpwasm_sandbox::child::Executable;
use mpwasm_types::engine_settings::EngineSettings;

/// Size of a hash, bytes.
pub const HASH: usize = 32;

/// Why a compiled guest has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The size and time of the executable are unknown.
    #[error(transparent)]
    Executable(#[from] io::Error),
    /// The engine refuses its settings.
    #[error(transparent)]
    Engine(#[from] LoadError),
}

/// Identifies a compiled guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u8; HASH]);

impl Key {
    /// Returns the key of the guest `bytes`, as compiled by `executable` with these settings.
    ///
    /// # Errors
    /// When there is no key. The guest is not cached then.
    pub fn of(executable: &Executable, settings: &EngineSettings, bytes: &[u8]) -> Result<Self, KeyError> {
        Self::over(b"mpwasm compiled guest", executable, settings, &[bytes])
    }

    /// Returns the key of the shortcut from the guest in a file with this identity, in this boot of the machine.
    ///
    /// # Errors
    /// As [`Key::of`].
    pub fn of_shortcut(
        executable: &Executable,
        settings: &EngineSettings,
        guest: &FileIdentity,
    ) -> Result<Self, KeyError> {
        let guest = postcard::to_allocvec(guest).expect("numbers serialize, and a Vec takes all bytes");
        Self::over(b"mpwasm shortcut", executable, settings, &[&guest, &boot_id()?])
    }

    /// Returns the key of a `kind` of file, over `fields` and everything else that the compiler's output depends on.
    fn over(
        kind: &[u8],
        executable: &Executable,
        settings: &EngineSettings,
        fields: &[&[u8]],
    ) -> Result<Self, KeyError> {
        // A new setting fails to compile here: decide whether the compiler's output depends on it.
        let EngineSettings {
            memory: _,        // compared with the entry when it is loaded
            max_table: _,     // likewise
            keep_resident: _, // only a worker's allocator uses it
            stack: _,         // checked when the code runs
            interrupt: _,     // the engine's hash says whether code has checks
            fuel: _, // the engine's hash says whether fuel is counted; the amount does not change the code
            max_result: _, // this and the others apply to calls
            max_output: _,
            capture: _,
            terminals: _,
        } = settings;
        let file = std::fs::metadata(executable.path())?;
        let Hello { version, build, .. } = Hello::ours();
        let mut hash = Fields::default();
        hash.field(kind);
        hash.field(version.as_bytes());
        hash.field(build.as_bytes());
        hash.number(file.len());
        hash.number(file.mtime().cast_unsigned());
        hash.number(file.mtime_nsec().cast_unsigned());
        hash_compatibility(settings, &mut hash)?;
        for field in fields {
            hash.field(field);
        }
        Ok(Self(hash.0.finalize().into()))
    }

    /// Returns the key in hexadecimal, for file names.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A cryptographic hash over fields. Each field is preceded by its length, so that different lists of fields never hash
/// the same bytes.
#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }
}

/// Lets the engine hash its settings.
impl Hasher for Fields {
    fn write(&mut self, bytes: &[u8]) {
        self.field(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the engine writes to the hash and does not ask for it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::settings::{Interrupt, Settings};

    fn key(settings: &Settings, bytes: &[u8]) -> Key {
        Key::of(&Executable::Own, &EngineSettings::from(settings), bytes).unwrap()
    }

    #[test]
    fn the_same_guest_has_the_same_key() {
        let settings = Settings::default();
        assert_eq!(key(&settings, b"guest"), key(&settings, b"guest"));
        assert_eq!(key(&settings, b"guest").hex().len(), 2 * HASH);
    }

    #[test]
    fn what_does_not_concern_the_compiler_does_not_change_the_key() {
        let others = Settings {
            size: 77,
            timeout: std::time::Duration::from_secs(77),
            max_result: 77,
            max_output: 77,
            compile_timeout: std::time::Duration::from_secs(77),
            memory: 77,
            callback_memory: 77,
            ..Settings::default()
        };
        assert_eq!(key(&others, b"guest"), key(&Settings::default(), b"guest"));
        let fuel = |fuel| Settings {
            fuel: Some(fuel),
            ..Settings::default()
        };
        assert_eq!(key(&fuel(1), b"guest"), key(&fuel(2), b"guest"));
    }

    #[test]
    fn what_the_answer_depends_on_changes_the_key() {
        let settings = Settings::default();
        let usual = key(&settings, b"guest");
        let with_fuel = Settings {
            fuel: Some(1),
            ..settings.clone()
        };
        assert_ne!(key(&with_fuel, b"guest"), usual);
        let unchecked = Settings {
            interrupt: Interrupt::Kill,
            ..settings.clone()
        };
        assert_ne!(key(&unchecked, b"guest"), usual);
        assert_ne!(key(&settings, b"guesT"), usual);
        assert_ne!(key(&settings, b""), usual);
    }

    #[test]
    fn another_executable_changes_the_key_and_one_that_is_not_there_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let engine = EngineSettings::from(&Settings::default());
        let key = || Key::of(&Executable::At(path.clone()), &engine, b"guest");
        assert!(key().is_err());
        std::fs::write(&path, "one").unwrap();
        let one = key().unwrap();
        assert_eq!(key().unwrap(), one);
        std::fs::write(&path, "longer").unwrap();
        let longer = key().unwrap();
        assert_ne!(longer, one);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(key().unwrap(), longer);
    }
}
