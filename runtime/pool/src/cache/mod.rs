//! The cache of compiled guests: a guest is compiled once per machine.
//!
//! The parent looks up a guest before it starts a compiler, and stores the result. No other process touches the cache. A
//! problem with the cache never fails a pool. A guest whose entry is damaged, foreign or not this user's own is compiled,
//! and the entry is replaced. If nothing can be read or written, every guest is compiled, as without a cache.
//!
//! [`key`] identifies an entry, [`entry`] checks that it is intact, [`directory`] that no other user can have written it. A
//! [`shortcut`] spares reading a guest and its entry as a whole, while neither has changed since both were read.

mod directory;
mod entry;
mod identity;
mod key;
mod shortcut;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::directory::CacheDirectory;
pub(crate) use self::identity::FileIdentity;
use self::key::HASH;
pub(crate) use self::key::Key;
use self::shortcut::Shortcut;
use crate::compile::compiled_guest::CompiledGuest;
use crate::error::Error;
use mpwasm_system::inherited::without_signals;
use mpwasm_types::escape::Untrusted;

/// Default size of the cache of compiled guests: some hundreds of them.
const CACHE_LIMIT: u64 = 512 << 20;

/// A directory in which compiled guests are kept, for [`Builder::cache`](crate::Builder::cache).
///
/// A pool with a cache compiles a guest once for all later pools. A guest is identified by a hash of its bytes, this
/// build of mpwasm, the engine, the relevant settings, and the processor. The directory is created when it is needed,
/// with access for this user alone. A directory that other users can write or read is not used. When the cache is full,
/// the least recently used guests are evicted.
///
/// ```no_run
/// # fn main() -> Result<(), mpwasm::Error> {
/// use mpwasm::Cache;
///
/// let cache = Cache::at("/var/lib/judge/compiled").limit(64 << 20);
/// let pool = mpwasm::Pool::builder().cache(cache.clone()).start()?;
/// # pool.stop()?;
/// println!("{} guests", cache.stats()?.entries);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    path: PathBuf,
    limit: u64,
    /// Whether the user named this directory. A problem is logged as a warning then.
    is_named: bool,
    /// Set once a problem was logged, so that it is logged only once.
    has_logged_problem: Arc<AtomicBool>,
}

/// Number and size of a cache's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Number of guests.
    pub entries: u64,
    /// Size of all entries, bytes.
    pub bytes: u64,
}

