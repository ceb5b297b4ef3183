//! The protocol between the processes of a pool: frames, messages, buffers and shared memory.
//!
//! | module | contents |
//! |---|---|
//! | [`messages`] | the messages between the processes, with a bound for each text and list |
//! | [`frame`] | encodes a message as a frame |
//! | [`channel`] | moves frames and file descriptors over a socket |
//! | [`receive_buffer`] | divides received bytes into frames |
//! | [`send_buffer`] | holds frames that are to be sent |
//! | [`in_memory`] | sends a message whose size must not depend on the capacity of a socket |
//! | [`request`] | requests over a connection of their own, so that a reply waits behind no other message |
//! | [`page`] | the memory that a worker shares with the dispatcher |
//! | [`call_result`] | checks the result of a call |
//!
//! The types that messages consist of are in `mpwasm_types`. The form of a message from a process of lower trust is checked
//! here. Whether it fits the state of the pool is checked by the process that handles it.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod call_result;
pub mod channel;
pub mod frame;
pub mod in_memory;
pub mod messages;
pub mod page;
pub mod receive_buffer;
pub mod request;
pub mod send_buffer;
