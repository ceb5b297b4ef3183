//! The tasks that wait for their next attempt.

use std::collections::BTreeMap;

use super::task::ScheduledTask;
use mpwasm_types::ids::DispatchId;
use mpwasm_types::time::Time;

/// The tasks that wait for their next attempt, ordered by its time.
#[derive(Debug, Default)]
pub(super) struct RetryQueue {
    tasks: BTreeMap<(Time, DispatchId), ScheduledTask>,
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

    pub fn push(&mut self, until: Time, task: ScheduledTask) {
        self.bytes += task.size();
        self.tasks.insert((until, task.id), task);
    }

    /// Removes and returns the tasks whose pause has ended.
    pub fn due(&mut self, now: Time) -> Vec<ScheduledTask> {
        let mut due = Vec::new();
        while let Some(first) = self.tasks.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        self.bytes -= due.iter().map(ScheduledTask::size).sum::<usize>();
        due
    }

    /// Returns the task with this id and when its pause ends.
    pub fn get(&self, id: DispatchId) -> Option<(Time, &ScheduledTask)> {
        let mut tasks = self.tasks.iter();
        let ((until, _), task) = tasks.find(|((_, task), _)| *task == id)?;
        Some((*until, task))
    }

    /// Removes the task with this id.
    pub fn remove(&mut self, id: DispatchId) -> Option<ScheduledTask> {
        let (until, _) = self.get(id)?;
        let task = self.tasks.remove(&(until, id))?;
        self.bytes -= task.size();
        Some(task)
    }

    /// Removes all tasks.
    pub fn take_all(&mut self) -> impl Iterator<Item = ScheduledTask> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.tasks).into_values()
    }
}
