//! Queues and pipes.

mod leases;
mod pipe;
mod queue;

pub(crate) use pipe::{PipeState, Side};
pub(crate) use queue::ItemQueue;
