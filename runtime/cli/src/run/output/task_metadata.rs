//! Metadata of tasks in flight, which the feeder passes to the reporter: identities for records, and tags for lines.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mpwasm::TaskId;

use crate::run::output::task_identity::TaskIdentity;

/// Metadata of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEntry {
    /// Its identity, if records have identities.
    pub identity: Option<TaskIdentity>,
    /// Its tag, if lines have tags.
    pub tag: Option<Box<str>>,
}

impl TaskEntry {
    /// Returns an entry.
    pub fn new(identity: Option<TaskIdentity>, tag: Option<String>) -> Self {
        let tag = tag.map(String::into_boxed_str);
        Self { identity, tag }
    }
}

/// Metadata of all tasks that were pushed and have not ended.
#[derive(Debug, Default)]
pub struct TaskMetadata {
    tasks: Mutex<HashMap<TaskId, TaskEntry>>,
    identities: bool,
    tags: bool,
}

impl TaskMetadata {
    /// Returns an empty table, for identities, tags or both.
    pub fn new(identities: bool, tags: bool) -> Self {
        Self {
            tasks: Mutex::default(),
            identities,
            tags,
        }
    }

    /// Returns whether tasks need an identity.
    pub fn has_identities(&self) -> bool {
        self.identities
    }

    /// Returns whether tasks need a tag.
    pub fn has_tags(&self) -> bool {
        self.tags
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, TaskEntry>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds tasks that are about to be pushed.
    pub fn add(&self, tasks: impl IntoIterator<Item = (TaskId, TaskEntry)>) {
        self.tasks().extend(tasks);
    }

    /// Returns the tag of a task.
    pub fn tag(&self, id: TaskId) -> Option<Box<str>> {
        self.tasks().get(&id)?.tag.clone()
    }

    /// Removes a task that has ended.
    pub fn remove(&self, id: TaskId) -> Option<TaskEntry> {
        self.tasks().remove(&id)
    }
}
