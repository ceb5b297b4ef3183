//! Objects that tasks share: queues, pipes, numbers, dicts, lists and locks, as those of Python's `multiprocessing`.
//!
//! Who starts the pool makes the objects. A guest gets one in two ways:
//!
//! - **in its args**: a program passes an object in the args of a task, and the guest names its type there;
//! - **by name**: an object is granted to the whole pool, as with `mpwasm run --object jobs=queue`, and the guest refers to it with
//!   `Queue::named("jobs")`.
//!
//! ```no_run
//! use mpwasm_guest::objects::{Dict, Queue, Value};
//! use mpwasm_guest::{Error, Model};
//! use serde::Deserialize;
//! # use mpwasm_guest::serde;
//!
//! #[derive(Deserialize)]
//! struct Job {
//!     word: String,
//! }
//!
//! #[derive(Default)]
//! struct Count;
//!
//! impl Model for Count {
//!     type Args = (Queue<Job>, Dict<String, u64>);
//!     type Output = ();
//!
//!     fn runnable((jobs, counts): Self::Args) -> Result<(), Error> {
//!         let total = Value::<i64>::named("total");
//!         for job in jobs.iter() {
//!             counts.add(&job?.word, 1)?;
//!             total.add(1)?;
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! An object is opened at its first use in a call. One of another kind is then refused as
//! [`WrongType`](ObjectErrorKind::WrongType). A reference can be passed on, in a result, in a value of another object or in the args
//! of a pushed task: it gives the receiver access to the object. A reference by name does so within the same pool.
//!
//! Values are anything that serde writes as JSON and reads from it, of up to 16 MiB.
//!
//! # Waiting
//!
//! A method that waits, such as [`Queue::get`], waits until the deadline of the call: the task then ends as `timeout`. The methods with
//! `_timeout` in their names wait less, and those with `_nowait` or `try_` not at all.
//!
//! # Ends of tasks
//!
//! Locks, permits and leased items belong to the call that acquired them. They are given back when it ends, however it ends.
//!
//! # On other targets
//!
//! On other targets than `wasm32` there are no objects: each use fails as [`Unavailable`](ObjectErrorKind::Unavailable).

mod dict;
mod error;
mod list;
mod lock;
mod number;
mod pipe;
mod queue;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
mod waiting;

pub use dict::Dict;
pub use error::{ObjectError, ObjectErrorKind};
pub use list::{List, Namespace};
pub use lock::{BoundedSemaphore, Lock, LockGuard, Permit, RLock, Semaphore};
pub use number::{Array, Integer, Number, Value};
pub use pipe::Connection;
pub use queue::{JoinableQueue, Queue};
pub use waiting::{Barrier, Condition, ConditionGuard, Event};
