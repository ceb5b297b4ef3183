//! How the guests of an executor reach the objects that tasks share.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::abi::call::Export;
use crate::deadline::InterruptCause;
use mpwasm_system::number_memory::NumberMemory;
use mpwasm_types::ids::TaskId;
use mpwasm_types::objects::{Handle, ObjectError, ObjectId, ObjectSpec};

/// Reaches shared objects for the guests of an executor, on the thread that runs them.
///
/// Most methods wait for a reply of the process that holds the objects. An implementation waits with
/// [`Deadline::wait_readable`](crate::Deadline::wait_readable), so that the wait ends at the deadline of the call and when the call
/// is cancelled, and the watchdog leaves the process alone meanwhile.
pub trait ObjectClient: Send {
    /// Starts a call. What the following requests acquire belongs to it. Not called for calls that use no objects.
    fn start_call(&mut self, caller: ObjectCaller);

    /// Opens an object.
    ///
    /// # Errors
    /// If there is no such object, or the process that holds it is gone; or if the call was interrupted.
    fn open(&mut self, target: ObjectTarget<'_>) -> Result<OpenedObject, ObjectCallError>;

    /// Calls an operation with `args`, which should be a JSON array, and returns its reply, which is JSON. An operation that has to
    /// wait waits for `timeout`, or until the deadline of the call if it is `None`.
    ///
    /// # Errors
    /// If the operation fails, does not exist or does not take these args; or if the call was interrupted.
    fn call(
        &mut self,
        object: &OpenedObject,
        operation: &str,
        args: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, ObjectCallError>;

    /// Ends the call that was started last: everything that it still holds is given back. `succeeded` says whether it returned a
    /// result. Must not wait.
    fn end_call(&mut self, succeeded: bool);
}

/// The call of a guest for which objects are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectCaller {
    /// The export that is called.
    pub export: Export,
    /// Id of the task that the call belongs to.
    pub task_id: TaskId,
    /// Attempt of the task.
    pub attempt: u32,
}

/// What a guest names an object by.
#[derive(Clone, Copy, Debug)]
pub enum ObjectTarget<'a> {
    /// A handle that it was given.
    Handle(&'a Handle),
    /// A name that was granted to its pool.
    Name(&'a str),
}

/// An object that a client has opened.
#[derive(Clone, Debug)]
pub struct OpenedObject {
    /// The object, for later requests.
    pub id: ObjectId,
    /// What the object is.
    pub spec: ObjectSpec,
    /// Its name in messages.
    pub label: Arc<str>,
    /// The memory of a `Value` or an `Array`, which guests use without requests.
    pub numbers: Option<Arc<NumberMemory>>,
}

/// Why a request of a guest failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ObjectCallError {
    /// The guest gets this error, and goes on.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The deadline of the call passed, or it was cancelled. The call ends.
    #[error("interrupted")]
    Interrupted(InterruptCause),
}

impl From<InterruptCause> for ObjectCallError {
    fn from(cause: InterruptCause) -> Self {
        Self::Interrupted(cause)
    }
}
