//! Locks, semaphores, events, conditions and barriers.

mod barrier;
mod condition;
mod event;
mod lock;
mod semaphore;

pub(crate) use barrier::BarrierState;
pub(crate) use condition::ConditionState;
pub(crate) use event::EventState;
pub(crate) use lock::LockState;
pub(crate) use semaphore::SemaphoreState;
