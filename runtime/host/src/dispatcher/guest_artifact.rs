//! A compiled guest, which workers and the callback thread load.

use std::fs::File;

use mpwasm_types::guest_info::GuestInfo;

/// The description of a guest and its compiled code.
#[derive(Debug)]
pub struct GuestArtifact {
    /// The description that the compiler made of it.
    pub info: GuestInfo,
    /// The artifact of the compiler, in a sealed memory file.
    pub artifact: File,
}