impl Cache {
    /// Returns the cache in this directory, which need not exist yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            limit: CACHE_LIMIT,
            is_named: true,
            has_logged_problem: Arc::default(),
        }
    }

    /// Returns the user's cache, which the command line uses: in the directory that the variable `MPWASM_CACHE_DIR` names, or
    /// else `mpwasm` in the user's cache directory (`XDG_CACHE_HOME`, or `.cache` at home). `None` when the user has
    /// neither.
    #[must_use]
    pub fn of_user() -> Option<Self> {
        Self::from_environment(|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_environment(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<Self> {
        let path = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(named) = path("MPWASM_CACHE_DIR") {
            return Some(Self::at(named));
        }
        let absolute = |path: &PathBuf| path.is_absolute();
        let base = path("XDG_CACHE_HOME").filter(absolute);
        let base = base.or_else(|| Some(home.filter(absolute)?.join(".cache")))?;
        Some(Self {
            is_named: false,
            ..Self::at(base.join("mpwasm"))
        })
    }

    /// Sets the bound for all entries together, bytes; 512 MiB by default.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Returns its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the bound for all entries together, bytes.
    #[must_use]
    pub fn size_limit(&self) -> u64 {
        self.limit
    }

    /// Returns number and size of its entries.
    ///
    /// # Errors
    /// [`Error::Cache`] when the directory can't be read, or is not this user's alone.
    pub fn stats(&self) -> Result<CacheStats, Error> {
        self.counted(|directory| directory.entries())
    }

    /// Removes all guests from it, and leaves anything else that may be in the directory. Returns what was removed.
    ///
    /// # Errors
    /// [`Error::Cache`] when the directory can't be read or changed, or is not this user's alone.
    pub fn clear(&self) -> Result<CacheStats, Error> {
        self.counted(CacheDirectory::clear)
    }

    fn counted(
        &self,
        list: impl FnOnce(&CacheDirectory) -> io::Result<Vec<directory::ListedEntry>>,
    ) -> Result<CacheStats, Error> {
        let entries = match CacheDirectory::open(&self.path).and_then(|directory| list(&directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            result => result.map_err(|source| Error::Cache {
                path: self.path.clone(),
                source,
            })?,
        };
        Ok(CacheStats {
            entries: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.bytes).sum(),
        })
    }

    /// Opens the directory, if it exists and can be used.
    fn open(&self) -> Option<CacheDirectory> {
        match CacheDirectory::open(&self.path) {
            Ok(directory) => Some(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.log_problem("is not used", &error);
                None
            }
        }
    }

    /// Returns the guest to which a shortcut leads from a guest's file, and the SHA-256 hash of that file. `None` if there is no
    /// such shortcut, or the entry has changed since it was made.
    pub(crate) fn load_by_shortcut(&self, name: &Key) -> Option<(CompiledGuest, [u8; HASH])> {
        let directory = self.open()?;
        let shortcut = Shortcut::read(&directory.shortcut(&name.hex()).ok()??, name)?;
        let key = Key(shortcut.entry);
        let file = directory.entry(&key.hex()).ok()??;
        if FileIdentity::of(&file).ok()? != Some(shortcut.checked) || !shortcut::can_be_mapped(&file) {
            return None;
        }
        // The next load finds no entry of this identity, reads it as a whole and makes another shortcut.
        directory.touch(&file);
        let opened = entry::open(file, &key);
        let opened = opened.inspect_err(|why| tracing::debug!("an entry of the cache is not used: {why}"));
        Some((opened.ok()?, shortcut.guest_hash))
    }

    /// Makes a shortcut from a guest's file to the entry `key`, which [`load`](Self::load) has read from a file with the identity
    /// `checked`.
    pub(crate) fn store_shortcut(
        &self,
        name: &Key,
        guest: &FileIdentity,
        guest_hash: [u8; HASH],
        key: &Key,
        checked: FileIdentity,
    ) {
        if let Some(shortcut) = Shortcut::new(name, guest, guest_hash, key, checked)
            && let Some(directory) = self.open()
            && let Err(error) =
                without_signals(|| directory.write_shortcut(&name.hex(), &shortcut.to_bytes()))
        {
            tracing::debug!("no shortcut is made to an entry of the cache: {error}");
        }
    }

    /// Returns the guest with this key, if there is an intact entry, and the identity that the entry's file had while it was read.
    pub(crate) fn load(&self, key: &Key) -> Option<(CompiledGuest, Option<FileIdentity>)> {
        let directory = self.open()?;
        let found = directory.entry(&key.hex()).transpose()?;
        let read = found.map_err(entry::EntryError::from).and_then(|file| {
            directory.touch(&file);
            let before = FileIdentity::of(&file)?;
            let compiled = entry::read(&file, key)?;
            let is_same = FileIdentity::of(&file)? == before;
            Ok((compiled, before.filter(|_| is_same)))
        });
        read.inspect_err(|why| tracing::debug!("an entry of the cache is not used: {why}"))
            .ok()
    }

    /// Stores a guest and replaces an earlier entry with this key.
    pub(crate) fn store(&self, key: &Key, compiled: &CompiledGuest) {
        let stored = || {
            let bytes = entry::length(compiled)?;
            if bytes > self.limit {
                tracing::debug!("the compiled guest is not kept: it is larger than the cache");
                return Ok(());
            }
            let directory = CacheDirectory::make(&self.path)?;
            let name = key.hex();
            directory.make_room(&name, bytes, self.limit)?;
            directory.write(&name, |file| {
                without_signals(|| entry::write(file, key, compiled))
            })
        };
        if let Err(error) = stored() {
            self.log_problem("keeps nothing", &error);
        }
    }

    /// Logs the first problem. It is a warning if the user named the directory or if another user could write to it.
    /// Otherwise, for example without write permission in the home directory, it is a debug message.
    fn log_problem(&self, what: &str, error: &io::Error) {
        if self.has_logged_problem.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_our_own_finding = error.raw_os_error().is_none();
        let path = Untrusted::from(&self.path);
        if self.is_named || is_our_own_finding {
            tracing::warn!("the cache {path} {what}: {error}");
        } else {
            tracing::debug!("the cache {path} {what}: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
