//! Objects that the tasks of a pool share: their names, specs, errors and number operations.
//!
//! The manager process holds the objects. Clients (workers, callbacks, the parent) name an object by its [`Token`], which
//! travels in a [`Handle`], or by a name that was granted to their pool.

mod bounds;
mod call_source;
mod error;
mod handle;
mod ids;
mod info;
mod number;
mod redact;
mod requested;
mod spec;
#[cfg(test)]
mod spec_tests;
mod status;
mod token;

pub use bounds::{MAX_LABEL, MAX_OBJECT_NAMES, MAX_VALUE};
pub use call_source::CallSource;
pub use error::{MAX_DETAIL, MAX_OPERATION, ObjectError, ObjectErrorKind};
pub use handle::Handle;
pub use ids::{CallNumber, ObjectId};
pub use info::ObjectInfo;
pub use number::{NumberOperation, NumberType};
pub use redact::redact;
pub use requested::{GrantedName, RequestedObject};
pub use spec::{MAX_ARRAY_SIZE, ObjectKind, ObjectSpec, SpecError};
pub use status::{HoldingCall, MAX_STATUS_CALLS, ObjectsStatus, WaitingCall};
pub use token::{Token, TokenError};
