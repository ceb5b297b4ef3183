//! A task in the scheduler, and the queue of tasks without a worker.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use mpwasm_types::ids::{DispatchId, TaskId, WorkerId};
use mpwasm_types::retry::Retry;
use mpwasm_types::task::TaskSpec;
use mpwasm_types::time::Time;

/// Time in which an idle worker must claim an offer before another worker gets it. For large args it counts from the last
/// time that the worker read some of them.
pub(super) const CLAIM_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest claim timeout of a task. It doubles each time that all workers have missed it.
const MAX_CLAIM_TIMEOUT: Duration = Duration::from_secs(60);

/// An accepted task, or chunk, that has not ended. There is exactly one value per task, and its owner decides about the task.
#[derive(Debug)]
pub struct ScheduledTask {
    /// Id by which the parent names it.
    pub id: DispatchId,
    /// What it runs. Of a chunk: the items that have not ended.
    pub spec: TaskSpec<Bytes>,
    /// Its retry policy. `None` never tries again, as for a chunk.
    pub(super) retry: Option<Retry>,
    /// The current or next attempt, from 1.
    pub attempt: u32,
    /// Id of the task, or of the first item of a chunk that has not ended.
    pub(super) task_id: TaskId,
    /// Total run time of the items of a chunk that have ended.
    pub(super) items_length: Duration,
    /// Attempts that ended as `crash`.
    pub(super) crashes: u32,
    /// Workers that died before they claimed this task.
    pub(super) deaths_before_claim: u32,
    /// Offers that were revoked because the worker did not claim the task in time.
    lost: u32,
    /// Time in which a worker must claim it.
    pub(super) claim_timeout: Duration,
}

impl ScheduledTask {
    /// Creates a task that no worker has had. The input of a chunk must be
    /// [well-formed](mpwasm_types::task::TaskInput::is_well_formed), or items end without args.
    #[must_use]
    pub fn new(id: DispatchId, spec: TaskSpec<Bytes>, retry: Option<Retry>) -> Self {
        Self {
            id,
            spec,
            retry,
            attempt: 1,
            task_id: id.first(),
            items_length: Duration::ZERO,
            crashes: 0,
            deaths_before_claim: 0,
            lost: 0,
            claim_timeout: CLAIM_TIMEOUT,
        }
    }

    /// Returns the id of the task, or of the first item of a chunk that has not ended.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.task_id
    }

    /// Returns the size of its input in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.spec.input.bytes().len()
    }

    /// Records that it was not claimed in time. Stopped workers lose the task one after another. When all `workers` have lost it,
    /// the machine is too slow for the claim timeout, which is then doubled.
    pub(super) fn note_lost(&mut self, workers: usize) {
        self.lost += 1;
        if (self.lost as usize).is_multiple_of(workers) {
            self.claim_timeout = (2 * self.claim_timeout).min(MAX_CLAIM_TIMEOUT);
        }
    }
}

/// The claim of a task by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The worker that claimed it.
    pub worker: WorkerId,
    /// When it was claimed: not before the offer and not in the future.
    pub claimed: Time,
}

/// The tasks without a worker, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Queue {
    tasks: VecDeque<ScheduledTask>,
    bytes: usize,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns the bytes of input in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn front(&self) -> Option<&ScheduledTask> {
        self.tasks.front()
    }

    /// Iterates over the tasks in order.
    pub fn iter(&self) -> impl Iterator<Item = &ScheduledTask> {
        self.tasks.iter()
    }

    /// Calls `take` with each task in order and keeps those that it returns.
    pub fn retain_mut(&mut self, mut take: impl FnMut(ScheduledTask) -> Option<ScheduledTask>) {
        let tasks = std::mem::take(&mut self.tasks);
        self.tasks = tasks.into_iter().filter_map(&mut take).collect();
        self.bytes = self.tasks.iter().map(ScheduledTask::size).sum();
    }

    /// Adds a task at the place of its id: a new task at the end, one that is tried again where it was.
    pub fn push(&mut self, task: ScheduledTask) {
        if self.tasks.back().is_some_and(|last| task.id < last.id) {
            return self.requeue(vec![task]);
        }
        self.bytes += task.size();
        self.tasks.push_back(task);
    }

    pub fn pop(&mut self) -> Option<ScheduledTask> {
        let task = self.tasks.pop_front()?;
        self.bytes -= task.size();
        Some(task)
    }

    /// Puts tasks back in the order of their ids.
    pub fn requeue(&mut self, mut tasks: Vec<ScheduledTask>) {
        let Some(last) = tasks.iter().map(|task| task.id).max() else {
            return;
        };
        while self.front().is_some_and(|task| task.id < last) {
            tasks.extend(self.pop());
        }
        tasks.sort_unstable_by_key(|task| task.id);
        for task in tasks.into_iter().rev() {
            self.bytes += task.size();
            self.tasks.push_front(task);
        }
    }

    /// Returns the task with this id.
    pub fn get(&self, id: DispatchId) -> Option<&ScheduledTask> {
        self.tasks.get(self.find(id)?)
    }

    fn find(&self, id: DispatchId) -> Option<usize> {
        self.tasks.binary_search_by_key(&id, |task| task.id).ok()
    }

    /// Removes the task with this id.
    pub fn remove(&mut self, id: DispatchId) -> Option<ScheduledTask> {
        let task = self.tasks.remove(self.find(id)?)?;
        self.bytes -= task.size();
        Some(task)
    }

    /// Empties the queue.
    pub fn take_all(&mut self) -> impl Iterator<Item = ScheduledTask> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.tasks).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::ids::{GuestId, ModelId};
    use mpwasm_types::task::TaskInput;

    fn task(id: u64) -> ScheduledTask {
        let spec = TaskSpec {
            guest: GuestId(0),
            model: ModelId(0),
            timeout: Duration::from_secs(1),
            input: TaskInput::Json(vec![0; 10].into()),
        };
        ScheduledTask::new(DispatchId(id), spec, None)
    }

    fn ids(queue: &Queue) -> Vec<u64> {
        queue.tasks.iter().map(|task| task.id.0).collect()
    }

    #[test]
    fn requeued_tasks_keep_their_order() {
        let mut queue = Queue::default();
        (0..10).for_each(|id| queue.push(task(id)));
        let mut out: Vec<ScheduledTask> = (0..8).filter_map(|_| queue.pop()).collect();
        queue.requeue(vec![out.remove(5), out.remove(2)]);
        assert_eq!(ids(&queue), [2, 5, 8, 9]);
        queue.requeue(out.into_iter().rev().collect());
        assert_eq!(ids(&queue), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        queue.requeue(Vec::new());
        assert_eq!(queue.bytes(), 100);
    }

    #[test]
    fn bytes_count_the_queued_tasks() {
        let mut queue = Queue::default();
        (0..4).for_each(|id| queue.push(task(id)));
        assert!(queue.remove(DispatchId(2)).is_some());
        assert!(queue.remove(DispatchId(2)).is_none());
        assert!(queue.pop().is_some());
        assert_eq!((queue.len(), queue.bytes()), (2, 20));
        assert_eq!(queue.take_all().count(), 2);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
