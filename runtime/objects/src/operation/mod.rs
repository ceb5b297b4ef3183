//! The operations of all objects, and how they are parsed.
//!
//! A request names an operation and has its arguments as a JSON array. [`Operation::parse`] is the only place where they are read.
//! An operation that waits takes the timeout of its request.

mod args;
mod channels;
mod collections;
mod elements;
mod synchronization;
#[cfg(test)]
mod tests;

use mpwasm_types::objects::{ObjectErrorKind, ObjectKind};

use crate::bounds::MAX_MANY;
use crate::json::Json;
use crate::operation_error::OperationError;

pub use channels::{PipeOperation, QueueOperation};
pub use collections::{DictOperation, ListOperation, NamespaceOperation, Page};
pub use synchronization::{
    BarrierOperation, ConditionOperation, EventOperation, LockOperation, SemaphoreOperation,
};

/// An operation on an object, by the kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// On a lock, or the own lock of a value or an array.
    Lock(LockOperation),
    /// On a semaphore.
    Semaphore(SemaphoreOperation),
    /// On an event.
    Event(EventOperation),
    /// On a condition.
    Condition(ConditionOperation),
    /// On a barrier.
    Barrier(BarrierOperation),
    /// On a queue, joinable or not.
    Queue(QueueOperation),
    /// On an end of a pipe.
    Pipe(PipeOperation),
    /// On a dict.
    Dict(DictOperation),
    /// On a list.
    List(ListOperation),
    /// On a namespace.
    Namespace(NamespaceOperation),
}

impl Operation {
    /// Parses the operation `name` of a kind of object. `args` is a JSON array.
    ///
    /// # Errors
    /// Fails with [`ObjectErrorKind::Invalid`] if `args` is not a JSON array, if the kind has no such operation, or if the operation
    /// takes other arguments, and with [`ObjectErrorKind::TooLarge`] if a value is larger than
    /// [`MAX_VALUE`](mpwasm_types::objects::MAX_VALUE).
    pub fn parse(kind: ObjectKind, name: &str, args: &[u8]) -> Result<Self, OperationError> {
        let text = args::check(args)?;
        let args = args::split(&text)?;
        let args = args.as_slice();
        let parsed = match kind {
            ObjectKind::Value | ObjectKind::Array | ObjectKind::Lock | ObjectKind::RLock => {
                LockOperation::parse(name, args).map(Self::Lock)
            }
            ObjectKind::Semaphore | ObjectKind::BoundedSemaphore => {
                SemaphoreOperation::parse(name, args).map(Self::Semaphore)
            }
            ObjectKind::Event => EventOperation::parse(name, args).map(Self::Event),
            ObjectKind::Condition => ConditionOperation::parse(name, args).map(Self::Condition),
            ObjectKind::Barrier => BarrierOperation::parse(name, args).map(Self::Barrier),
            ObjectKind::Queue => QueueOperation::parse(name, args).map(Self::Queue),
            ObjectKind::JoinableQueue => QueueOperation::parse(name, args)
                .or_else(|| QueueOperation::parse_joinable(name, args))
                .map(Self::Queue),
            ObjectKind::Pipe => PipeOperation::parse(name, args).map(Self::Pipe),
            ObjectKind::Dict => DictOperation::parse(name, args).map(Self::Dict),
            ObjectKind::List => ListOperation::parse(name, args).map(Self::List),
            ObjectKind::Namespace => NamespaceOperation::parse(name, args).map(Self::Namespace),
        };
        parsed.ok_or_else(|| {
            if let ("put_many" | "extend" | "update", [arg]) = (name, args)
                && elements::count(arg.get()) > MAX_MANY
            {
                let detail = format!("at most {MAX_MANY} values are added at a time");
                return OperationError::new(ObjectErrorKind::TooLarge, detail);
            }
            let count = args.len();
            let s = if count == 1 { "" } else { "s" };
            OperationError::new(
                ObjectErrorKind::Invalid,
                format!("a {kind} has no such operation with {count} argument{s} of these types"),
            )
        })
    }
}

/// Returns the values of an array, however many. `None` if it is none.
pub(crate) fn parse_list(array: &Json) -> Option<Vec<Json>> {
    let values = elements::values::<{ usize::MAX }>(array.as_str())?;
    Some(values.into_iter().map(args::any).collect())
}

/// Returns the pairs of an object, or of an array of pairs, however many. `None` if it is neither.
pub(crate) fn parse_pairs(contents: &Json) -> Option<Vec<(Json, Json)>> {
    elements::pairs::<{ usize::MAX }>(contents.as_str())
}
