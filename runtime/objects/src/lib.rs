//! Holds the objects that tasks share.
//!
//! [`Objects`] is a state machine without processes, sockets, clocks or threads. The manager process passes it the messages of its
//! clients and the time, and does what it asks through the trait [`Effects`]. So tests can drive it through millions of random
//! operations, deaths and timeouts. Its invariants:
//!
//! - **Each request gets exactly one reply**, as long as its client is connected. A wait ends by what it waits for, by its timeout, by
//!   a cancellation, or with its call.
//! - **Nothing is held by a call that has ended.** Locks and permits are given back, and the next holder learns that they were
//!   abandoned. Items that were leased to a call that failed go back in front of their queue. A barrier at which a call waited is broken.
//! - **No wait closes a cycle of waits for locks.** One that would, and has no timeout, ends as `Deadlock`.
//! - **A client reaches the objects that it has opened**, by a token or a name that was granted to its pool, and no others.
//! - **Every byte that is held for clients is counted**, up to a cap. What would go over it is refused, and nothing is dropped.
//!
//! Clients are not trusted. A message that an honest client cannot send is a [`ClientFault`]. The caller then disconnects the client.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod bounds;
mod budget;
mod channels;
mod client;
mod collections;
mod context;
mod json;
mod keys;
mod manager;
mod message;
mod object;
mod operation;
mod operation_error;
mod synchronization;
mod wait;

pub use bounds::{ENTRY_OVERHEAD, MAX_PAGE};
pub use budget::Budget;
pub use json::Json;
pub use keys::ClientId;
pub use manager::{Objects, PoolError};
pub use message::{ClientFault, ClientMessage, Effects, ObjectReply};
pub use operation::{
    BarrierOperation, ConditionOperation, DictOperation, EventOperation, ListOperation, LockOperation,
    NamespaceOperation, Operation, Page, PipeOperation, QueueOperation, SemaphoreOperation,
};
pub use operation_error::OperationError;
