//! A queue of JSON values, joinable or not.

use std::collections::VecDeque;

use mpwasm_types::objects::ObjectErrorKind;

use super::leases::Leases;
use crate::bounds::MAX_BATCH;
use crate::budget::Budget;
use crate::context::{Applied, Caller, OperationContext};
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation::QueueOperation;
use crate::operation_error::OperationError;
use crate::wait::OperationResult;

/// A queue. Requests that wait are served in the order of their arrival.
#[derive(Debug)]
pub(crate) struct ItemQueue {
    /// Most items. Items that come back from a call that failed are put in front even if the queue is full.
    max: Option<u32>,
    is_closed: bool,
    items: VecDeque<Json>,
    /// Requests that wait for an item: there is none.
    getters: VecDeque<Getter>,
    /// Requests that wait for room: there is none.
    putters: VecDeque<Putter>,
    /// Items that are not done, of a joinable queue.
    leases: Option<Leases>,
    /// Requests that wait until all items are done.
    joiners: Vec<WaitId>,
}

/// A request for items.
#[derive(Clone, Copy, Debug)]
struct Getter {
    wait: WaitId,
    call: CallKey,
    /// Most items of a reply that is an array. `None`: the reply is one item.
    max: Option<u32>,
}

/// A request that puts items. Their bytes are counted.
#[derive(Debug)]
struct Putter {
    wait: WaitId,
    /// Those that are not in the queue yet.
    items: VecDeque<Json>,
    /// How many are, if the reply is their number.
    put: Option<u64>,
}

impl Putter {
    /// Ends the request: its reply is the number of its items in the queue, or this error if there is none.
    fn end(self, error: ObjectErrorKind, budget: &mut Budget) -> OperationResult {
        give_back(&self.items, budget);
        match self.put {
            Some(put) if put > 0 => Ok(Json::from(put)),
            _ => Err(error.into()),
        }
    }

    /// Returns the reply once all items are in the queue.
    fn reply(&self) -> Json {
        self.put.map_or_else(Json::null, Json::from)
    }
}

fn give_back<'a>(items: impl IntoIterator<Item = &'a Json>, budget: &mut Budget) {
    budget.give_back(items.into_iter().map(Json::cost).sum());
}

impl ItemQueue {
    pub(crate) fn new(max: Option<u32>, is_joinable: bool) -> Self {
        Self {
            max,
            is_closed: false,
            items: VecDeque::new(),
            getters: VecDeque::new(),
            putters: VecDeque::new(),
            leases: is_joinable.then(Leases::default),
            joiners: Vec::new(),
        }
    }

    pub(crate) fn apply(
        &mut self,
        operation: QueueOperation,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        let reply = match operation {
            QueueOperation::Put(item) => return self.put([item].into(), None, caller, context),
            QueueOperation::PutMany(items) => return self.put(items.into(), Some(0), caller, context),
            QueueOperation::Get => return self.get(None, caller, context),
            QueueOperation::GetMany(max) => return self.get(Some(max), caller, context),
            QueueOperation::Size => Json::from(self.items.len() as u64),
            QueueOperation::Empty => Json::from(self.items.is_empty()),
            QueueOperation::Full => Json::from(!self.has_room()),
            QueueOperation::Close => {
                self.close(context);
                Json::null()
            }
            QueueOperation::TaskDone(count) => {
                if let Some(leases) = &mut self.leases {
                    leases.done(caller.call, count, context.budget)?;
                }
                self.item_done(context);
                Json::null()
            }
            QueueOperation::Join => {
                if self.unfinished() == 0 {
                    Json::null()
                } else if caller.at_once {
                    return Err(ObjectErrorKind::Timeout.into());
                } else {
                    self.joiners.push(caller.wait);
                    return Ok(Applied::Waits);
                }
            }
        };
        Ok(Applied::Done(reply))
    }

    fn put(
        &mut self,
        items: VecDeque<Json>,
        put: Option<u64>,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        if self.is_closed {
            return Err(ObjectErrorKind::Closed.into());
        }
        context.budget.take(items.iter().map(Json::cost).sum())?;
        self.putters.push_back(Putter {
            wait: caller.wait,
            items,
            put,
        });
        self.settle(context);
        // If all are in, the reply is among the wakeups.
        let is_waiting = self.putters.back().is_some_and(|last| last.wait == caller.wait);
        if is_waiting
            && caller.at_once
            && let Some(putter) = self.putters.pop_back()
        {
            return putter
                .end(ObjectErrorKind::Full, context.budget)
                .map(Applied::Done);
        }
        Ok(Applied::Waits)
    }

    fn get(
        &mut self,
        max: Option<u32>,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        let getter = Getter {
            wait: caller.wait,
            call: caller.call,
            max,
        };
        if !self.items.is_empty() {
            let reply = self.take(getter, context.budget);
            self.settle(context);
            return Ok(Applied::Done(reply));
        }
        if self.is_at_end(caller.call) {
            return Err(ObjectErrorKind::Closed.into());
        }
        if caller.at_once {
            return Err(ObjectErrorKind::Empty.into());
        }
        self.getters.push_back(getter);
        Ok(Applied::Waits)
    }

