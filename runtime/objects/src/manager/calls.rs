//! Calls, and the operations that they request.

use std::collections::BTreeSet;
use std::time::Duration;

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{CallNumber, CallSource, MAX_OPERATION, ObjectError, ObjectErrorKind, ObjectId};
use mpwasm_types::time::Time;

use super::objects::Objects;
use crate::bounds::{CLIENT_OVERHEAD, ENTRY_OVERHEAD, WAIT_OVERHEAD};
use crate::client::{CallState, Client, ClientRole};
use crate::context::{Applied, Caller, OperationContext};
use crate::json::Json;
use crate::keys::{CallKey, ClientId};
use crate::message::{ClientFault, Effects};
use crate::operation::Operation;
use crate::operation_error::OperationError;
use crate::wait::{Wait, WaitEnd, Wakeups};

/// A request for an operation.
pub(super) struct OperationRequest<'a> {
    pub id: RequestId,
    pub object: ObjectId,
    pub operation: &'a str,
    pub args: &'a [u8],
    pub timeout: Option<Duration>,
}

impl Objects {
    pub(super) fn call_started(
        &mut self,
        client: ClientId,
        call: CallNumber,
        source: CallSource,
    ) -> Result<(), ClientFault> {
        let client = self.clients.get_mut(&client).ok_or(ClientFault::Forbidden)?;
        if client.calls.contains_key(&call) {
            return Err(ClientFault::RepeatedCall);
        }
        if client.calls.len() >= client.role.max_calls() {
            return Err(ClientFault::TooManyCalls);
        }
        // A call can't be refused, since it has no reply. Their number is bounded.
        self.budget.take_always(CLIENT_OVERHEAD);
        client.calls.insert(
            call,
            CallState {
                source,
                waiting: None,
                touched: BTreeSet::new(),
            },
        );
        Ok(())
    }

    pub(super) fn call_ended(
        &mut self,
        client: ClientId,
        call: CallNumber,
        succeeded: bool,
        effects: &mut dyn Effects,
    ) -> Result<(), ClientFault> {
        let state = self.clients.get_mut(&client).ok_or(ClientFault::Forbidden)?;
        match state.calls.remove(&call) {
            Some(ended) => self.give_back(CallKey { client, call }, ended, succeeded, effects),
            // A thread of the program may end without a request that was sent.
            None if state.role == ClientRole::Owner => {}
            None => return Err(ClientFault::UnknownCall),
        }
        Ok(())
    }

    /// Ends the wait of a call that has ended, and gives back what it holds.
    pub(super) fn give_back(
        &mut self,
        key: CallKey,
        call: CallState,
        succeeded: bool,
        effects: &mut dyn Effects,
    ) {
        if let Some(wait) = call.waiting {
            self.end_wait(wait, WaitEnd::Cancelled, effects);
        }
        self.budget
            .give_back(CLIENT_OVERHEAD + ENTRY_OVERHEAD * call.touched.len() as u64);
        let mut wakeups = Wakeups::new();
        let mut context = OperationContext {
            budget: &mut self.budget,
            wakeups: &mut wakeups,
        };
        for object in call.touched {
            if let Some(object) = self.objects.get_mut(&object) {
                object.call_ended(key, succeeded, &mut context);
            }
        }
        self.wake(wakeups, effects);
    }

    pub(super) fn call(
        &mut self,
        now: Time,
        client: ClientId,
        call: CallNumber,
        request: &OperationRequest<'_>,
        effects: &mut dyn Effects,
    ) -> Result<(), ClientFault> {
        let state = self.clients.get(&client).ok_or(ClientFault::Forbidden)?;
        match state.calls.get(&call) {
            Some(known) if known.waiting.is_some() => return Err(ClientFault::BusyCall),
            Some(_) => {}
            // A thread of the program has no beginning that the manager would learn of.
            None if state.role == ClientRole::Owner => {
                self.call_started(client, call, CallSource::Program)?;
            }
            None => return Err(ClientFault::UnknownCall),
        }
        if request.operation.len() > MAX_OPERATION {
            return Err(ClientFault::OutOfBounds);
        }
        let call = CallKey { client, call };
        let mut wakeups = Wakeups::new();
        match self.apply(call, request, &mut wakeups) {
            Ok(Applied::Done(reply)) => self.reply_result(client, request.id, Ok(reply), effects),
            Err(error) => self.reply_result(client, request.id, Err(error), effects),
            Ok(Applied::Waits) => self.wait(now, call, request, &mut wakeups, effects),
        }
        self.wake(wakeups, effects);
        Ok(())
    }

    /// Does an operation, or begins to wait for it.
    fn apply(
        &mut self,
        call: CallKey,
        request: &OperationRequest<'_>,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, ObjectError> {
        let entry = self.opened(call.client, request.object, request.operation)?;
        let (kind, home, side) = (entry.spec.kind(), entry.home, entry.side);
        let applied = Operation::parse(kind, request.operation, request.args).and_then(|operation| {
            let object = self.objects.get_mut(&home).ok_or(ObjectErrorKind::NoSuchObject)?;
            if object.can_be_held() {
                touch(self.clients.get_mut(&call.client), call, home, &mut self.budget)?;
            }
            let caller = Caller {
                call,
                wait: self.waits.next_id(),
                at_once: request.timeout == Some(Duration::ZERO),
            };
            let mut context = OperationContext {
                budget: &mut self.budget,
                wakeups,
            };
            object.apply(side, operation, caller, &mut context)
        });
        applied.map_err(|error| self.error(request.object, request.operation, &error))
    }

    /// Lets a request wait, unless its operation is done after all.
    fn wait(
        &mut self,
        now: Time,
        call: CallKey,
        request: &OperationRequest<'_>,
        wakeups: &mut Wakeups,
        effects: &mut dyn Effects,
    ) {
        let id = self.waits.next_id();
        if let Some(index) = wakeups.iter().position(|(wait, _)| *wait == id) {
            let (_, result) = wakeups.remove(index);
            let result: Result<Json, ObjectError> =
                result.map_err(|error| self.error(request.object, request.operation, &error));
            self.reply_result(call.client, request.id, result, effects);
            return;
        }
        // A wait can't be refused any more. A call has one at most.
        self.budget.take_always(WAIT_OVERHEAD);
        let timeout = request.timeout.filter(|timeout| !timeout.is_zero());
        self.waits.add(Wait {
            call,
            request: request.id,
            object: request.object,
            operation: request.operation.into(),
            since: now,
            deadline: timeout.map(|timeout| now + timeout),
        });
        if let Some(call) = self.call_of(call) {
            call.waiting = Some(id);
        }
        self.end_deadlock(id, effects);
    }

    /// Returns the state of a call that has not ended.
    pub(super) fn call_of(&mut self, key: CallKey) -> Option<&mut CallState> {
        self.clients.get_mut(&key.client)?.calls.get_mut(&key.call)
    }
}

/// Notes that a call may hold something of an object.
fn touch(
    client: Option<&mut Client>,
    key: CallKey,
    object: ObjectId,
    budget: &mut crate::budget::Budget,
) -> Result<(), OperationError> {
    if let Some(call) = client.and_then(|client| client.calls.get_mut(&key.call))
        && !call.touched.contains(&object)
    {
        budget.take(ENTRY_OVERHEAD)?;
        call.touched.insert(object);
    }
    Ok(())
}
