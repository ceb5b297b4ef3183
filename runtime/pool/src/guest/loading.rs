//! Loads a guest into a pool: reads it, compiles it or takes it from the cache, and sends it to the backend.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::backend::NewGuest;
use crate::builder::Builder;
use crate::builder::checks::CheckedSettings;
use crate::cache::Cache;
use crate::compile;
use crate::compile::compiled_guest::CompiledGuest;
use crate::error::Error;
use crate::guest::{Guest, GuestParts};
use crate::pool::Pool;
use crate::pool::state::PoolLifecycle;
use mpwasm_sandbox::child::Executable;
use mpwasm_system::process;
use mpwasm_types::ids::{GuestId, WorkerId};
use mpwasm_types::settings::{Interrupt, Settings};

/// Descriptors of a process that holds a pool's guests, beside those for guests and workers. It has about ten.
const OTHER_DESCRIPTORS: u64 = 32;
/// Descriptors that the dispatcher has for each worker slot: socket, pidfd and control pipe.
const WORKER_DESCRIPTORS: u64 = 3;
/// Descriptors that stay free for the program around a pool when its soft limit is raised.
const SPARE_DESCRIPTORS: u64 = 512;

impl Pool {
    /// Reads, compiles and checks a guest: a `.wasm` or `.wat` file. Returns when the pool can run its tasks. May be
    /// called while tasks of other guests run.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::NotWasm`], [`Error::Refused`], [`Error::Compile`], [`Error::Start`] (the compiler
    /// is a process of its own), [`Error::TooManyGuests`], [`Error::Io`], [`Error::Closed`] when the pool has ended, or
    /// [`Error::Forked`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Guest, Error> {
        let path = path.as_ref();
        let name = path.to_string_lossy();
        self.load_with(&name, |cache| {
            compile::from_file::compile_file(&self.shared.executable, &self.shared.settings, cache, path)
        })
    }

    /// Loads a guest from memory. `name` is used in messages. Otherwise as [`Pool::load`].
    ///
    /// # Errors
    /// As [`Pool::load`].
    pub fn load_bytes(&self, name: &str, bytes: &[u8]) -> Result<Guest, Error> {
        let shared = &self.shared;
        self.load_with(name, |cache| {
            let compiled = compile::compile(&shared.executable, &shared.settings, cache, name, bytes)?;
            Ok((compiled, Sha256::digest(bytes).into()))
        })
    }

    /// Loads the guest that `compile` returns, with the hash of its file.
    fn load_with(
        &self,
        name: &str,
        compile: impl FnOnce(Option<&Cache>) -> Result<(CompiledGuest, [u8; 32]), Error>,
    ) -> Result<Guest, Error> {
        let shared = &self.shared;
        shared.owner.check()?;
        let loaded = shared.lifecycle.lock().loaded;
        allow_guests(name, loaded + 1, &shared.settings)?;
        let (compiled, hash) = compile(shared.cache.as_ref())?;
        self.load_compiled(name, hash, Arc::new(compiled))
    }

    /// Loads a guest that was compiled elsewhere, by the same executable and with settings that lead to the same code.
    pub(crate) fn adopt(&self, guest: &Guest) -> Result<Guest, Error> {
        self.load_compiled(guest.name(), *guest.hash(), Arc::clone(guest.compiled()))
    }

    /// Sends a compiled guest to the backend and waits until it is loaded.
    pub(crate) fn load_compiled(
        &self,
        name: &str,
        hash: [u8; 32],
        compiled: Arc<CompiledGuest>,
    ) -> Result<Guest, Error> {
        let shared = &self.shared;
        shared.owner.check()?;
        let one_at_a_time = shared.loading.lock();
        let guest = shared.lifecycle.lock().loaded;
        shared.backend.load(&NewGuest {
            index: GuestId(guest),
            info: &compiled.info,
            hash: &hash,
            artifact: &compiled.artifact,
            checked_artifact: compiled.checked_artifact.as_ref(),
        })?;
        let is_waiting = |lifecycle: &mut PoolLifecycle| lifecycle.loaded == guest && lifecycle.end.is_none();
        let lifecycle = shared.changed.wait_while(shared.lifecycle.lock(), is_waiting);
        let loaded = lifecycle.loaded > guest;
        drop(lifecycle);
        if !loaded {
            return Err(Error::Closed);
        }
        let guest = Guest::new(GuestParts {
            pool: Some(shared.id),
            index: GuestId(guest),
            name: name.to_owned(),
            hash,
            compiled,
            settings: shared.settings.clone(),
            executable: shared.executable.clone(),
            trusted: shared.trusted.clone(),
        });
        shared.final_values.load(guest.clone());
        drop(one_at_a_time);
        Ok(guest)
    }
}

