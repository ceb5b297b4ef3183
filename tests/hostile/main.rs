//! The hostile corpus: guests that do everything to hang, crash, flood, deceive or corrupt the pool. Each ends as it
//! must, by its deadline, and the tasks of a good model beside it notice nothing.
//!
//! A case is data: a guest (most often a `.wat` file in `guests/`, of the case's name) and what must become of it.
//! `corpus.rs` has the kinds of cases and runs them; every other module is one subject. Nothing is read from the
//! checkout at run time: `.ci/run` runs this a second time as a user who can't.

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
