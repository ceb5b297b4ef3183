//! Why an operation on a shared object failed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounds::MAX_LABEL;
use super::spec::ObjectKind;
use crate::bounded;

/// Longest name of an operation, in bytes.
pub const MAX_OPERATION: usize = 64;

/// Longest detail of an error, in bytes: 4 KiB, which is more than a cycle of eight waits with their labels takes.
pub const MAX_DETAIL: usize = 4 << 10;

/// The cause of an [`ObjectError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ObjectErrorKind {
    /// Nothing is there to take, and the operation does not wait.
    Empty,
    /// There is no place for more, and the operation does not wait.
    Full,
    /// The timeout passed.
    Timeout,
    /// The queue, or the other end of the pipe, is closed.
    Closed,
    /// The barrier is broken.
    Broken,
    /// The lock, or the leased item, is not held by this call.
    NotOwner,
    /// No object has this token, or none of this name was granted to the pool.
    NoSuchObject,
    /// The object, or the value in it, is of another type.
    WrongType,
    /// The value is larger than 16 MiB.
    TooLarge,
    /// The manager's memory is full, or a bound on its objects or waiting requests is reached.
    OutOfMemory,
    /// There is no manager, or it has ended.
    Unavailable,
    /// The wait would never end, since it closes a cycle of waits for locks.
    Deadlock,
    /// There is no such key, index or value.
    Missing,
    /// The object has no such operation, or it takes other arguments.
    Invalid,
}

impl ObjectErrorKind {
    /// All kinds, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Empty,
        Self::Full,
        Self::Timeout,
        Self::Closed,
        Self::Broken,
        Self::NotOwner,
        Self::NoSuchObject,
        Self::WrongType,
        Self::TooLarge,
        Self::OutOfMemory,
        Self::Unavailable,
        Self::Deadlock,
        Self::Missing,
        Self::Invalid,
    ];

    /// Returns the code by which the guest ABI names the kind, from 1. A code never changes.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32 + 1
    }

    /// Returns the kind with this code.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Full => "Full",
            Self::Timeout => "Timeout",
            Self::Closed => "Closed",
            Self::Broken => "Broken",
            Self::NotOwner => "NotOwner",
            Self::NoSuchObject => "NoSuchObject",
            Self::WrongType => "WrongType",
            Self::TooLarge => "TooLarge",
            Self::OutOfMemory => "OutOfMemory",
            Self::Unavailable => "Unavailable",
            Self::Deadlock => "Deadlock",
            Self::Missing => "Missing",
            Self::Invalid => "Invalid",
        }
    }

    /// Returns the words that error messages use.
    const fn words(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Full => "full",
            Self::Timeout => "timed out",
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::NotOwner => "not held by this call",
            Self::NoSuchObject => "no such object",
            Self::WrongType => "wrong type",
            Self::TooLarge => "value too large",
            Self::OutOfMemory => "the manager's memory is full",
            Self::Unavailable => "no manager",
            Self::Deadlock => "deadlock",
            Self::Missing => "no such key, index or value",
            Self::Invalid => "invalid operation",
        }
    }
}

impl fmt::Display for ObjectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Reports why an operation on a shared object failed: ``queue `jobs`: put: full``.
///
/// It is sent between processes. The label, the operation and the detail may quote a guest: escape them before they are
/// displayed. They never have a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ObjectError {
    /// The cause.
    pub kind: ObjectErrorKind,
    /// What the object is, if it is known.
    pub object_kind: Option<ObjectKind>,
    /// The object's label.
    #[serde(deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub object: String,
    /// The operation, or `open`.
    #[serde(deserialize_with = "bounded::text::<_, MAX_OPERATION>")]
    pub operation: String,
    /// More about the cause, or empty.
    #[serde(deserialize_with = "bounded::text::<_, MAX_DETAIL>")]
    pub detail: String,
}

impl ObjectError {
    /// Creates an error without a detail. Texts over their bounds are cut.
    #[must_use]
    pub fn new(kind: ObjectErrorKind, object: &str, operation: &str) -> Self {
        Self {
            kind,
            object_kind: None,
            object: bounded::cut(object, MAX_LABEL).to_owned(),
            operation: bounded::cut(operation, MAX_OPERATION).to_owned(),
            detail: String::new(),
        }
    }

    /// Adds what the object is.
    #[must_use]
    pub fn on(mut self, kind: ObjectKind) -> Self {
        self.object_kind = Some(kind);
        self
    }

    /// Adds a detail, cut at [`MAX_DETAIL`].
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        bounded::cut(detail, MAX_DETAIL).clone_into(&mut self.detail);
        self
    }

    /// Returns the JSON that a guest gets: `{"kind":"Full","message":"..."}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        /// The JSON form.
        #[derive(Serialize)]
        struct Report {
            kind: ObjectErrorKind,
            message: String,
        }
        serde_json::to_string(&Report {
            kind: self.kind,
            message: self.to_string(),
        })
        .expect("a struct of two texts is JSON")
    }
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object_kind = self.object_kind.map_or("object", ObjectKind::as_str);
        write!(
            f,
            "{object_kind} `{}`: {}: {}",
            self.object, self.operation, self.kind
        )?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_object_the_operation_and_the_cause() {
        let full = ObjectError::new(ObjectErrorKind::Full, "jobs", "put").on(ObjectKind::Queue);
        assert_eq!(full.to_string(), "queue `jobs`: put: full");
        assert_eq!(
            full.to_json(),
            r#"{"kind":"Full","message":"queue `jobs`: put: full"}"#
        );
        let unknown =
            ObjectError::new(ObjectErrorKind::NoSuchObject, "jobs", "open").with_detail("grant it first");
        assert_eq!(
            unknown.to_string(),
            "object `jobs`: open: no such object: grant it first"
        );
    }

    #[test]
    fn codes_and_names_are_stable() {
        for (index, kind) in ObjectErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.code(), i32::try_from(index).unwrap() + 1);
            assert_eq!(ObjectErrorKind::from_code(kind.code()), Some(kind));
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.as_str())
            );
        }
        assert_eq!(ObjectErrorKind::Invalid.code(), 14);
        assert_eq!(ObjectErrorKind::from_code(0), None);
        assert_eq!(ObjectErrorKind::from_code(15), None);
    }

    #[test]
    fn an_error_is_within_its_bounds_however_long_its_texts_are() {
        let long = "é".repeat(MAX_DETAIL);
        let error = ObjectError::new(ObjectErrorKind::Invalid, &long, &long).with_detail(&long);
        let bytes = postcard::to_allocvec(&error).unwrap();
        assert_eq!(postcard::from_bytes::<ObjectError>(&bytes).unwrap(), error);
        let over = ObjectError {
            detail: long,
            ..error
        };
        let bytes = postcard::to_allocvec(&over).unwrap();
        assert!(postcard::from_bytes::<ObjectError>(&bytes).is_err());
    }
}
