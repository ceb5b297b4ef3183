//! Faults: processes that are killed and stopped, guests and callbacks that misbehave, readers and writers that go
//! away. Whatever happens, every accepted task has its one record, its neighbours are unharmed, and no process is
//! left.
//!
//! Real processes and real signals on the real binary. `MPWASM_FAULT_TASKS` is the size of the long runs (5 000 if it
//! is not set; 20 000 is an acceptance figure). `MPWASM_FAULT_SLACK` is the factor by which a machine that is busy
//! with other things may be slower than the bounds of the contract; see [`session::within`].

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