impl Builder {
    /// Reads, compiles and checks a guest for [commands](crate::command::Command), without a pool: no other process is
    /// left when this returns. No pool runs its tasks. Directories are opened by each command that starts.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), mpwasm::Error> {
    /// use mpwasm::command::Command;
    ///
    /// mpwasm::init();
    /// let sort = mpwasm::Pool::builder().load("sort.wasm")?;
    /// let output = Command::new(&sort).arg("-r").stdin("1\n2\n").output()?;
    /// assert_eq!(output.stdout, b"2\n1\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Builder::start`] and [`Pool::load`].
    pub fn load(self, path: impl AsRef<Path>) -> Result<Guest, Error> {
        let path = path.as_ref();
        self.load_alone(&path.to_string_lossy(), |executable, settings, cache| {
            compile::from_file::compile_file(executable, settings, cache, path)
        })
    }

    /// As [`Builder::load`], for a guest in memory. `name` is used in messages, and its last path component is `argv[0]`.
    ///
    /// # Errors
    /// As [`Builder::load`].
    pub fn load_bytes(self, name: &str, bytes: &[u8]) -> Result<Guest, Error> {
        self.load_alone(name, |executable, settings, cache| {
            let compiled = compile::compile(executable, settings, cache, name, bytes)?;
            Ok((compiled, Sha256::digest(bytes).into()))
        })
    }

    /// Loads the guest that `compile` returns, with the hash of its file, for commands.
    fn load_alone(
        self,
        name: &str,
        compile: impl FnOnce(&Executable, &Settings, Option<&Cache>) -> Result<(CompiledGuest, [u8; 32]), Error>,
    ) -> Result<Guest, Error> {
        let CheckedSettings {
            settings,
            executable,
            cache,
            trusted,
        } = self.checked()?;
        let (compiled, hash) = compile(&executable, &settings, cache.as_ref())?;
        Ok(Guest::new(GuestParts {
            pool: None,
            index: GuestId(0),
            name: name.to_owned(),
            hash,
            compiled: Arc::new(compiled),
            settings,
            executable,
            trusted,
        }))
    }
}

/// Raises the soft limit of open files so that the pool can have this number of guests.
///
/// # Errors
/// [`Error::TooManyGuests`] when the hard limit is too low.
fn allow_guests(name: &str, guests: u32, settings: &Settings) -> Result<(), Error> {
    let artifacts = match settings.interrupt {
        Interrupt::Epoch => 1,
        _ => 2,
    };
    let needed = artifacts * u64::from(guests) + OTHER_DESCRIPTORS;
    let limit = process::allow_descriptors(needed + SPARE_DESCRIPTORS);
    let slots = WorkerId::slots(settings.size, settings.tasks_per_process());
    // A pool may have more workers than the limit permits, and then runs with fewer. So they count for half of it at most.
    let needed = needed + (u64::from(slots) * WORKER_DESCRIPTORS).min(limit / 2);
    if needed <= limit {
        return Ok(());
    }
    Err(Error::TooManyGuests {
        name: name.to_owned(),
        needed,
        limit,
    })
}
