//! Objects that tasks, callbacks and this program share: queues, pipes, numbers, dictionaries, locks.
//!
//! A [`Manager`] is a process that holds them. Its methods create objects and return typed proxies, with the operations that Python's
//! `multiprocessing` has. A program passes proxies to tasks in their args, or grants them to a pool by name with
//! [`Builder::object`](crate::Builder::object). A guest reaches no other objects.
//!
//! What a task holds belongs to that attempt of the task. However the attempt ends, its locks are released, its leased items go back
//! and the barriers at which it waits break. For threads of this program the same holds when the thread ends.
//!
//! No operation is left waiting when the manager ends: each fails as [`ObjectErrorKind::Unavailable`].

pub(crate) mod client;
pub(crate) mod created;
mod dict;
mod event;
pub(crate) mod granted;
mod list;
mod lock;
pub(crate) mod manager;
mod namespace;
mod number;
mod pipe;
pub(crate) mod proxy;
mod queue;
mod start;
mod thread_call;
mod wait_limit;

#[cfg(test)]
mod tests;

pub use mpwasm_types::objects::{
    CallSource, HoldingCall, MAX_LABEL, ObjectError, ObjectErrorKind, ObjectKind, ObjectSpec, ObjectsStatus,
    WaitingCall,
};

pub use dict::Dict;
pub use event::{Barrier, Event};
pub use list::List;
pub use lock::{BoundedSemaphore, Condition, ConditionGuard, Lock, LockGuard, Permit, RLock, Semaphore};
pub use manager::{Manager, ManagerBuilder};
pub use namespace::Namespace;
pub use number::{Array, Integer, Number, Value};
pub use pipe::Connection;
pub use proxy::Shared;
pub use queue::{JoinableQueue, Queue};
