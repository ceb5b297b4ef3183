//! Bounds of what the manager holds.

/// Bytes that are counted for each value in addition to its text: its place in a table, and what the allocator takes.
pub const ENTRY_OVERHEAD: u64 = 64;

/// Entries of a page of a dict, and items of `get_many`, if the request names no smaller number.
pub const MAX_PAGE: u32 = 10_000;

/// Bytes that are counted for an object in addition to its label and values.
pub(crate) const OBJECT_OVERHEAD: u64 = 512;

/// Bytes that are counted for a request that waits, in addition to its values.
pub(crate) const WAIT_OVERHEAD: u64 = 256;

/// Bytes that are counted for a client or a call of one.
pub(crate) const CLIENT_OVERHEAD: u64 = 512;

/// Most objects of a manager.
pub(crate) const MAX_OBJECTS: usize = 1 << 16;

/// Most clients of a manager.
pub(crate) const MAX_CLIENTS: usize = 1 << 12;

/// Most calls of a worker, or of a process that runs callbacks, at once.
pub(crate) const MAX_MEMBER_CALLS: usize = 64;

/// Most calls of the owner at once: a thread is one.
pub(crate) const MAX_OWNER_CALLS: usize = 1 << 16;

/// Bytes of a pipe's end from which a sender waits, as for a pipe of the kernel: 1 MiB.
pub(crate) const PIPE_HIGH_WATER_MARK: u64 = 1 << 20;

/// Most bytes of the items that one `get_many` returns together, so that the reply is not larger than the largest value.
pub(crate) const MAX_BATCH: u64 = mpwasm_types::objects::MAX_VALUE as u64;

/// Most bytes of the contents of an object, unless the memory cap is lower: 1 GiB, the largest payload of a frame.
pub(crate) const MAX_CONTENTS: u64 = 1 << 30;

/// Most values that one request adds: to a queue, a list or a dict. Each takes about a microsecond.
pub(crate) const MAX_MANY: usize = 1 << 15;
