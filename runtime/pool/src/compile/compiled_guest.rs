//! [`CompiledGuest`]: what a compilation returns.

use std::fs::File;

use mpwasm_types::guest_info::GuestInfo;

/// A compiled guest, ready to be loaded.
#[derive(Debug)]
pub(crate) struct CompiledGuest {
    pub(crate) info: GuestInfo,
    /// The artifact for workers.
    pub(crate) artifact: File,
    /// The artifact for callbacks, folds and `tasks`, if it differs from that for workers. Its code checks for the deadline.
    pub(crate) checked_artifact: Option<File>,
}
