//! Operations of locks, semaphores, events, conditions and barriers.

use serde_json::value::RawValue;

use super::args::typed;

/// An operation on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOperation {
    /// `acquire`: waits for the lock. Replies `{"abandoned":bool}`.
    Acquire,
    /// `release`: only its holder may.
    Release,
}

/// An operation on a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SemaphoreOperation {
    /// `acquire`: waits for a permit. Replies `{"abandoned":bool}`.
    Acquire,
    /// `release`: adds a permit.
    Release,
}

/// An operation on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOperation {
    /// `set`: ends all waits.
    Set,
    /// `clear`
    Clear,
    /// `is_set`: replies a boolean.
    IsSet,
    /// `wait`: until the event is set.
    Wait,
}

/// An operation on a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionOperation {
    /// `acquire`: waits for the condition's lock. Replies `{"abandoned":bool}`.
    Acquire,
    /// `release`: only the lock's holder may.
    Release,
    /// `wait`: releases the lock, waits for a notification, and acquires the lock again. Replies
    /// `{"notified":bool,"abandoned":bool}`: if the timeout passed, the lock is held, too.
    Wait,
    /// `notify`: ends the waits of this many, 1 by default. Only the lock's holder may.
    Notify(u32),
    /// `notify_all`: ends all waits. Only the lock's holder may.
    NotifyAll,
}

/// An operation on a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierOperation {
    /// `wait`: until all parties wait. Replies the index of the caller among them, from 0 in the order of arrival.
    Wait,
    /// `abort`: breaks the barrier.
    Abort,
    /// `reset`: makes the barrier whole and empty. Those that wait get [`Broken`](mpwasm_types::objects::ObjectErrorKind::Broken).
    Reset,
    /// `parties`: replies their number.
    Parties,
    /// `waiting`: replies how many wait.
    Waiting,
    /// `broken`: replies a boolean.
    Broken,
}

impl LockOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("acquire", []) => Some(Self::Acquire),
            ("release", []) => Some(Self::Release),
            _ => None,
        }
    }
}

impl SemaphoreOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("acquire", []) => Some(Self::Acquire),
            ("release", []) => Some(Self::Release),
            _ => None,
        }
    }
}

impl EventOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("set", []) => Some(Self::Set),
            ("clear", []) => Some(Self::Clear),
            ("is_set", []) => Some(Self::IsSet),
            ("wait", []) => Some(Self::Wait),
            _ => None,
        }
    }
}

impl ConditionOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("acquire", []) => Some(Self::Acquire),
            ("release", []) => Some(Self::Release),
            ("wait", []) => Some(Self::Wait),
            ("notify", []) => Some(Self::Notify(1)),
            ("notify", [count]) => typed(count).map(Self::Notify),
            ("notify_all", []) => Some(Self::NotifyAll),
            _ => None,
        }
    }
}

impl BarrierOperation {
    pub(super) fn parse(name: &str, args: &[&RawValue]) -> Option<Self> {
        match (name, args) {
            ("wait", []) => Some(Self::Wait),
            ("abort", []) => Some(Self::Abort),
            ("reset", []) => Some(Self::Reset),
            ("parties", []) => Some(Self::Parties),
            ("waiting", []) => Some(Self::Waiting),
            ("broken", []) => Some(Self::Broken),
            _ => None,
        }
    }
}
