//! Spawns, sandboxes, limits and reaps the child processes of a pool.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod child;
pub mod cpu_affinity;
pub mod cpu_limit;
pub mod jail;
pub mod scratch;
