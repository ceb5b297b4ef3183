//! Further attempts of failed tasks, and the tasks that wait for theirs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::Scheduler;
use super::task::Task;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::outcome::Kind;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::MAX_WORKER_DEATHS;
use mpwasm_types::time::Time;

impl Scheduler {
    /// Returns whether a task gets another attempt after one that ended as `kind`. If so, the caller continues with
    /// [`try_again`](Self::try_again). Otherwise the task has ended.
    #[must_use]
    pub fn tries_again(&self, task: &Task, kind: Kind) -> bool {
        let Some(retry) = &task.spec.retry else {
            return false;
        };
        let crashes = task.crashes + u32::from(kind == Kind::Crash);
        self.refusal(task).is_none()
            && retry.follows(task.attempt, kind)
            && crashes < retry.crashes()
            && crashes + task.deaths_before_claim < task.deaths_allowed()
    }

    /// Schedules the next attempt of a task whose last one ended as `kind`, after the backoff of its policy.
    pub fn try_again(&mut self, mut task: Task, kind: Kind, now: Time) {
        let random = jitter_bits(task.id, now);
        let pause = |retry: &Retry| retry.pause(task.attempt, random);
        let pause = task.spec.retry.as_ref().map_or(Duration::ZERO, pause);
        task.attempt += 1;
        task.crashes += u32::from(kind == Kind::Crash);
        if pause.is_zero() {
            self.queue.push(task);
        } else {
            self.paused.push(now + pause, task);
        }
    }
}

impl Task {
    /// Returns how many workers may die with this task in flight, started or not.
    fn deaths_allowed(&self) -> u32 {
        let of_policy = self.spec.retry.as_ref().map_or(0, |retry| retry.crashes());
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

/// The tasks that wait for their next attempt, ordered by its time.
#[derive(Debug, Default)]
pub(super) struct RetryQueue {
    tasks: BTreeMap<(Time, DispatchId), Task>,
    bytes: usize,
}

impl RetryQueue {
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the bytes of args in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns when the first pause ends.
    pub fn next(&self) -> Option<Time> {
        let ((until, _), _) = self.tasks.first_key_value()?;
        Some(*until)
    }

    pub fn push(&mut self, until: Time, task: Task) {
        self.bytes += task.size();
        self.tasks.insert((until, task.id), task);
    }

    /// Removes and returns the tasks whose pause has ended.
    pub fn due(&mut self, now: Time) -> Vec<Task> {
        let mut due = Vec::new();
        while let Some(first) = self.tasks.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        self.bytes -= due.iter().map(Task::size).sum::<usize>();
        due
    }

    /// Returns the task with this id and when its pause ends.
    pub fn get(&self, id: DispatchId) -> Option<(Time, &Task)> {
        let mut tasks = self.tasks.iter();
        let ((until, _), task) = tasks.find(|((_, task), _)| *task == id)?;
        Some((*until, task))
    }

    /// Removes the task with this id.
    pub fn remove(&mut self, id: DispatchId) -> Option<Task> {
        let (until, _) = self.get(id)?;
        let task = self.tasks.remove(&(until, id))?;
        self.bytes -= task.size();
        Some(task)
    }

    /// Removes all tasks.
    pub fn take_all(&mut self) -> impl Iterator<Item = Task> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.tasks).into_values()
    }
}
