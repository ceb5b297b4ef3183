//! `mpwasm run` and the other commands, from the outside: the real binary, real guests, real processes.
//!
//! Every module here covers one subject of the contract. Most tests run `mpwasm run` to its end with [`completed::run`].
//! Faults of the processes themselves (kills, stops, signals) are in `tests/faults`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support::{self as support, completed};

mod cache;
mod callbacks;
mod commands;
mod compile;
mod cookbook;
mod demo;
mod descriptors;
mod destinations;
mod granting;
mod grants;
mod guest_tasks;
mod inputs;
mod interrupts;
mod isolation;
mod manual;
mod many_guests;
mod objects;
mod outcomes;
mod output;
mod records;
mod report;
mod resources;
mod resume;
mod retries;
mod scratch;
mod sharing;
mod showing;
mod tasks;
mod timeouts;
mod trusted;
mod untrusted;
mod usage;
