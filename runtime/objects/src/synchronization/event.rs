//! A flag to wait for.

use mpwasm_types::objects::ObjectErrorKind;

use crate::context::{Applied, Caller};
use crate::json::Json;
use crate::keys::WaitId;
use crate::operation::EventOperation;
use crate::operation_error::OperationError;
use crate::wait::Wakeups;

/// An event, not set at first.
#[derive(Debug, Default)]
pub(crate) struct EventState {
    is_set: bool,
    waiters: Vec<WaitId>,
}

impl EventState {
    pub(crate) fn apply(
        &mut self,
        operation: EventOperation,
        caller: Caller,
        wakeups: &mut Wakeups,
    ) -> Result<Applied, OperationError> {
        match operation {
            EventOperation::Set => {
                self.is_set = true;
                wakeups.extend(self.waiters.drain(..).map(|wait| (wait, Ok(Json::null()))));
            }
            EventOperation::Clear => self.is_set = false,
            EventOperation::IsSet => return Ok(Applied::Done(Json::from(self.is_set))),
            EventOperation::Wait if self.is_set => {}
            EventOperation::Wait if caller.at_once => return Err(ObjectErrorKind::Timeout.into()),
            EventOperation::Wait => {
                self.waiters.push(caller.wait);
                return Ok(Applied::Waits);
            }
        }
        Ok(Applied::Done(Json::null()))
    }

    pub(crate) fn remove_waiter(&mut self, wait: WaitId) {
        self.waiters.retain(|waiting| *waiting != wait);
    }
}
