//! A point at which calls wait for each other.

use mpwasm_types::objects::ObjectErrorKind;

use crate::context::{Applied, Caller};
use crate::json::Json;
use crate::keys::WaitId;
use crate::operation::BarrierOperation;
use crate::operation_error::OperationError;
use crate::wait::Wakeups;

/// A barrier. A wait that ends early (by its timeout, or since its call ended) breaks it, as the others would wait forever.
#[derive(Debug)]
pub(crate) struct BarrierState {
    parties: u32,
    broken: bool,
    /// In the order of arrival. Fewer than the parties.
    waiters: Vec<WaitId>,
}

impl BarrierState {
    pub(crate) const fn new(parties: u32) -> Self {
        Self {
            parties,
            broken: false,
            waiters: Vec::new(),
        }
    }

    pub(crate) fn apply(
        &mut self,
        operation: BarrierOperation,
        caller: Caller,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        let reply = match operation {
            BarrierOperation::Wait => return self.wait(caller, wakeups),
            BarrierOperation::Abort => {
                self.break_up(wakeups);
                Json::null()
            }
            BarrierOperation::Reset => {
                self.break_up(wakeups);
                self.broken = false;
                Json::null()
            }
            BarrierOperation::Parties => Json::from(u64::from(self.parties)),
            BarrierOperation::Waiting => Json::from(self.waiters.len() as u64),
            BarrierOperation::Broken => Json::from(self.broken),
        };
        Ok(Applied::Done(reply))
    }

    fn wait(&mut self, caller: Caller, wakeups: &mut Wakeups) -> Result<Applied, OperationError> {
        if self.broken {
            return Err(ObjectErrorKind::Broken.into());
        }
        let index = self.waiters.len() as u64;
        if index + 1 == u64::from(self.parties) {
            let indices = (0..).map(|index: u64| Ok(Json::from(index)));
            wakeups.extend(self.waiters.drain(..).zip(indices));
            return Ok(Applied::Done(Json::from(index)));
        }
        if caller.at_once {
            self.break_up(wakeups);
            return Err(ObjectErrorKind::Timeout.into());
        }
        self.waiters.push(caller.wait);
        Ok(Applied::Waits)
    }

    /// Breaks the barrier. All waits end as broken.
    fn break_up(&mut self, wakeups: &mut Wakeups) {
        self.broken = true;
        let broken = |wait| (wait, Err(ObjectErrorKind::Broken.into()));
        wakeups.extend(self.waiters.drain(..).map(broken));
    }

    pub(crate) fn remove_waiter(&mut self, wait: WaitId, wakeups: &mut Wakeups) {
        self.waiters.retain(|waiting| *waiting != wait);
        self.break_up(wakeups);
    }
}
