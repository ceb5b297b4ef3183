//! What the integration tests share: the real binary, the guests, runs, and processes to look at.
//!
//! A test starts the real binary on real guests and waits for events: output, exits, the end of a process. It does not
//! sleep in place of an event.
//!
//! A run is a [`completed::CompletedRun`] when a test looks only at what it left, a [`BackgroundRun`] when it does something
//! meanwhile, and a [`session::Session`] when no process of it may be left.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]
#![allow(
    missing_debug_implementations,
    reason = "nothing here is printed but by assertions"
)]

mod background;
pub mod completed;
mod files;
mod lines;
pub mod page;
mod processes;
mod programs;
mod records;
mod retry;
pub mod session;
mod terminal;
mod waiting;

pub use background::BackgroundRun;
pub use processes::{
    all_pids, descendants, parent, peak_resident, pidfd, pidfd_if_there, resident, role, send,
};
pub use programs::{
    attacker, binary, fixture, guest, like_mpwasm, mpwasm, refusing, refusing_some, repository, script,
    without_landlock,
};
pub use records::{assert_each_id_once, records, run_records, statuses};
pub use retry::retry_when_late;
pub use waiting::{assert_all_end, run_within, until, wait_readable};

/// A command that ends, traps, floods, waits, copies or reports, as its arguments say.
pub const COMMAND: &str = include_str!("../guests/command.wat");

/// A command that looks at its streams.
pub const TERMINAL: &str = include_str!("../guests/terminal.wat");

/// A guest whose models look at the number of the attempt.
pub const ATTEMPTS: &str = include_str!("../guests/attempts.wat");
