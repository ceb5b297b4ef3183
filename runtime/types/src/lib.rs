//! Types that the processes of a pool share. Nothing here does input or output.
//!
//! [`settings`] has every setting of a pool with its default. [`task_line`] parses tasks, [`task_check`] checks them against
//! their guest, [`outcome`] describes how they end, and [`retry`] when they are tried again. [`timeouts`] has the steps by which
//! a task that does not end is stopped. [`grants`] describes the directories and variables that guests get. [`objects`] names what
//! tasks share. [`escape`] escapes untrusted text before it is displayed.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod bounded;
pub mod duration;
pub mod engine_settings;
pub mod escape;
pub mod exit_status;
pub mod final_budget;
pub mod grants;
pub mod guest_info;
pub mod ids;
pub mod invocation;
pub mod items;
pub mod json;
pub mod memory;
pub mod nanos;
pub mod objects;
pub mod outcome;
pub mod output;
pub mod record_line;
pub mod retry;
pub mod role;
pub mod sandbox_options;
pub mod settings;
pub mod status;
pub mod task;
pub mod task_check;
pub mod task_line;
pub mod time;
pub mod timeouts;
