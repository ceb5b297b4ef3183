//! What simulated tasks do, and what really happened to them.

use std::time::Duration;

use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::time::Time;

/// What a task does once a worker has claimed it.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// It ends by itself, or at its timeout if that is earlier.
    Runs(Duration),
    /// Neither it nor its watchdog reacts to anything.
    Hangs,
    /// It ends its worker process.
    Kills,
    /// It fails at once, with a trap.
    Fails,
    /// It waits for a shared object for this long, and then ends.
    Waits(Duration),
}

/// What really happened to a task.
#[derive(Debug)]
pub struct Truth {
    /// What it does in its first `bad` attempts. Later ones end at once.
    pub behaviour: Behaviour,
    /// Number of attempts with this behaviour.
    pub bad: u32,
    /// Further attempts that it may have.
    pub retries: u32,
    pub timeout: Duration,
    /// How often it was started.
    pub claims: u32,
    /// Attempts that failed and were not the last.
    pub tried: u32,
    /// Those of them that ended a worker process.
    pub crashes: u32,
    /// Workers that died while they could have claimed it.
    pub deaths: u32,
    pub cancelled: bool,
    /// Its end: the failure with which the scheduler ended it, or `None` if a worker reported its end.
    pub ended: Option<Option<Failure>>,
}

impl Truth {
    /// What it does in the attempt that was started last.
    pub fn behaviour(&self) -> Behaviour {
        match self.claims {
            claims if claims <= self.bad => self.behaviour,
            _ => Behaviour::Runs(Duration::ZERO),
        }
    }

    /// An attempt ended as `kind`, and another will follow.
    pub fn try_again(&mut self, kind: Kind) {
        assert!(self.ended.is_none(), "it had ended before");
        assert!(!self.cancelled, "it was cancelled");
        self.tried += 1;
        assert_eq!(self.tried, self.claims, "an attempt ends that did not begin");
        assert!(self.tried <= self.retries, "one attempt too many");
        self.crashes += u32::from(kind == Kind::Crash);
    }

    pub fn ends_at(&self, claimed: Time) -> Option<Time> {
        match self.behaviour() {
            Behaviour::Runs(_) | Behaviour::Waits(_) if self.cancelled => Some(claimed),
            Behaviour::Runs(duration) | Behaviour::Waits(duration) => {
                Some(claimed + duration.min(self.timeout))
            }
            Behaviour::Kills | Behaviour::Fails => Some(claimed),
            Behaviour::Hangs => None,
        }
    }
}
