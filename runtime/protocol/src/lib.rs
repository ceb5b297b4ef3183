//! The protocol between the processes of a pool: frames, messages, buffers and shared memory.
//!
//! [`frame`] encodes a message as a frame, and [`messages`] defines the messages ([`nanos`](mpwasm_types::nanos) their durations,
//! [`items`](mpwasm_types::items) the contents of a chunk, [`bounded`](mpwasm_types::bounded) the bounds of texts and lists).
//! A [`receive_buffer`] divides received bytes into frames, and a [`send_buffer`] holds frames to be sent. A [`channel`]
//! moves frames and file descriptors over a socket. [`in_memory`] sends a message that must not depend on the capacity of
//! a socket. A [`request`] has a connection of its own, so that its reply waits behind nothing else. [`page`] is the memory that a worker shares with the dispatcher, and [`call_result`] checks a result.
//!
//! What a message leads to is the matter of the two processes at its ends. The form of a message from a lower level of trust
//! is checked here, its sense where it is handled.

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
