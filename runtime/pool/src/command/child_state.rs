//! Shared state of a child: deadline, pauses, kill request, and why its output was cut.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sync::{Mutex, MutexGuard};
use mpwasm_system::clock;
use mpwasm_types::output::UNREAD_OUTPUT_TIMEOUT;
use mpwasm_types::time::Time;

/// Why the delivery of a child's output ended early.
#[derive(Clone, Debug)]
pub enum OutputCut {
    /// The child was killed.
    Killed {
        /// Whether some of its output was dropped.
        lost: bool,
    },
    /// Its deadline had passed, and its output was not read.
    Late,
    /// Its stdout could not be written.
    Unwritten(Arc<io::Error>),
}

/// Time during which the child was paused. Its deadline moves by that time.
#[derive(Debug, Default)]
struct ChildPauses {
    /// When the current pause began.
    since: Option<Time>,
    total: Duration,
    /// Number of pauses and resumes.
    changes: u64,
}

/// State that the delivery of a child's output, its handle and its killers share.
#[derive(Debug)]
pub struct ChildState {
    /// The deadline, not counting pauses.
    deadline: OnceLock<Time>,
    pauses: Mutex<ChildPauses>,
    cut: Mutex<Option<OutputCut>>,
    /// Readable once the child was killed.
    killed: EventFd,
}

impl ChildState {
    /// Creates the state of a child that has not started.
    ///
    /// # Errors
    /// When the system is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            deadline: OnceLock::new(),
            pauses: Mutex::default(),
            cut: Mutex::default(),
            killed: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Sets the deadline by this process's clock. The child's own deadline begins some milliseconds later, once its worker has
    /// started. That is little compared with what [`write_deadline`](Self::write_deadline) adds.
    pub fn set_deadline(&self, deadline: Time) {
        let _ = self.deadline.set(deadline); // a child is started once
    }

    /// Returns the time until which a write that begins now may wait for a reader.
    pub fn write_deadline(&self) -> Time {
        let deadline = self.deadline.get().copied().unwrap_or(Time::NEVER) + self.pauses().total;
        deadline.max(clock::now()) + UNREAD_OUTPUT_TIMEOUT
    }

    /// Records that a pause begins. The deadline does not run during a pause.
    pub fn pause(&self) {
        let mut pauses = self.pauses();
        pauses.since.get_or_insert_with(clock::now);
        pauses.changes += 1;
    }

    /// Records that the pause has ended.
    pub fn resume(&self) {
        let mut pauses = self.pauses();
        if let Some(since) = pauses.since.take() {
            pauses.total += clock::now().since(since);
        }
        pauses.changes += 1;
    }

    /// Returns the number of pauses and resumes. A wait during which it changes may have ended too early or too late.
    pub fn pause_changes(&self) -> u64 {
        self.pauses().changes
    }

    fn pauses(&self) -> MutexGuard<'_, ChildPauses> {
        self.pauses.lock()
    }

    /// Returns the event that is readable once the child was killed.
    pub fn killed(&self) -> &EventFd {
        &self.killed
    }

    /// Records that the child was killed, which ends all waits for readers of its output.
    pub fn kill(&self) {
        self.cut().get_or_insert(OutputCut::Killed { lost: false });
        let _ = self.killed.write(1);
    }

    /// Records that a kill dropped some of the output.
    pub fn note_lost_output(&self) {
        if let Some(OutputCut::Killed { lost }) = &mut *self.cut() {
            *lost = true;
        }
    }

    /// Stops the delivery of output. The child ends for this reason, unless it was killed before.
    pub fn cut_output(&self, cut: OutputCut) {
        if let OutputCut::Killed { lost } = self.cut().get_or_insert(cut) {
            *lost = true;
        }
    }

    /// Returns why the delivery of output ended early, if it did.
    pub fn output_cut(&self) -> Option<OutputCut> {
        self.cut().clone()
    }

    fn cut(&self) -> MutexGuard<'_, Option<OutputCut>> {
        self.cut.lock()
    }
}
