//! What the processes of a pool say to each other, and how.
//!
//! [`frame`] makes bytes of messages, [`messages`] says what they mean ([`nanos`] how durations stand in them,
//! [`items`](mpwasm_types::items) what a chunk holds, [`bounded`](mpwasm_types::bounded) how long a text or list from a lower level of trust may be). An [`receive_buffer`] cuts what arrives into frames, an [`send_buffer`] has what is to be sent;
//! [`channel`] moves it (and descriptors) over a socket, and [`in_memory`] what must not depend on the
//! room in one. [`page`] is the memory that a worker and the dispatcher share.
//! Nothing here knows what a message leads to: that is for the two processes at its ends. What arrives from a lower
//! level of trust is checked for its form here and for its sense where it is handled.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod channel;
pub mod ending;
pub mod frame;
pub mod in_memory;
pub mod messages;
pub mod nanos;
pub mod page;
pub mod receive_buffer;
pub mod send_buffer;
