//! The jail: what a compromised process can still do, the state of the real processes as seen from outside, and the
//! output of `--jail`, `--user` and `mpwasm doctor`.
//!
//! The compromised processes are copies of a program of the tests (`tests/programs/attacker`), which is named as the
//! executable of a pool. Each attack has a fresh process.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support as support;

mod attacker;
mod dispatcher;
mod grants;
mod options;
mod processes;
mod protocol;
mod scratch;
mod system_calls;
