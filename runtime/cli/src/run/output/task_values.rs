//! Values of tasks in flight, which the feeder passes to the reporters: identities for records, and tags for lines.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mpwasm::TaskId;

/// A value for each task that was pushed and has not ended.
#[derive(Debug)]
pub struct TaskValues<V>(Mutex<HashMap<TaskId, V>>);

impl<V> Default for TaskValues<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> TaskValues<V> {
    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the values of tasks that are about to be pushed.
    pub fn add(&self, tasks: impl IntoIterator<Item = (TaskId, V)>) {
        self.tasks().extend(tasks);
    }

    /// Removes the value of a task that has ended.
    pub fn remove(&self, id: TaskId) -> Option<V> {
        self.tasks().remove(&id)
    }
}

impl<V: Clone> TaskValues<V> {
    /// Returns the value of a task.
    pub fn get(&self, id: TaskId) -> Option<V> {
        self.tasks().get(&id).cloned()
    }
}
