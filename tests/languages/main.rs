//! Guests in other languages than Rust, built with the languages' own compilers: those in `guests/`, the header for C and
//! C++, and the examples of `docs/write-a-guest.md`.
//!
//! Where the compilers come from is said in `compilers.rs`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../run/bench.rs"]
mod bench;
#[path = "../support/mod.rs"]
mod support;

mod compilers;
mod header;
mod page;
mod wordcount;
