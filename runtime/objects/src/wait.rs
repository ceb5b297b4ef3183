//! Requests that wait.

use std::collections::{BTreeMap, BTreeSet};

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::ObjectId;
use mpwasm_types::time::Time;

use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation_error::OperationError;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Wait {
    pub call: CallKey,
    pub request: RequestId,
    pub object: ObjectId,
    pub operation: Box<str>,
    pub since: Time,
    /// When it ends by itself.
    pub deadline: Option<Time>,
}

/// Why a wait ends without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// Its timeout passed.
    Expired,
    /// The client has cancelled it, its call has ended, or it would never end.
    Cancelled,
}

/// The result of an operation.
pub(crate) type OperationResult = Result<Json, OperationError>;

/// Waits that an operation has ended, with their results.
pub(crate) type Wakeups = Vec<(WaitId, OperationResult)>;

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    by_id: BTreeMap<WaitId, Wait>,
    deadlines: BTreeSet<(Time, WaitId)>,
    next: u64,
}

impl Waits {
    /// Returns the id that the next wait will have.
    pub(crate) const fn next_id(&self) -> WaitId {
        WaitId(self.next)
    }

    /// Adds a wait, which gets the id of [`next_id`](Self::next_id).
    pub(crate) fn add(&mut self, wait: Wait) {
        let id = self.next_id();
        self.next += 1;
        if let Some(deadline) = wait.deadline {
            self.deadlines.insert((deadline, id));
        }
        self.by_id.insert(id, wait);
    }

    pub(crate) fn get(&self, id: WaitId) -> Option<&Wait> {
        self.by_id.get(&id)
    }

    pub(crate) fn remove(&mut self, id: WaitId) -> Option<Wait> {
        let wait = self.by_id.remove(&id)?;
        if let Some(deadline) = wait.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(wait)
    }

    /// Removes the deadline of a wait, which goes on for as long as it takes.
    pub(crate) fn remove_deadline(&mut self, id: WaitId) {
        if let Some(wait) = self.by_id.get_mut(&id)
            && let Some(deadline) = wait.deadline.take()
        {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Returns the earliest deadline with its wait.
    pub(crate) fn first_deadline(&self) -> Option<(Time, WaitId)> {
        self.deadlines.first().copied()
    }

    /// All waits, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WaitId, &Wait)> {
        self.by_id.iter().map(|(id, wait)| (*id, wait))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
