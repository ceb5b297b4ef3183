//! How waits end.

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::ObjectErrorKind;
use mpwasm_types::time::Time;

use super::objects::Objects;
use crate::bounds::WAIT_OVERHEAD;
use crate::context::OperationContext;
use crate::keys::{ClientId, WaitId};
use crate::message::Effects;
use crate::operation_error::OperationError;
use crate::wait::{OperationResult, WaitEnd, Wakeups};

impl Objects {
    /// Ends the waits whose deadline has come.
    pub fn expire(&mut self, now: Time, effects: &mut dyn Effects) {
        while let Some((deadline, wait)) = self.waits.first_deadline()
            && deadline <= now
        {
            self.end_wait(wait, WaitEnd::Expired, effects);
        }
    }

    /// Ends the wait of a request.
    pub(super) fn cancel(&mut self, client: ClientId, request: RequestId, effects: &mut dyn Effects) {
        let waiting = self.clients.get(&client).and_then(|client| {
            let mut waits = client.calls.values().filter_map(|call| call.waiting);
            waits.find(|wait| self.waits.get(*wait).is_some_and(|wait| wait.request == request))
        });
        if let Some(wait) = waiting {
            self.end_wait(wait, WaitEnd::Cancelled, effects);
        }
    }

    /// Ends a wait without what it waited for, if it has not ended.
    pub(super) fn end_wait(&mut self, id: WaitId, end: WaitEnd, effects: &mut dyn Effects) {
        let mut wakeups = Wakeups::new();
        match self.remove_from_object(id, end, &mut wakeups) {
            Some(result) => self.finish(id, result, effects),
            None => self.waits.remove_deadline(id),
        }
        self.wake(wakeups, effects);
        self.end_deadlock(id, effects);
    }

    /// Ends a wait that would never end, if it is one, with the cycle in its message.
    pub(super) fn end_deadlock(&mut self, id: WaitId, effects: &mut dyn Effects) {
        let Some(cycle) = self.cycle_of(id) else {
            return;
        };
        let mut wakeups = Wakeups::new();
        self.remove_from_object(id, WaitEnd::Cancelled, &mut wakeups);
        let error = OperationError::new(ObjectErrorKind::Deadlock, cycle);
        self.finish(id, Err(error), effects);
        self.wake(wakeups, effects);
    }

    fn remove_from_object(
        &mut self,
        id: WaitId,
        end: WaitEnd,
        wakeups: &mut Wakeups,
    ) -> Option<OperationResult> {
        let wait = self.waits.get(id)?;
        let home = self.directory.get(&wait.object)?.home;
        let mut context = OperationContext {
            budget: &mut self.budget,
            wakeups,
        };
        self.objects.get_mut(&home)?.end_wait(id, end, &mut context)
    }

    /// Replies to the requests whose waits have ended.
    pub(super) fn wake(&mut self, wakeups: Wakeups, effects: &mut dyn Effects) {
        for (wait, result) in wakeups {
            self.finish(wait, result, effects);
        }
    }

    /// Replies to a request whose wait has ended.
    fn finish(&mut self, id: WaitId, result: OperationResult, effects: &mut dyn Effects) {
        let Some(wait) = self.waits.remove(id) else {
            return;
        };
        self.budget.give_back(WAIT_OVERHEAD);
        if let Some(call) = self.call_of(wait.call) {
            call.waiting = None;
        }
        let result = result.map_err(|error| self.error(wait.object, &wait.operation, &error));
        self.reply_result(wait.call.client, wait.request, result, effects);
    }
}
