//! The state machine of the manager process: clients, their calls and requests, and the objects.

mod calls;
mod clients;
mod contents;
mod creation;
mod deadlock;
mod handle;
mod objects;
mod status;
#[cfg(test)]
mod tests;
mod waits;

pub use clients::PoolError;
pub use objects::Objects;
