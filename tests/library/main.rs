//! The library as programs use it: real pools with real processes.
//!
//! The test harness has a `main` of its own, which can't call `mpwasm::init()`. So the processes of these pools run the
//! binary under test. The module `embedding` tests `init` with separate programs.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support as support;

mod cache;
mod capabilities;
mod children;
mod commands;
mod common;
mod crowds;
mod documents;
mod embedding;
mod ending;
mod errors;
mod folds;
mod guests;
mod handles;
mod holders;
mod interrupts;
mod managers;
mod maps;
mod objects;
mod payloads;
mod pipelines;
mod pushing;
mod retries;
mod scratch;
mod sharing;
mod signals;
mod status;
mod streams;
mod tokens;
mod waiting;
