//! [`CompiledGuest`]: what a compilation returns.

use std::fs::File;

use mpwasm_types::guest_info::GuestInfo;

/// A compiled guest, ready to be loaded.
#[derive(Debug)]
pub(crate) struct CompiledGuest {
    pub(crate) info: GuestInfo,
    pub(crate) artifact: File,
}