    /// Takes out what a request gets. There is at least one item.
    fn take(&mut self, getter: Getter, budget: &mut Budget) -> Json {
        let Some(max) = getter.max else {
            let item = self.items.pop_front().expect("there is an item");
            self.taken(&item, getter.call, budget);
            return item;
        };
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < max as usize
            && let Some(item) = self.items.front()
        {
            bytes += item.cost();
            if bytes > MAX_BATCH && !batch.is_empty() {
                break;
            }
            let item = self.items.pop_front().expect("it was in front");
            self.taken(&item, getter.call, budget);
            batch.push(item);
        }
        Json::array(&batch)
    }

    /// Leases an item to the call that took it, or gives its bytes back.
    fn taken(&mut self, item: &Json, call: CallKey, budget: &mut Budget) {
        match &mut self.leases {
            Some(leases) => leases.add(call, item.clone()),
            None => budget.give_back(item.cost()),
        }
    }

    /// Moves items from those that put to those that get until none of them can go on.
    fn settle(&mut self, context: &mut OperationContext<'_>) {
        loop {
            if self.has_room()
                && let Some(putter) = self.putters.front_mut()
            {
                if let Some(item) = putter.items.pop_front() {
                    self.items.push_back(item);
                    putter.put = putter.put.map(|put| put + 1);
                }
                if putter.items.is_empty()
                    && let Some(putter) = self.putters.pop_front()
                {
                    context.wakeups.push((putter.wait, Ok(putter.reply())));
                }
            } else if !self.items.is_empty()
                && let Some(getter) = self.getters.pop_front()
            {
                let reply = self.take(getter, context.budget);
                context.wakeups.push((getter.wait, Ok(reply)));
            } else {
                return;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.max.is_none_or(|max| self.items.len() < max as usize)
    }

    /// Returns the number of items that are not done.
    fn unfinished(&self) -> u64 {
        let leased = self.leases.as_ref().map_or(0, Leases::count);
        self.items.len() as u64 + leased
    }

    /// Ends the waits that an item's end lets go on.
    fn item_done(&mut self, context: &mut OperationContext<'_>) {
        if self.unfinished() == 0 {
            let done = |wait| (wait, Ok(Json::null()));
            context.wakeups.extend(self.joiners.drain(..).map(done));
        }
        self.end_getters(context);
    }

    fn close(&mut self, context: &mut OperationContext<'_>) {
        self.is_closed = true;
        for putter in std::mem::take(&mut self.putters) {
            let wait = putter.wait;
            let result = putter.end(ObjectErrorKind::Closed, context.budget);
            context.wakeups.push((wait, result));
        }
        self.end_getters(context);
    }

    /// Ends the requests for items of a closed queue to which no item can come.
    fn end_getters(&mut self, context: &mut OperationContext<'_>) {
        if !self.is_closed {
            return;
        }
        let getters = std::mem::take(&mut self.getters);
        let (ended, waiting) = getters
            .into_iter()
            .partition::<VecDeque<_>, _>(|getter| self.is_at_end(getter.call));
        self.getters = waiting;
        let closed = |getter: Getter| (getter.wait, Err(ObjectErrorKind::Closed.into()));
        context.wakeups.extend(ended.into_iter().map(closed));
    }

    /// Returns whether no item can come to this call: the queue is closed, and only the call itself has leased items, which
    /// come back when it fails.
    fn is_at_end(&self, call: CallKey) -> bool {
        let mut lessees = self.leases.iter().flat_map(Leases::calls);
        self.is_closed && self.items.is_empty() && lessees.all(|lessee| lessee == call)
    }

    pub(crate) fn end_wait(&mut self, wait: WaitId, budget: &mut Budget) -> OperationResult {
        self.getters.retain(|getter| getter.wait != wait);
        self.joiners.retain(|joiner| *joiner != wait);
        let index = self.putters.iter().position(|putter| putter.wait == wait);
        match index.and_then(|index| self.putters.remove(index)) {
            Some(putter) => putter.end(ObjectErrorKind::Timeout, budget),
            None => Err(ObjectErrorKind::Timeout.into()),
        }
    }

    /// Puts the leased items of a call that failed back in front. Those of a call that succeeded are done.
    pub(crate) fn call_ended(&mut self, call: CallKey, succeeded: bool, context: &mut OperationContext<'_>) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        let items = leases.remove(call);
        if succeeded {
            give_back(&items, context.budget);
        } else {
            for item in items.into_iter().rev() {
                self.items.push_front(item);
            }
            self.settle(context);
        }
        self.item_done(context);
    }

    /// Returns the calls that have leased items.
    pub(crate) fn holders(&self) -> impl Iterator<Item = CallKey> {
        self.leases.iter().flat_map(Leases::calls)
    }

    /// Returns the items, first those that are leased.
    pub(crate) fn contents(&self) -> Json {
        let leased = self.leases.iter().flat_map(Leases::items);
        Json::array(leased.chain(&self.items))
    }

    /// Replaces the items in the queue. Leased ones stay leased.
    pub(crate) fn restore(
        &mut self,
        items: Vec<Json>,
        context: &mut OperationContext<'_>,
    ) -> Result<(), OperationError> {
        if self.max.is_some_and(|max| items.len() > max as usize) {
            return Err(ObjectErrorKind::Full.into());
        }
        let cost = |items: &mut dyn Iterator<Item = &Json>| items.map(Json::cost).sum();
        context
            .budget
            .replace(cost(&mut self.items.iter()), cost(&mut items.iter()))?;
        self.items = items.into();
        self.settle(context);
        self.item_done(context);
        Ok(())
    }
}
