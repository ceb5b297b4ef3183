//! Faults: processes that are killed and stopped, guests and callbacks that misbehave, readers and writers that go away.
//! Whatever happens, every accepted task has exactly one record, other tasks are not affected, and no process is left.
//!
//! The tests use real processes and signals on the real binary. `MPWASM_FAULT_TASKS` is the size of the long runs: 5,000
//! by default, 20,000 for acceptance. `MPWASM_FAULT_SLACK` is the factor by which a busy machine may be slower than the
//! bounds of the contract; see [`session::within`].

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support::{self as support, session};

mod callbacks;
mod commands;
mod dispatcher;
mod exec;
mod guests;
mod inherited;
mod parent;
mod pipes;
mod pressure;
mod resume;
mod signals;
mod stopped;
mod terminal;
mod workers;
