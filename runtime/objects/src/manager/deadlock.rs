//! Finds waits that would never end.
//!
//! A call has at most one request that waits, and a lock at most one holder. So a chain of calls, each of which waits for a lock
//! that the next one holds, does not branch, and is followed from the newest wait only. A wait with a timeout ends by itself, and
//! is not part of a cycle.

use std::fmt::Write as _;

use super::objects::Objects;
use crate::keys::{CallKey, WaitId};
use crate::wait::Wait;

/// Waits of a cycle that its message names.
const MAX_NAMED: usize = 8;

impl Objects {
    /// Returns a message about the cycle that a wait closes, if it closes one.
    pub(super) fn cycle_of(&self, id: WaitId) -> Option<String> {
        let start = self.waits.get(id)?.call;
        let mut cycle = Vec::new();
        let mut next = id;
        // No chain is longer than the number of waits.
        for _ in 0..self.waits.len() {
            let (wait, holder) = self.blocked(next)?;
            cycle.push((wait, holder));
            if holder == start {
                return Some(self.describe(&cycle));
            }
            next = self
                .clients
                .get(&holder.client)?
                .calls
                .get(&holder.call)?
                .waiting?;
        }
        None
    }

    /// Returns a wait without a timeout, and the call that holds the lock for which it waits.
    fn blocked(&self, id: WaitId) -> Option<(&Wait, CallKey)> {
        let wait = self.waits.get(id).filter(|wait| wait.deadline.is_none())?;
        let home = self.directory.get(&wait.object)?.home;
        let holder = self.objects.get(&home)?.blocker(id)?;
        Some((wait, holder))
    }

    fn describe(&self, cycle: &[(&Wait, CallKey)]) -> String {
        let mut text = String::new();
        for (index, (wait, holder)) in cycle.iter().take(MAX_NAMED).enumerate() {
            let entry = self.directory.get(&wait.object);
            let label = entry.map_or("", |entry| &entry.label);
            let separator = if index == 0 { "" } else { "; " };
            write!(
                text,
                "{separator}{} waits for `{label}`, which {} holds",
                self.name(wait.call),
                self.name(*holder)
            )
            .expect("a string accepts all text");
        }
        if cycle.len() > MAX_NAMED {
            write!(text, "; and {} more", cycle.len() - MAX_NAMED).expect("a string accepts all text");
        }
        text
    }

    fn name(&self, call: CallKey) -> String {
        let client = self.clients.get(&call.client);
        let call = client.and_then(|client| client.calls.get(&call.call));
        call.map_or_else(String::new, |call| call.source.to_string())
    }
}
