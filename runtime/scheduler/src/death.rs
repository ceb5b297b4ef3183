//! Decides how the tasks of a worker that has ended fail.

use nix::sys::signal::Signal;

use super::in_flight::{ClaimState, OfferedTask};
use super::io::{KillReason, WorkerExit};
use super::task::ScheduledTask;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::time::Time;

/// How and when a worker process ended.
#[derive(Debug)]
pub(super) struct Death<'a> {
    /// Why the dispatcher killed it, if it did.
    pub killed: Option<&'a KillReason>,
    /// Its exit. `None` if it could not be reaped.
    pub exit: Option<WorkerExit>,
    /// When the dispatcher noticed.
    pub at: Time,
}

impl Death<'_> {
    /// Returns the failure of a task that the worker had claimed. The earliest cause counts.
    pub fn of_claimed(&self, task: &ScheduledTask, claim: &ClaimState) -> Failure {
        let by = match self.killed {
            Some(_) => "the dispatcher killed its worker",
            None => "its worker ended its own process",
        };
        match self.killed {
            Some(KillReason::Protocol(fault)) => {
                self.crash(format!("its worker broke the protocol and was killed: {fault}"))
            }
            Some(KillReason::Terminated) => {
                Failure::new(Kind::Cancelled, "the pool was terminated while it ran")
            }
            _ if claim.cancelled.is_some_and(|asked| asked < claim.deadline) => {
                Failure::new(Kind::Cancelled, format!("cancelled while it ran; {by}"))
            }
            // The worker's clock of an item of a chunk can be ahead of this one.
            _ if self.at >= claim.deadline || self.exit == Some(WorkerExit::Watchdog) => {
                let message = format!(
                    "it did not end within its timeout of {:?}; {by}",
                    task.spec.timeout
                );
                Failure::new(Kind::Timeout, message)
            }
            Some(_) => self.crash("its worker was killed while it ran".to_owned()),
            None => self.crash(format!("its worker {}", self.describe())),
        }
    }

    /// Returns whether the worker ended with a task that ran, as all workers do whose task cannot be stopped otherwise. It is then
    /// no sign that a task which it had not started is harmful.
    pub fn is_for_running_task(&self, offers: &[OfferedTask]) -> bool {
        let has_run = offers.iter().any(|offer| offer.claim.is_some());
        self.exit == Some(WorkerExit::Watchdog) && has_run
    }

    /// Returns the failure of an item that the worker may have completed and did not report.
    pub fn of_unreported(&self) -> Failure {
        match self.killed {
            Some(KillReason::Terminated) => {
                Failure::new(Kind::Cancelled, "the pool was terminated while its chunk ran")
            }
            _ => self.crash(format!(
                "its worker {} before it reported how it ended",
                self.describe()
            )),
        }
    }

    /// Returns the failure of a task that was in flight in too many workers that died.
    pub fn of_unclaimed(&self, task: &ScheduledTask) -> Failure {
        let (deaths, last) = (task.deaths(), self.describe());
        let when = match task.crashes {
            0 => "before they could start it",
            _ => "with it in flight",
        };
        self.crash(format!("{deaths} workers died {when}; the last one {last}"))
    }

    /// Describes how the worker ended, after its subject.
    pub fn describe(&self) -> String {
        match (self.killed, &self.exit) {
            (Some(KillReason::NotReady), _) => "was not ready in time".to_owned(),
            (Some(KillReason::Protocol(fault)), _) => format!("broke the protocol: {fault}"),
            (Some(_), Some(_)) => "was killed by the dispatcher".to_owned(),
            (_, None) => "was killed and could not be reaped".to_owned(),
            (None, Some(exit)) if exit.is_sigkill() => {
                format!("{exit}: perhaps the system was out of memory")
            }
            (None, Some(exit)) => exit.to_string(),
        }
    }

    fn crash(&self, message: String) -> Failure {
        let (code, signal) = match &self.exit {
            Some(WorkerExit::Code(code)) => (Some(*code), None),
            Some(WorkerExit::Signal(signal)) => (None, Some(*signal)),
            Some(WorkerExit::Forbidden(_)) => (None, Some(Signal::SIGSYS as i32)),
            Some(WorkerExit::Watchdog | WorkerExit::NeverStarted(_) | WorkerExit::Unable(_)) | None => {
                (None, None)
            }
        };
        Failure {
            code,
            signal,
            ..Failure::new(Kind::Crash, message)
        }
    }
}

/// Returns the failure of a task that is cancelled before its next attempt.
pub(super) fn cancelled_before_start(task: &ScheduledTask) -> Failure {
    let message = match task.attempt {
        1 => "cancelled before it started".to_owned(),
        attempt => format!("cancelled before attempt {attempt} started"),
    };
    Failure::new(Kind::Cancelled, message)
}
