//! Two connected ends that send and receive JSON values.

use std::collections::{BTreeSet, VecDeque};

use mpwasm_types::objects::ObjectErrorKind;

use crate::bounds::PIPE_HIGH_WATER_MARK;
use crate::budget::Budget;
use crate::context::{Applied, Caller, OperationContext};
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation::PipeOperation;
use crate::operation_error::OperationError;
use crate::wait::{OperationResult, WaitEnd};

/// An end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The only one that receives, if the pipe is one-way.
    First,
    /// The only one that sends, if the pipe is one-way.
    Second,
}

impl Side {
    const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A pipe.
#[derive(Debug)]
pub(crate) struct PipeState {
    is_duplex: bool,
    ends: [PipeEnd; 2],
}

/// The state of one end.
#[derive(Debug, Default)]
struct PipeEnd {
    /// What the other end has sent.
    inbox: VecDeque<Json>,
    /// The cost of all items in the inbox.
    bytes: u64,
    is_closed: bool,
    /// Whether the last of its holders has failed. The other end sees it as closed until a call uses it again.
    is_abandoned: bool,
    /// The calls that have used the end and have not ended.
    holders: BTreeSet<CallKey>,
    receivers: VecDeque<PipeReceiver>,
    /// Requests of this end that wait for room in the inbox of the other one. Their bytes are counted.
    senders: VecDeque<(WaitId, Json)>,
}

/// A request that waits for an item: there is none.
#[derive(Clone, Copy, Debug)]
struct PipeReceiver {
    wait: WaitId,
    /// Whether it leaves the item there.
    is_poll: bool,
}

impl PipeEnd {
    const fn is_gone(&self) -> bool {
        self.is_closed || self.is_abandoned
    }

    fn has_room_for(&self, item: &Json) -> bool {
        self.inbox.is_empty() || self.bytes + item.cost() <= PIPE_HIGH_WATER_MARK
    }

    fn pop(&mut self, budget: &mut Budget) -> Option<Json> {
        let item = self.inbox.pop_front()?;
        self.bytes -= item.cost();
        budget.give_back(item.cost());
        Some(item)
    }
}

impl PipeState {
    pub(crate) fn new(is_duplex: bool) -> Self {
        Self {
            is_duplex,
            ends: [PipeEnd::default(), PipeEnd::default()],
        }
    }

    pub(crate) fn apply(
        &mut self,
        side: Side,
        operation: PipeOperation,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        let is_possible = match operation {
            PipeOperation::Send(_) => self.is_duplex || side == Side::Second,
            PipeOperation::Receive | PipeOperation::Poll => self.is_duplex || side == Side::First,
            PipeOperation::Close => true,
        };
        if !is_possible {
            let detail = match side {
                Side::First => "this end of a one-way pipe only receives",
                Side::Second => "this end of a one-way pipe only sends",
            };
            return Err(OperationError::new(ObjectErrorKind::WrongType, detail));
        }
        let end = &mut self.ends[side.index()];
        if end.is_closed && operation != PipeOperation::Close {
            return Err(ObjectErrorKind::Closed.into());
        }
        end.holders.insert(caller.call);
        end.is_abandoned = false;
        match operation {
            PipeOperation::Send(item) => self.send(side, item, caller, context),
            PipeOperation::Receive => self.receive(side, false, caller, context),
            PipeOperation::Poll => self.receive(side, true, caller, context),
            PipeOperation::Close => {
                self.close(side, context);
                Ok(Applied::Done(Json::null()))
            }
        }
    }

    fn send(
        &mut self,
        side: Side,
        item: Json,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        let receiver = &self.ends[side.other().index()];
        if receiver.is_gone() {
            return Err(ObjectErrorKind::Closed.into());
        }
        // What others wait to send comes first, even if it is larger.
        let is_first = self.ends[side.index()].senders.is_empty();
        let has_room = is_first && receiver.has_room_for(&item);
        if !has_room && caller.at_once {
            return Err(ObjectErrorKind::Full.into());
        }
        context.budget.take(item.cost())?;
        let sender = &mut self.ends[side.index()];
        sender.senders.push_back((caller.wait, item));
        // If it is sent, the reply is among the wakeups.
        self.settle(side.other(), context);
        Ok(Applied::Waits)
    }

