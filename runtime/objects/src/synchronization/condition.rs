//! A lock with which calls wait for a notification.

use std::collections::VecDeque;

use mpwasm_types::objects::ObjectErrorKind;

use super::lock::LockState;
use crate::context::{Applied, Caller};
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::operation::{ConditionOperation, LockOperation};
use crate::operation_error::OperationError;
use crate::wait::{OperationResult, WaitEnd, Wakeups};

/// A condition, whose lock is recursive, as in Python.
///
/// A request first waits for a notification, and then for the lock. If its timeout passes, it waits for the lock, too: its caller
/// held it before. If it is cancelled, its caller does not hold the lock.
#[derive(Debug)]
pub(crate) struct ConditionState {
    lock: LockState,
    /// Requests that wait for a notification.
    waiters: VecDeque<NotificationWaiter>,
}

/// A request that waits for a notification.
#[derive(Debug)]
struct NotificationWaiter {
    wait: WaitId,
    call: CallKey,
    /// How often its call had acquired the lock.
    depth: u32,
}

impl ConditionState {
    pub(crate) const fn new() -> Self {
        Self {
            lock: LockState::new(true),
            waiters: VecDeque::new(),
        }
    }

    pub(crate) fn apply(
        &mut self,
        operation: ConditionOperation,
        caller: Caller,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        match operation {
            ConditionOperation::Acquire => self.lock.apply(LockOperation::Acquire, caller, wakeups),
            ConditionOperation::Release => self.lock.apply(LockOperation::Release, caller, wakeups),
            ConditionOperation::Wait => self.wait(caller, wakeups),
            ConditionOperation::Notify(count) => self.notify(caller.call, count, wakeups),
            ConditionOperation::NotifyAll => self.notify(caller.call, u32::MAX, wakeups),
        }
    }

    fn wait(&mut self, caller: Caller, wakeups: &mut Wakeups) -> Result<Applied, OperationError> {
        let depth = self.lock.release_all(caller.call, wakeups)?;
        if caller.at_once {
            // Others that wait for the lock have their turn first.
            self.lock
                .reacquire(caller.wait, caller.call, depth, false, wakeups);
        } else {
            self.waiters.push_back(NotificationWaiter {
                wait: caller.wait,
                call: caller.call,
                depth,
            });
        }
        Ok(Applied::Waits)
    }

    fn notify(
        &mut self,
        call: CallKey,
        count: u32,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        if self.lock.holder() != Some(call) {
            return Err(ObjectErrorKind::NotOwner.into());
        }
        let count = self
            .waiters
            .len()
            .min(usize::try_from(count).unwrap_or(usize::MAX));
        for waiter in self.waiters.drain(..count) {
            self.lock
                .reacquire(waiter.wait, waiter.call, waiter.depth, true, wakeups);
        }
        Ok(Applied::Done(Json::null()))
    }

    /// Ends a wait. `None`: it goes on until the lock is acquired.
    pub(crate) fn end_wait(
        &mut self,
        wait: WaitId,
        end: WaitEnd,
        wakeups: &mut Wakeups,
    ) -> Option<OperationResult> {
        let timeout = Some(Err(ObjectErrorKind::Timeout.into()));
        let index = self.waiters.iter().position(|waiter| waiter.wait == wait);
        let waiter = index.and_then(|index| self.waiters.remove(index));
        match (waiter, end) {
            (Some(waiter), WaitEnd::Expired) => {
                self.lock
                    .reacquire(waiter.wait, waiter.call, waiter.depth, false, wakeups);
                None
            }
            (Some(_), WaitEnd::Cancelled) => timeout,
            (None, WaitEnd::Expired) if self.lock.is_reacquired_by(wait) => None,
            (None, _) => {
                self.lock.remove_waiter(wait);
                timeout
            }
        }
    }

    pub(crate) fn call_ended(&mut self, call: CallKey, wakeups: &mut Wakeups) {
        self.lock.call_ended(call, wakeups);
    }

    pub(crate) fn holder(&self) -> Option<CallKey> {
        self.lock.holder()
    }

    /// Returns the call that a request waits for, which waits for the lock.
    pub(crate) fn blocker(&self, wait: WaitId) -> Option<CallKey> {
        self.lock.has_waiter(wait).then(|| self.lock.holder()).flatten()
    }
}
