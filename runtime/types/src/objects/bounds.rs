//! Bounds of labels and values.

/// Longest label of an object, and longest name by which a pool knows it, in bytes.
pub const MAX_LABEL: usize = 128;

/// Largest JSON value of an object, in bytes: 16 MiB, as for a task's args.
pub const MAX_VALUE: usize = 16 << 20;

/// Most objects that are granted to a pool by name.
pub const MAX_OBJECT_NAMES: usize = 4096;
