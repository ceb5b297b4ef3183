//! An object of any kind.

use mpwasm_types::objects::{ObjectErrorKind, ObjectSpec};

use crate::channels::{ItemQueue, PipeState, Side};
use crate::collections::{DictState, ListState, NamespaceState};
use crate::context::{Applied, Caller, OperationContext};
use crate::keys::{CallKey, WaitId};
use crate::operation::Operation;
use crate::operation_error::OperationError;
use crate::synchronization::{BarrierState, ConditionState, EventState, LockState, SemaphoreState};
use crate::wait::{OperationResult, WaitEnd};

/// The state of an object.
#[derive(Debug)]
pub(crate) enum ObjectState {
    /// A lock, or the own lock of a value or an array.
    Lock(LockState),
    Semaphore(SemaphoreState),
    Event(EventState),
    Condition(ConditionState),
    Barrier(BarrierState),
    Queue(ItemQueue),
    /// Both ends of a pipe.
    Pipe(PipeState),
    Dict(DictState),
    List(ListState),
    Namespace(NamespaceState),
}

impl ObjectState {
    pub(crate) fn new(spec: ObjectSpec) -> Self {
        match spec {
            ObjectSpec::Lock => Self::Lock(LockState::new(false)),
            // The lock of a value is recursive, as in Python.
            ObjectSpec::Value(_) | ObjectSpec::Array(..) | ObjectSpec::RLock => {
                Self::Lock(LockState::new(true))
            }
            ObjectSpec::Semaphore(permits) => Self::Semaphore(SemaphoreState::new(permits, false)),
            ObjectSpec::BoundedSemaphore(permits) => Self::Semaphore(SemaphoreState::new(permits, true)),
            ObjectSpec::Event => Self::Event(EventState::default()),
            ObjectSpec::Condition => Self::Condition(ConditionState::new()),
            ObjectSpec::Barrier(parties) => Self::Barrier(BarrierState::new(parties.get())),
            ObjectSpec::Queue(max) => Self::Queue(ItemQueue::new(max.map(u32::from), false)),
            ObjectSpec::JoinableQueue(max) => Self::Queue(ItemQueue::new(max.map(u32::from), true)),
            ObjectSpec::Pipe { duplex } => Self::Pipe(PipeState::new(duplex)),
            ObjectSpec::Dict => Self::Dict(DictState::default()),
            ObjectSpec::List => Self::List(ListState::default()),
            ObjectSpec::Namespace => Self::Namespace(NamespaceState::default()),
        }
    }

    /// Does an operation that was parsed for an object of this kind.
    pub(crate) fn apply(
        &mut self,
        side: Side,
        operation: Operation,
        caller: Caller,
        context: &mut OperationContext<'_>,
    ) -> Result<Applied, OperationError> {
        match (self, operation) {
            (Self::Lock(lock), Operation::Lock(operation)) => lock.apply(operation, caller, context.wakeups),
            (Self::Semaphore(semaphore), Operation::Semaphore(operation)) => {
                semaphore.apply(operation, caller, context.wakeups)
            }
            (Self::Event(event), Operation::Event(operation)) => {
                event.apply(operation, caller, context.wakeups)
            }
            (Self::Condition(condition), Operation::Condition(operation)) => {
                condition.apply(operation, caller, context.wakeups)
            }
            (Self::Barrier(barrier), Operation::Barrier(operation)) => {
                barrier.apply(operation, caller, context.wakeups)
            }
            (Self::Queue(queue), Operation::Queue(operation)) => queue.apply(operation, caller, context),
            (Self::Pipe(pipe), Operation::Pipe(operation)) => pipe.apply(side, operation, caller, context),
            (Self::Dict(dict), Operation::Dict(operation)) => {
                dict.apply(operation, context.budget).map(Applied::Done)
            }
            (Self::List(list), Operation::List(operation)) => {
                list.apply(operation, context.budget).map(Applied::Done)
            }
            (Self::Namespace(namespace), Operation::Namespace(operation)) => {
                namespace.apply(operation, context.budget).map(Applied::Done)
            }
            _ => Err(ObjectErrorKind::WrongType.into()),
        }
    }

    /// Ends a wait without what it waited for. `None`: it goes on without a deadline.
    pub(crate) fn end_wait(
        &mut self,
        wait: WaitId,
        end: WaitEnd,
        context: &mut OperationContext<'_>,
    ) -> Option<OperationResult> {
        let timeout = Err(ObjectErrorKind::Timeout.into());
        Some(match self {
            Self::Lock(lock) => {
                lock.remove_waiter(wait);
                timeout
            }
            Self::Semaphore(semaphore) => {
                semaphore.remove_waiter(wait);
                timeout
            }
            Self::Event(event) => {
                event.remove_waiter(wait);
                timeout
            }
            Self::Condition(condition) => return condition.end_wait(wait, end, context.wakeups),
            Self::Barrier(barrier) => {
                barrier.remove_waiter(wait, context.wakeups);
                timeout
            }
            Self::Queue(queue) => queue.end_wait(wait, context.budget),
            Self::Pipe(pipe) => pipe.end_wait(wait, end, context),
            Self::Dict(_) | Self::List(_) | Self::Namespace(_) => timeout,
        })
    }

    /// Returns whether calls can hold something of it, so that it must learn of their end.
    pub(crate) const fn can_be_held(&self) -> bool {
        matches!(
            self,
            Self::Lock(_) | Self::Semaphore(_) | Self::Condition(_) | Self::Queue(_) | Self::Pipe(_)
        )
    }

    /// Gives back what a call holds.
    pub(crate) fn call_ended(&mut self, call: CallKey, succeeded: bool, context: &mut OperationContext<'_>) {
        match self {
            Self::Lock(lock) => lock.call_ended(call, context.wakeups),
            Self::Semaphore(semaphore) => semaphore.call_ended(call, context.wakeups),
            Self::Condition(condition) => condition.call_ended(call, context.wakeups),
            Self::Queue(queue) => queue.call_ended(call, succeeded, context),
            Self::Pipe(pipe) => pipe.call_ended(call, succeeded, context),
            Self::Event(_) | Self::Barrier(_) | Self::Dict(_) | Self::List(_) | Self::Namespace(_) => {}
        }
    }

    /// Returns the call that holds the lock for which a request waits.
    pub(crate) fn blocker(&self, wait: WaitId) -> Option<CallKey> {
        match self {
            Self::Lock(lock) => lock.holder(),
            Self::Condition(condition) => condition.blocker(wait),
            _ => None,
        }
    }

    /// Returns the calls that hold something of it.
    pub(crate) fn holders(&self) -> Vec<CallKey> {
        match self {
            Self::Lock(lock) => lock.holder().into_iter().collect(),
            Self::Condition(condition) => condition.holder().into_iter().collect(),
            Self::Semaphore(semaphore) => semaphore.holders().collect(),
            Self::Queue(queue) => queue.holders().collect(),
            _ => Vec::new(),
        }
    }
}
