//! A compiled guest, which workers and the callback thread load.

use std::fs::File;

use mpwasm_types::guest_info::GuestInfo;

/// The description of a guest and its compiled code.
#[derive(Debug)]
pub struct GuestArtifact {
    /// The description that the compiler made of it.
    pub info: GuestInfo,
    /// The artifact for workers, in a sealed memory file or a file of the cache.
    pub artifact: File,
    /// The artifact for callbacks, if workers run code without checks.
    pub checked_artifact: Option<File>,
}

impl GuestArtifact {
    /// Returns the artifact for callbacks, whose code has checks.
    pub fn checked(&self) -> &File {
        self.checked_artifact.as_ref().unwrap_or(&self.artifact)
    }
}
