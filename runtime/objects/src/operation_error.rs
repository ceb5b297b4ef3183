//! Why an operation failed, before the object and the operation are named.

use std::borrow::Cow;

use mpwasm_types::objects::ObjectErrorKind;

/// Reports why an operation failed. The manager adds the object's label and the operation's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationError {
    /// The cause.
    pub kind: ObjectErrorKind,
    /// More about the cause, or empty.
    pub detail: Cow<'static, str>,
}

impl OperationError {
    /// Creates an error with a detail.
    #[must_use]
    pub fn new(kind: ObjectErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

impl From<ObjectErrorKind> for OperationError {
    fn from(kind: ObjectErrorKind) -> Self {
        Self::new(kind, "")
    }
}
