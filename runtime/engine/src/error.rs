//! Errors of setting up the engine and of loading guests.

use thiserror::Error;

/// Why an engine cannot be made or an artifact cannot be loaded.
///
/// Artifacts that this version of mpwasm has compiled with the same settings can always be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The engine refused its settings, or the system refused the address space.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// The artifact is damaged, or was made by another version or with other settings.
    #[error("the compiled guest cannot be loaded: {0}")]
    Artifact(String),
    /// The artifact lacks an export that its [`GuestInfo`](mpwasm_types::guest_info::GuestInfo) lists.
    #[error("the compiled guest has no export `{0}`")]
    MissingExport(String),
    /// There are more guests than a `u32` can number.
    #[error("too many guests")]
    TooMany,
}

/// A granted directory that this process cannot use.
#[derive(Debug, Error)]
#[error("the granted directory {guest:?} can't be used: {reason}")]
pub struct GrantError {
    /// Path of the directory, as guests see it.
    pub(crate) guest: String,
    /// The error of the system.
    pub(crate) reason: String,
}
