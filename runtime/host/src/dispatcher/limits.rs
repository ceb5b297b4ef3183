//! Bounds of what waits in the dispatcher.

/// Callbacks that may wait before no more tasks are offered.
pub const CALLBACK_QUEUE: usize = 1024;

/// Bytes of results, errors and args that may wait for callbacks before no more tasks are offered. The callback thread may hold
/// as many again.
pub const CALLBACK_QUEUE_BYTES: usize = 8 << 20;

/// Bytes of outcomes and output that may wait in the dispatcher for the parent before it reads no more tasks.
pub const OUTCOME_HIGH_WATER: usize = 8 << 20;
