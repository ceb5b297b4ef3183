//! What an operation on an object is given beside its arguments.

use crate::budget::Budget;
use crate::json::Json;
use crate::keys::{CallKey, WaitId};
use crate::wait::Wakeups;

/// Who calls an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub call: CallKey,
    /// The id of the wait, if the operation waits.
    pub wait: WaitId,
    /// Whether the operation fails instead of waiting.
    pub at_once: bool,
}

/// What operations change beside their object.
pub(crate) struct OperationContext<'a> {
    pub budget: &'a mut Budget,
    /// Waits that have ended.
    pub wakeups: &'a mut Wakeups,
}

/// What an operation led to, if it did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is done, with this reply.
    Done(Json),
    /// It waits.
    Waits,
}
