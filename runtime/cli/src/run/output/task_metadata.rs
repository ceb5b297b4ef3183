//! What the feeder knows of each task on its way, and the reporter needs: what its record is to say of it beside the
//! outcome, and what stands before its lines.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::run::output::job_log::TaskIdentity;

/// A task on the roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEntry {
    /// What it is, if its record is to say so.
    pub identity: Option<TaskIdentity>,
    /// What stands before its lines.
    pub tag: Option<Box<str>>,
}

impl TaskEntry {
    /// A task.
    pub fn new(identity: Option<TaskIdentity>, tag: Option<String>) -> Self {
        let tag = tag.map(String::into_boxed_str);
        Self { identity, tag }
    }
}

/// All tasks that have been pushed and have not ended.
#[derive(Debug, Default)]
pub struct TaskMetadata {
    tasks: Mutex<HashMap<u64, TaskEntry>>,
    identities: bool,
    tags: bool,
}

impl TaskMetadata {
    /// An empty roll, with or without the identities of tasks, and their tags.
    pub fn new(identities: bool, tags: bool) -> Self {
        Self {
            tasks: Mutex::default(),
            identities,
            tags,
        }
    }

    /// Whether tasks are to have an identity.
    pub fn has_identities(&self) -> bool {
        self.identities
    }

    /// Whether tasks are to have a tag.
    pub fn has_tags(&self) -> bool {
        self.tags
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<u64, TaskEntry>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are about to be pushed.
    pub fn add(&self, tasks: impl IntoIterator<Item = (u64, TaskEntry)>) {
        self.tasks().extend(tasks);
    }

    /// What stands before the lines of a task.
    pub fn tag(&self, id: u64) -> Option<Box<str>> {
        self.tasks().get(&id)?.tag.clone()
    }

    /// A task has ended.
    pub fn remove(&self, id: u64) -> Option<TaskEntry> {
        self.tasks().remove(&id)
    }
}
