//! Compiles the guest in a file, or takes it from the cache without reading it.

use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{accepted, check_limits, compile_by, look_up_or_compile, read_file};
use crate::cache::{Cache, FileIdentity, Key};
use crate::compile::compiled_guest::CompiledGuest;
use crate::error::Error;
use mpwasm_sandbox::child::Executable;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::escape::escape;
use mpwasm_types::settings::Settings;

/// Returns the compiled guest in a file, and the SHA-256 hash of the file. Reads neither the guest nor its compiled form if the cache
/// has a shortcut from one to the other.
pub(crate) fn compile_file(
    executable: &Executable,
    settings: &Settings,
    cache: Option<&Cache>,
    path: &Path,
) -> Result<(CompiledGuest, [u8; 32]), Error> {
    let unreadable = |error| Error::Read {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(unreadable)?;
    let identity = FileIdentity::of(&file).map_err(unreadable)?;
    let mut source = GuestSource {
        name: &path.to_string_lossy(),
        path,
        file,
        identity,
        contents: None,
        hash: [0; 32],
    };
    let compiled = compile_by(settings, |engine| {
        source.compile(executable, settings, engine, cache)
    })?;
    Ok((compiled, source.hash))
}

/// The file of a guest, which is read only when that is needed.
struct GuestSource<'a> {
    name: &'a str,
    path: &'a Path,
    file: File,
    /// `None` if it is not a regular file.
    identity: Option<FileIdentity>,
    contents: Option<Vec<u8>>,
    /// SHA-256 of the contents, once the guest was compiled.
    hash: [u8; 32],
}

impl GuestSource<'_> {
    fn compile(
        &mut self,
        executable: &Executable,
        settings: &Settings,
        engine: &EngineSettings,
        cache: Option<&Cache>,
    ) -> Result<CompiledGuest, Error> {
        let shortcut = match (cache, self.identity) {
            (Some(cache), Some(identity)) => Key::of_shortcut(executable, engine, &identity)
                .ok()
                .map(|key| (cache, identity, key)),
            _ => None,
        };
        if let Some((cache, _, key)) = &shortcut
            && let Some((compiled, hash)) = cache.load_by_shortcut(key)
        {
            tracing::debug!("{}: taken from the cache, without reading it", escape(self.name));
            self.hash = hash;
            return accepted(self.name, check_limits(compiled, engine));
        }
        let bytes = match self.contents.take() {
            Some(bytes) => bytes,
            None => self.read()?,
        };
        let (result, entry) = look_up_or_compile(executable, settings, engine, cache, self.name, &bytes)?;
        self.contents = Some(bytes);
        if let Some((cache, identity, key)) = &shortcut
            && let Some((entry_key, checked)) = entry
            && FileIdentity::of(&self.file).is_ok_and(|now| now == Some(*identity))
        {
            cache.store_shortcut(key, identity, self.hash, &entry_key, checked);
        }
        accepted(self.name, result)
    }

    fn read(&mut self) -> Result<Vec<u8>, Error> {
        let bytes = read_file(&self.file).map_err(|error| Error::Read {
            path: self.path.to_owned(),
            error,
        })?;
        self.hash = Sha256::digest(&bytes).into();
        Ok(bytes)
    }
}