    fn receive(
        &mut self,
        side: Side,
        is_poll: bool,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        let is_at_end = self.is_at_end(side);
        let end = &mut self.ends[side.index()];
        if is_poll && (!end.inbox.is_empty() || is_at_end || caller.at_once) {
            return Ok(Applied::Done(Json::from(!end.inbox.is_empty() || is_at_end)));
        }
        if let Some(item) = end.pop(context.budget) {
            self.settle(side, context);
            return Ok(Applied::Done(item));
        }
        if is_at_end {
            return Err(ObjectErrorKind::Closed.into());
        }
        if caller.at_once {
            return Err(ObjectErrorKind::Empty.into());
        }
        end.receivers.push_back(PipeReceiver {
            wait: caller.wait,
            is_poll,
        });
        Ok(Applied::Waits)
    }

    /// Returns whether nothing can come to this end any more.
    fn is_at_end(&self, side: Side) -> bool {
        self.ends[side.index()].inbox.is_empty() && self.ends[side.other().index()].is_gone()
    }

    /// Moves what the other end sends into the inbox of this one, and from there to those that receive, until none of them can
    /// go on.
    fn settle(&mut self, side: Side, context: &mut OperationContext<'_>) {
        loop {
            let [first, second] = &mut self.ends;
            let (end, other) = match side {
                Side::First => (first, second),
                Side::Second => (second, first),
            };
            if let Some((_, item)) = other.senders.front()
                && end.has_room_for(item)
                && let Some((wait, item)) = other.senders.pop_front()
            {
                end.bytes += item.cost();
                end.inbox.push_back(item);
                context.wakeups.push((wait, Ok(Json::null())));
            } else if !end.inbox.is_empty()
                && let Some(receiver) = end.receivers.pop_front()
            {
                let reply = if receiver.is_poll {
                    Some(Json::from(true))
                } else {
                    end.pop(context.budget)
                };
                let reply = reply.expect("the inbox is not empty");
                context.wakeups.push((receiver.wait, Ok(reply)));
            } else {
                return;
            }
        }
    }

    fn close(&mut self, side: Side, context: &mut OperationContext<'_>) {
        let end = &mut self.ends[side.index()];
        end.is_closed = true;
        end.bytes = 0;
        while let Some(item) = end.inbox.pop_front() {
            context.budget.give_back(item.cost());
        }
        for receiver in std::mem::take(&mut end.receivers) {
            context
                .wakeups
                .push((receiver.wait, Err(ObjectErrorKind::Closed.into())));
        }
        self.refuse_senders(side, context);
        self.gone(side, context);
    }

    /// Ends the requests of this end that wait for room.
    fn refuse_senders(&mut self, side: Side, context: &mut OperationContext<'_>) {
        for (wait, item) in std::mem::take(&mut self.ends[side.index()].senders) {
            context.budget.give_back(item.cost());
            context.wakeups.push((wait, Err(ObjectErrorKind::Closed.into())));
        }
    }

    /// Ends the waits of the other end, to which nothing can come any more, and which can send nothing.
    fn gone(&mut self, side: Side, context: &mut OperationContext<'_>) {
        self.refuse_senders(side.other(), context);
        if self.is_at_end(side.other()) {
            for receiver in std::mem::take(&mut self.ends[side.other().index()].receivers) {
                let reply = if receiver.is_poll {
                    Ok(Json::from(true))
                } else {
                    Err(ObjectErrorKind::Closed.into())
                };
                context.wakeups.push((receiver.wait, reply));
            }
        }
    }

    pub(crate) fn end_wait(
        &mut self,
        wait: WaitId,
        end: WaitEnd,
        context: &mut OperationContext<'_>,
    ) -> OperationResult {
        for side in [Side::First, Side::Second] {
            let state = &mut self.ends[side.index()];
            let index = state.receivers.iter().position(|receiver| receiver.wait == wait);
            if let Some(receiver) = index.and_then(|index| state.receivers.remove(index))
                && receiver.is_poll
                && end == WaitEnd::Expired
            {
                return Ok(Json::from(false));
            }
            let index = state.senders.iter().position(|(sender, _)| *sender == wait);
            if let Some((_, item)) = index.and_then(|index| state.senders.remove(index)) {
                context.budget.give_back(item.cost());
                // The next one may have a smaller item.
                self.settle(side.other(), context);
            }
        }
        Err(ObjectErrorKind::Timeout.into())
    }

    /// Abandons an end whose last holder has failed.
    pub(crate) fn call_ended(&mut self, call: CallKey, succeeded: bool, context: &mut OperationContext<'_>) {
        for side in [Side::First, Side::Second] {
            let end = &mut self.ends[side.index()];
            if end.holders.remove(&call) && !succeeded && end.holders.is_empty() {
                end.is_abandoned = true;
                self.gone(side, context);
            }
        }
    }
}
