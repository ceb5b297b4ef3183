//! The pool's side in this process, the parent: what was accepted, the pipe to the dispatcher and the thread that receives outcomes.
//!
//! [`ledger`] keeps every task that was accepted and has not ended. [`task_pipe`] writes tasks into the pipe. [`receiver`] is the thread
//! that starts the dispatcher, receives outcomes and calls the reporter. [`compile`] and [`guest_tasks`] run the processes that
//! compile a guest and run its `tasks`. The parent runs no guest code.

pub(crate) mod child_process;
pub(crate) mod chunk;
pub(crate) mod compile;
pub(crate) mod final_values;
pub(crate) mod guest_tasks;
pub(crate) mod id_map;
pub(crate) mod ledger;
pub(crate) mod receiver;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod status_requests;
pub(crate) mod task_pipe;
