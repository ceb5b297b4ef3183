//! Wrappers of Linux system calls for every process of a pool.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod clock;
pub mod epoll;
pub mod inherited;
pub mod limit_names;
pub mod memory_file;
pub mod number_memory;
pub mod poll;
pub mod probe;
pub mod process;
pub mod random;
pub mod standard_descriptors;
