//! How far a child is, as those see it who hand on its output, wait for it or kill it; and why it was ended, if it was.

use mpwasm_system::clock;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use mpwasm_types::settings::UNREAD_OUTPUT_TIMEOUT;
use mpwasm_types::time::Time;

/// Why the delivery of a child's output ended early.
#[derive(Clone, Debug)]
pub enum OutputCut {
    /// It was killed.
    Killed {
        /// Whether anything that it had written was dropped.
        lost: bool,
    },
    /// Its deadline had passed, and nobody took what it had written.
    Late,
    /// Its stdout could not be written.
    Unwritten(Arc<io::Error>),
}

/// How long the child was paused: its clock did not run then.
#[derive(Debug, Default)]
struct ChildPauses {
    /// When the current pause began.
    since: Option<Time>,
    total: Duration,
    /// Begins and ends so far.
    changes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct ChildState {
    /// When it ends at the latest.
    deadline: OnceLock<Time>,
    pauses: Mutex<ChildPauses>,
    cut: Mutex<Option<OutputCut>>,
    /// Readable once it was killed.
    killed: EventFd,
}

impl ChildState {
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

    /// It is given to its worker, and ends by then. That is by the clock of who waits here: its own begins when the worker
    /// has started, some milliseconds later, which is nothing beside the write_deadline that comes on top.
    pub fn set_deadline(&self, deadline: Time) {
        let _ = self.deadline.set(deadline); // there is one start
    }

    /// Until when a wait for somebody who takes its output may last, that begins now.
    pub fn write_deadline(&self) -> Time {
        let deadline = self.deadline.get().copied().unwrap_or(Time::NEVER) + self.pauses().total;
        deadline.max(clock::now()) + UNREAD_OUTPUT_TIMEOUT
    }

    /// Stops the clock of the deadline.
    pub fn pause(&self) {
        let mut pauses = self.pauses();
        pauses.since.get_or_insert_with(clock::now);
        pauses.changes += 1;
    }

    /// Lets the clock run again.
    pub fn resume(&self) {
        let mut pauses = self.pauses();
        if let Some(since) = pauses.since.take() {
            pauses.total += clock::now().since(since);
        }
        pauses.changes += 1;
    }

    /// Number of pauses and resumes. A wait during which it changes may have ended too early or too late.
    pub fn pause_changes(&self) -> u64 {
        self.pauses().changes
    }

    fn pauses(&self) -> MutexGuard<'_, ChildPauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes readable when it is killed.
    pub fn killed(&self) -> &EventFd {
        &self.killed
    }

    /// It shall end: nobody waits any more for those who take its output.
    pub fn kill(&self) {
        self.cut().get_or_insert(OutputCut::Killed { lost: false });
        let _ = self.killed.write(1);
    }

    /// Some of its output was dropped, because it was killed.
    pub fn note_lost_output(&self) {
        if let Some(OutputCut::Killed { lost }) = &mut *self.cut() {
            *lost = true;
        }
    }

    /// Its output is not delivered any more, and it is ended for that, if it was not killed before.
    pub fn cut_output(&self, cut: OutputCut) {
        if let OutputCut::Killed { lost } = self.cut().get_or_insert(cut) {
            *lost = true;
        }
    }

    /// Why the delivery of its output ended early, if it did.
    pub fn output_cut(&self) -> Option<OutputCut> {
        self.cut().clone()
    }

    fn cut(&self) -> MutexGuard<'_, Option<OutputCut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
