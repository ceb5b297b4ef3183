//! Holds the objects that tasks share.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod bounds;
mod budget;
mod json;
mod operation;
mod operation_error;

pub use bounds::{ENTRY_OVERHEAD, MAX_PAGE};
pub use budget::Budget;
pub use json::Json;
pub use operation::{
    BarrierOperation, ConditionOperation, DictOperation, EventOperation, ListOperation, LockOperation,
    NamespaceOperation, Operation, Page, PipeOperation, QueueOperation, SemaphoreOperation,
};
pub use operation_error::OperationError;
