//! Constants of WASI preview 1.

/// The module of its imports.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Error numbers.
pub(crate) mod errno {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const NOTSOCK: i32 = 57;
}
