//! A lock that one call holds. It is released when the call ends, and passed on in the order of the requests.

use std::collections::VecDeque;

use mpwasm_types::objects::ObjectErrorKind;

use crate::context::{Applied, Caller};
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation::LockOperation;
use crate::operation_error::OperationError;
use crate::wait::Wakeups;

/// A lock, recursive or not.
#[derive(Debug)]
pub(crate) struct LockState {
    /// Whether its holder may acquire it again.
    recursive: bool,
    holder: Option<LockHold>,
    /// Whether the last holder ended without a release. The reply to the next one says so.
    abandoned: bool,
    waiters: VecDeque<LockWaiter>,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug)]
struct LockHold {
    call: CallKey,
    /// Releases that are due.
    depth: u32,
}

/// A request that waits for the lock.
#[derive(Debug)]
struct LockWaiter {
    wait: WaitId,
    /// How the lock will be held.
    hold: LockHold,
    /// For a request that waited for a condition: whether it was notified.
    notified: Option<bool>,
}

impl LockState {
    pub(crate) const fn new(recursive: bool) -> Self {
        Self {
            recursive,
            holder: None,
            abandoned: false,
            waiters: VecDeque::new(),
        }
    }

    pub(crate) fn apply(
        &mut self,
        operation: LockOperation,
        caller: Caller,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        match operation {
            LockOperation::Acquire => self.acquire(caller),
            LockOperation::Release => self.release(caller.call, wakeups).map(Applied::Done),
        }
    }

    fn acquire(&mut self, caller: Caller) -> Result<Applied, OperationError> {
        let hold = LockHold {
            call: caller.call,
            depth: 1,
        };
        match &mut self.holder {
            None => {
                self.holder = Some(hold);
                return Ok(Applied::Done(self.acquired(None)));
            }
            Some(holder) if self.recursive && holder.call == caller.call => {
                holder.depth = holder.depth.checked_add(1).ok_or_else(|| {
                    OperationError::new(ObjectErrorKind::Invalid, "acquired too often by one call")
                })?;
                return Ok(Applied::Done(self.acquired(None)));
            }
            Some(_) if caller.at_once => return Err(ObjectErrorKind::Timeout.into()),
            Some(_) => {}
        }
        self.waiters.push_back(LockWaiter {
            wait: caller.wait,
            hold,
            notified: None,
        });
        Ok(Applied::Waits)
    }

    fn release(&mut self, call: CallKey, wakeups: &mut Wakeups) -> Result<Json, OperationError> {
        match &mut self.holder {
            Some(holder) if holder.call == call => {
                holder.depth -= 1;
                if holder.depth == 0 {
                    self.holder = None;
                    self.pass_on(wakeups);
                }
                Ok(Json::null())
            }
            _ => Err(ObjectErrorKind::NotOwner.into()),
        }
    }

    /// Releases the lock however often it was acquired, for the wait for a condition. Returns how often.
    pub(super) fn release_all(
        &mut self,
        call: CallKey,
        wakeups: &mut Wakeups,
    ) -> Result<u32, OperationError> {
        match self.holder {
            Some(holder) if holder.call == call => {
                self.holder = None;
                self.pass_on(wakeups);
                Ok(holder.depth)
            }
            _ => Err(ObjectErrorKind::NotOwner.into()),
        }
    }

    /// Lets a request that waited for a condition wait for the lock.
    pub(super) fn reacquire(
        &mut self,
        wait: WaitId,
        call: CallKey,
        depth: u32,
        notified: bool,
        wakeups: &mut Wakeups,
    ) {
        self.waiters.push_back(LockWaiter {
            wait,
            hold: LockHold { call, depth },
            notified: Some(notified),
        });
        self.pass_on(wakeups);
    }

    /// Gives a free lock to the first request that waits.
    fn pass_on(&mut self, wakeups: &mut Wakeups) {
        if self.holder.is_none()
            && let Some(waiter) = self.waiters.pop_front()
        {
            self.holder = Some(waiter.hold);
            let reply = self.acquired(waiter.notified);
            wakeups.push((waiter.wait, Ok(reply)));
        }
    }

    /// Returns the reply to a request that has acquired the lock, which tells once that it was abandoned.
    fn acquired(&mut self, notified: Option<bool>) -> Json {
        let abandoned = Json::from(std::mem::take(&mut self.abandoned));
        match notified {
            None => Json::object([("abandoned", &abandoned)]),
            Some(notified) => Json::object([("notified", &Json::from(notified)), ("abandoned", &abandoned)]),
        }
    }

    /// Removes a request that waits. Returns whether it was there.
    pub(crate) fn remove_waiter(&mut self, wait: WaitId) -> bool {
        let index = self.waiters.iter().position(|waiter| waiter.wait == wait);
        index.is_some_and(|index| self.waiters.remove(index).is_some())
    }

    /// Returns whether a request waits for the lock.
    pub(super) fn has_waiter(&self, wait: WaitId) -> bool {
        self.waiters.iter().any(|waiter| waiter.wait == wait)
    }

    /// Returns whether a request that waited for the condition waits for the lock.
    pub(super) fn is_reacquired_by(&self, wait: WaitId) -> bool {
        let mut waiters = self.waiters.iter();
        waiters.any(|waiter| waiter.wait == wait && waiter.notified.is_some())
    }

    pub(crate) fn call_ended(&mut self, call: CallKey, wakeups: &mut Wakeups) {
        if self.holder() == Some(call) {
            self.holder = None;
            self.abandoned = true;
            self.pass_on(wakeups);
        }
    }

    pub(crate) fn holder(&self) -> Option<CallKey> {
        self.holder.map(|hold| hold.call)
    }
}
