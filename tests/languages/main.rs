//! Guests in languages other than Rust, built with the languages' own compilers: those in `guests/`, the header for C and
//! C++, and the examples of `docs/write-a-guest.md`.
//!
//! `compilers.rs` finds the compilers.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support::{self as support, completed};

mod compilers;
mod header;
mod page;
mod wordcount;
