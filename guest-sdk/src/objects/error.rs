//! Why an operation on a shared object failed.

use std::fmt;

use serde::Deserialize;

/// Why an operation on a shared object failed.
///
/// It is a [`std::error::Error`], so `?` turns it into an [`Error`](crate::Error). A guest that has an answer looks at the
/// [`kind`](Self::kind):
///
/// ```no_run
/// use std::time::Duration;
/// use mpwasm_guest::objects::{ObjectErrorKind, Queue};
/// # use mpwasm_guest::Error;
///
/// # fn next(jobs: Queue<String>) -> Result<Option<String>, Error> {
/// match jobs.get_timeout(Duration::from_millis(100)) {
///     Ok(job) => Ok(Some(job)),
///     Err(error) if error.kind == ObjectErrorKind::Empty => Ok(None),
///     Err(error) => Err(error.into()),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectError {
    /// The cause.
    pub kind: ObjectErrorKind,
    /// One sentence for people, which names the object and the operation: ``queue `jobs`: put: full``.
    pub message: String,
}

/// Defines [`ObjectErrorKind`] with the codes of the guest ABI.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal,)+) => {
        /// The cause of an [`ObjectError`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ObjectErrorKind {
            $($(#[$doc])* $kind,)+
            /// A cause that this version of the crate does not know.
            Other,
        }

        impl ObjectErrorKind {
            /// Returns the kind with this code.
            fn from_code(code: i32) -> Self {
                match code {
                    $($code => Self::$kind,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

kinds! {
    /// The queue is empty.
    Empty = 1,
    /// The queue is full.
    Full = 2,
    /// The timeout passed.
    Timeout = 3,
    /// The queue, or the other end of the pipe, is closed.
    Closed = 4,
    /// The barrier is broken.
    Broken = 5,
    /// The lock, or the leased item, is not held by this call.
    NotOwner = 6,
    /// No object has this handle, or none of this name was granted to the pool.
    NoSuchObject = 7,
    /// The object, or the value in it, is of another type.
    WrongType = 8,
    /// The value is larger than 16 MiB.
    TooLarge = 9,
    /// The manager's memory is full, or a bound on its objects is reached.
    OutOfMemory = 10,
    /// The pool has no objects, or the process that holds them has ended.
    Unavailable = 11,
    /// The wait would never end, since it closes a cycle of waits for locks.
    Deadlock = 12,
    /// There is no such key, index or value.
    Missing = 13,
    /// The object has no such operation, or it takes other arguments.
    Invalid = 14,
}

/// The reply that describes an error.
#[derive(Deserialize)]
struct Reply {
    message: String,
}

impl ObjectError {
    /// Creates an error.
    #[must_use]
    pub fn new(kind: ObjectErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Creates the error for the negative code that an import returned, and the reply that came with it.
    pub(super) fn from_reply(code: i32, reply: &[u8]) -> Self {
        let reply: Option<Reply> = serde_json::from_slice(reply).ok();
        let kind = ObjectErrorKind::from_code(code.saturating_neg());
        Self::new(kind, reply.map_or_else(String::new, |reply| reply.message))
    }
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "{:?}", self.kind),
            message => f.write_str(message),
        }
    }
}

impl std::error::Error for ObjectError {}
