//! How the outcome of a task reaches the program: handles, waiting for many, callbacks and cancellation.

pub(crate) mod cancellation;
pub(crate) mod done_callbacks;
pub(crate) mod handle;
pub(crate) mod queue;
pub(crate) mod slot;
pub(crate) mod timer;
pub(crate) mod wait;
