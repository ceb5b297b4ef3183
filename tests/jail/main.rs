//! The jail: what a process that was taken over still can do, what the real processes look like from outside, and what
//! `--jail`, `--user` and `mpwasm doctor` say.
//!
//! The processes that were taken over are copies of a program of the tests' own (`tests/programs/attacker`), named as
//! the executable of a pool. Each attack has a fresh one.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support as support;

mod attacker;
mod dispatcher;
mod grants;
mod options;
mod processes;
mod protocol;
mod scratch;
mod walls;
