//! Bounds of what the manager holds.

/// Bytes that are counted for each value in addition to its text: its place in a table, and what the allocator takes.
pub const ENTRY_OVERHEAD: u64 = 64;

/// Entries of a page of a dict, and items of `get_many`, if the request names no smaller number.
pub const MAX_PAGE: u32 = 10_000;
