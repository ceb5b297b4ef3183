//! The hostile corpus: guests that try to hang, crash, flood, deceive or corrupt the pool. Each ends as it must, by its
//! deadline, and the tasks of a good model beside it are not affected.
//!
//! A case is data: a guest (usually a `.wat` file in `guests/` with the name of the case) and its expected end.
//! `corpus.rs` has the kinds of cases and runs them; every other module covers one subject. Nothing is read from the
//! checkout at run time, as `.ci/run` also runs the tests as a user who can't read it.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support::{self as support, session};

#[macro_use]
mod corpus;

mod attackers;
mod beginnings;
mod bombs;
mod bounds;
mod callbacks;
mod commands;
mod descriptors;
mod endless;
mod files;
mod grants;
mod held;
mod memory;
mod names;
mod offsets;
mod output;
mod refused;
mod results;
mod rust;
mod tasks;
mod traps;
