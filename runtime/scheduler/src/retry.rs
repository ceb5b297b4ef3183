//! Further attempts of failed tasks.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::scheduler::Scheduler;
use super::task::ScheduledTask;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::outcome::Kind;
use mpwasm_types::retry::MAX_WORKER_DEATHS;
use mpwasm_types::retry::Retry;
use mpwasm_types::time::Time;

impl Scheduler {
    /// Returns whether a task gets another attempt after one that ended as `kind`. If so, the caller continues with
    /// [`try_again`](Self::try_again). Otherwise the task has ended.
    #[must_use]
    pub fn tries_again(&self, task: &ScheduledTask, kind: Kind) -> bool {
        let Some(retry) = &task.retry else {
            return false;
        };
        let crashes = task.crashes + u32::from(kind == Kind::Crash);
        self.refusal(task).is_none()
            && retry.follows(task.attempt, kind)
            && crashes < retry.crashes()
            && crashes + task.deaths_before_claim < task.deaths_allowed()
    }

    /// Schedules the next attempt of a task whose last one ended as `kind`, after the backoff of its policy.
    pub fn try_again(&mut self, mut task: ScheduledTask, kind: Kind, now: Time) {
        let random = jitter_bits(task.id, now);
        let pause = |retry: &Retry| retry.pause(task.attempt, random);
        let pause = task.retry.as_ref().map_or(Duration::ZERO, pause);
        task.attempt += 1;
        task.crashes += u32::from(kind == Kind::Crash);
        if pause.is_zero() {
            self.queue.push(task);
        } else {
            self.paused.push(now + pause, task);
        }
    }
}

impl ScheduledTask {
    /// Returns how many workers may die with this task in flight, started or not.
    fn deaths_allowed(&self) -> u32 {
        let of_policy = self.retry.as_ref().map_or(0, |retry| retry.crashes());
        of_policy.max(MAX_WORKER_DEATHS)
    }

    /// Records that a worker died before it claimed this task. Returns whether that was one too many.
    pub(super) fn note_death_before_claim(&mut self) -> bool {
        self.deaths_before_claim += 1;
        self.deaths() >= self.deaths_allowed()
    }

    /// Returns how many workers died with this task in flight.
    pub(super) fn deaths(&self) -> u32 {
        self.deaths_before_claim + self.crashes
    }
}

/// Returns bits that differ between tasks and times as if they were random. The same events lead to the same bits, so that a
/// test can repeat them.
fn jitter_bits(task: DispatchId, now: Time) -> u64 {
    let mut hasher = DefaultHasher::new();
    (task.0, now.0).hash(&mut hasher);
    hasher.finish()
}
