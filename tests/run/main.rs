//! `mpwasm run` and its sister commands, from the outside: the real binary, real guests, real processes.
//!
//! Every module here is one subject of the contract. What they share is in `bench.rs` and `../support`. Faults of
//! the processes themselves (who is killed, stopped or signalled when) have a test binary of their own.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

#[path = "../support/mod.rs"]
mod support;

mod bench;
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
mod isolation;
mod manual;
mod many_guests;
mod outcomes;
mod output;
mod records;
mod resources;
mod resume;
mod retries;
mod scratch;
mod showing;
mod tasks;
mod timeouts;
mod trusted;
mod untrusted;
mod usage;
