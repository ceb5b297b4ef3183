//! Shared code of the integration tests: the real binary, the guests, runs, and access to processes.
//!
//! A test starts the real binary on real guests and waits for events: output, exits, the end of a process. It does not
//! sleep instead of waiting for an event.
//!
//! Use [`completed::CompletedRun`] when a test looks only at what a run left, [`BackgroundRun`] when it acts while the
//! run continues, and [`session::Session`] when it checks that no process of the run is left.

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
    attacker, binary, copy_for_others, fixture, guest, like_mpwasm, mpwasm, refusing, refusing_some,
    repository, run_within, script, without_landlock,
};
pub use records::{assert_each_id_once, records, run_records, statuses};
pub use retry::retry_when_late;
pub use waiting::{assert_all_end, until, wait_readable};

/// A command that exits, traps, floods, waits, copies or reports, depending on its arguments.
pub const COMMAND: &str = include_str!("../guests/command.wat");

/// A command that reports on its streams.
pub const TERMINAL: &str = include_str!("../guests/terminal.wat");

/// A guest whose models depend on the number of the attempt.
pub const ATTEMPTS: &str = include_str!("../guests/attempts.wat");
