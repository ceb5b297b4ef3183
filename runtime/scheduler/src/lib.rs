//! Decides which worker runs which task, and handles workers that fail.
//!
//! The scheduler is a state machine without processes, sockets, clocks or threads. The event loop reports events and the time,
//! and the scheduler acts through the trait [`Io`]. So tests can drive it through millions of random faults. Its invariants:
//!
//! - **Every accepted task ends exactly once.** A [`ScheduledTask`] is one value that moves between the queue and the offers of
//!   workers until it leaves by [`Scheduler::ended`] (the worker reported its end) or [`Io::task_failed`] (the scheduler ended it).
//! - **No attempt runs twice.** A claimed task is never offered to another worker. If its worker ends, the attempt has failed. Another
//!   attempt follows only if the task's [`Retry`](mpwasm_types::retry::Retry) policy allows it.
//! - **No process runs more tasks than it may**, which is one with [`Isolation::Process`](mpwasm_types::settings::Isolation). It never
//!   has more in flight than it may still run, and is retired as soon as the last one ends.
//! - **No worker is waited for forever.** Each process has a time at which it is checked again.
//! - **No task waits forever for its guest.** A worker has the guests that it was spawned with. If none will take the first task in
//!   the queue soon, and none that has its guest is starting, the next idle worker is replaced by one that has the guest. No worker
//!   gets a task before an older one that it could run.
//! - **A waiting task lends its place.** While a task waits for a shared object, another worker may be spawned for the queued tasks,
//!   up to a bound, so that [`size`](Scheduler::new) tasks compute. See [`Scheduler::waiting`].
//! - **State is computed, not counted.** The numbers of missing and idle workers are computed from the slots when needed.
//!
//! In a turn, the event loop reports all pending events (the frames of a worker before its exit), calls [`tick`](Scheduler::tick)
//! and [`assign`](Scheduler::assign), and sleeps until [`next_wakeup`](Scheduler::next_wakeup) or the next event.
//!
//! Workers are not trusted. A report that an honest worker cannot make is a [`ProtocolFault`] and changes nothing. The caller then
//! calls [`protocol_broken`](Scheduler::protocol_broken).

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod assign;
mod chunk;
mod death;
mod guest_set;
mod guests;
mod in_flight;
mod io;
mod recency;
mod removal;
mod retry;
mod retry_queue;
mod scheduler;
mod slot;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod waiting;
mod window;

pub use in_flight::EndedTask;
pub use io::{Io, KillReason, ProtocolFault, RetireReason, SpawnReason, WorkerExit};
pub use scheduler::Scheduler;
pub use status::TaskPlace;
pub use task::{Claim, ScheduledTask};
pub use window::{MAX_UNREAD, counted_length};
