//! Who waits for what, and who holds it.

use mpwasm_types::objects::{HoldingCall, MAX_STATUS_CALLS, ObjectsStatus, WaitingCall};
use mpwasm_types::time::Time;

use super::objects::Objects;
use crate::client::ClientRole;
use crate::keys::CallKey;

impl Objects {
    /// Returns the status for a client with this role: a pool learns of its own calls only.
    pub(super) fn status(&self, now: Time, role: ClientRole) -> ObjectsStatus {
        let waiting = self.waits.iter().filter_map(|(_, wait)| {
            let source = self.source(wait.call, role)?;
            let entry = self.directory.get(&wait.object)?;
            Some(WaitingCall {
                source,
                kind: entry.spec.kind(),
                object: entry.label.clone(),
                operation: wait.operation.clone().into(),
                waited: now.since(wait.since),
            })
        });
        let holders = self.objects.iter().flat_map(|(id, object)| {
            let entry = self.directory.get(id);
            object.holders().into_iter().filter_map(move |call| {
                let source = self.source(call, role)?;
                Some(HoldingCall {
                    source,
                    kind: entry?.spec.kind(),
                    object: entry?.label.clone(),
                })
            })
        });
        ObjectsStatus {
            memory: self.budget.used(),
            memory_cap: self.budget.cap(),
            objects: self.objects.len() as u64,
            waiting: waiting.take(MAX_STATUS_CALLS).collect(),
            holders: holders.take(MAX_STATUS_CALLS).collect(),
        }
    }

    /// Returns what a call belongs to, if a client with this role may know.
    fn source(&self, key: CallKey, role: ClientRole) -> Option<mpwasm_types::objects::CallSource> {
        let client = self.clients.get(&key.client)?;
        let is_own = role == ClientRole::Owner || client.role.scope() == role.scope();
        client
            .calls
            .get(&key.call)
            .filter(|_| is_own)
            .map(|call| call.source)
    }
}
