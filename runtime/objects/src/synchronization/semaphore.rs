//! A counter of permits. A permit is given back when the call that acquired it ends.

use std::collections::{BTreeMap, VecDeque};

use mpwasm_types::objects::ObjectErrorKind;

use crate::context::{Applied, Caller};
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation::SemaphoreOperation;
use crate::operation_error::OperationError;
use crate::wait::Wakeups;

/// A semaphore, bounded or not.
#[derive(Debug)]
pub(crate) struct SemaphoreState {
    /// Permits that can be acquired.
    permits: u32,
    /// Whether only a holder may release, so that there are never more permits than at the start.
    bounded: bool,
    /// Permits by the calls that have acquired them.
    holders: BTreeMap<CallKey, u32>,
    /// Permits whose holders ended without a release. The reply that grants one of them says so.
    abandoned: u32,
    waiters: VecDeque<(WaitId, CallKey)>,
}

impl SemaphoreState {
    pub(crate) const fn new(permits: u32, bounded: bool) -> Self {
        Self {
            permits,
            bounded,
            holders: BTreeMap::new(),
            abandoned: 0,
            waiters: VecDeque::new(),
        }
    }

    pub(crate) fn apply(
        &mut self,
        operation: SemaphoreOperation,
        caller: Caller,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        match operation {
            SemaphoreOperation::Acquire if self.permits > 0 => Ok(Applied::Done(self.acquire(caller.call))),
            SemaphoreOperation::Acquire if caller.at_once => Err(ObjectErrorKind::Timeout.into()),
            SemaphoreOperation::Acquire => {
                self.waiters.push_back((caller.wait, caller.call));
                Ok(Applied::Waits)
            }
            SemaphoreOperation::Release => self.release(caller.call, wakeups).map(Applied::Done),
        }
    }

    /// Takes a permit, of which there is one.
    fn acquire(&mut self, call: CallKey) -> Json {
        self.permits -= 1;
        *self.holders.entry(call).or_default() += 1;
        let abandoned = self.abandoned > 0;
        self.abandoned = self.abandoned.saturating_sub(1);
        Json::object([("abandoned", &Json::from(abandoned))])
    }

    fn release(&mut self, call: CallKey, wakeups: &mut Wakeups) -> Result<Json, OperationError> {
        if let Some(held) = self.holders.get_mut(&call) {
            *held -= 1;
            if *held == 0 {
                self.holders.remove(&call);
            }
        } else if self.bounded {
            return Err(ObjectErrorKind::NotOwner.into());
        }
        // The largest number is kept: one more than 4 294 967 295 is not needed.
        self.permits = self.permits.saturating_add(1);
        self.pass_on(wakeups);
        Ok(Json::null())
    }

    /// Gives permits to the requests that wait.
    fn pass_on(&mut self, wakeups: &mut Wakeups) {
        while self.permits > 0 {
            let Some((wait, call)) = self.waiters.pop_front() else {
                return;
            };
            let reply = self.acquire(call);
            wakeups.push((wait, Ok(reply)));
        }
    }

    pub(crate) fn remove_waiter(&mut self, wait: WaitId) {
        self.waiters.retain(|(waiting, _)| *waiting != wait);
    }

    pub(crate) fn call_ended(&mut self, call: CallKey, wakeups: &mut Wakeups) {
        if let Some(held) = self.holders.remove(&call) {
            self.permits = self.permits.saturating_add(held);
            self.abandoned = self.abandoned.saturating_add(held);
            self.pass_on(wakeups);
        }
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = CallKey> {
        self.holders.keys().copied()
    }
}
