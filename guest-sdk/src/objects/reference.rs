//! References to objects, by handle or by name, and requests to them.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{ObjectError, ObjectErrorKind};
use crate::{fit, host};

/// The kinds of objects, with their codes in the guest ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value = 1,
    Array = 2,
    Lock = 3,
    RLock = 4,
    Semaphore = 5,
    BoundedSemaphore = 6,
    Event = 7,
    Condition = 8,
    Barrier = 9,
    Queue = 10,
    JoinableQueue = 11,
    Pipe = 12,
    Dict = 13,
    List = 14,
    Namespace = 15,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Value,
        Self::Array,
        Self::Lock,
        Self::RLock,
        Self::Semaphore,
        Self::BoundedSemaphore,
        Self::Event,
        Self::Condition,
        Self::Barrier,
        Self::Queue,
        Self::JoinableQueue,
        Self::Pipe,
        Self::Dict,
        Self::List,
        Self::Namespace,
    ];

    /// Returns the word that messages use.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Array => "array",
            Self::Lock => "lock",
            Self::RLock => "rlock",
            Self::Semaphore => "semaphore",
            Self::BoundedSemaphore => "bounded-semaphore",
            Self::Event => "event",
            Self::Condition => "condition",
            Self::Barrier => "barrier",
            Self::Queue => "queue",
            Self::JoinableQueue => "joinable-queue",
            Self::Pipe => "pipe",
            Self::Dict => "dict",
            Self::List => "list",
            Self::Namespace => "namespace",
        }
    }

    /// Returns whether an object of the kind `actual` can be used as one of this kind. A joinable queue is a queue.
    fn takes(self, actual: u8) -> bool {
        self as u8 == actual || (self == Self::Queue && actual == Self::JoinableQueue as u8)
    }
}

/// What an open object is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info(i64);

impl Info {
    fn kind(self) -> u8 {
        self.0 as u8
    }

    /// Returns the code of the type of its numbers.
    pub(crate) fn number(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Returns the count of its numbers.
    pub(crate) fn count(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Until the deadline of the call.
    Forever,
    /// At most this long.
    For(Duration),
    /// Not at all.
    Never,
}

impl Wait {
    /// Returns the timeout of the guest ABI. A fraction of a millisecond counts as a whole one.
    fn millis(self) -> i64 {
        match self {
            Self::Forever => -1,
            Self::For(timeout) => i64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX),
            Self::Never => 0,
        }
    }
}

/// What names an object.
#[derive(Clone, PartialEq, Eq)]
enum Target {
    /// The name that was granted to the pool.
    Name(String),
    /// A handle, with its token.
    Handle { label: String, token: String },
}

/// The JSON form of a reference: a handle, or only the label, which stands for the name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    object: String,
    #[serde(default)]
    token: Option<String>,
}

/// An object as one call has opened it.
#[derive(Clone, Copy)]
struct Opened {
    call: u64,
    descriptor: i32,
    info: Info,
}

thread_local! {
    /// Number of the running call. A descriptor is valid in the call that opened it, and an instance may serve many calls.
    static CALL: Cell<u64> = const { Cell::new(0) };
}

/// Starts a call: what an earlier one has opened is opened anew.
pub(crate) fn begin_call() {
    CALL.set(CALL.get() + 1);
}

/// A reference to an object, which is opened at its first use in a call.
#[derive(Clone)]
pub(crate) struct Reference {
    target: Target,
    opened: Cell<Option<Opened>>,
}

impl Reference {
    /// Refers to the object that was granted to the pool under this name.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            target: Target::Name(name.to_owned()),
            opened: Cell::new(None),
        }
    }

    /// Returns the label.
    pub(crate) fn label(&self) -> &str {
        match &self.target {
            Target::Name(name) => name,
            Target::Handle { label, .. } => label,
        }
    }

    /// Opens the object, if this call has not opened it. Returns its descriptor and what it is.
    pub(crate) fn open(&self, kind: Kind) -> Result<(i32, Info), ObjectError> {
        let call = CALL.get();
        if let Some(opened) = self.opened.get().filter(|opened| opened.call == call) {
            return Ok((opened.descriptor, opened.info));
        }
        let descriptor = match &self.target {
            Target::Name(name) => host::object_open(name.as_bytes()),
            Target::Handle { .. } => {
                let json = serde_json::to_vec(self).expect("a struct of two texts is JSON");
                host::object_open(&json)
            }
        };
        if descriptor < 0 {
            return Err(ObjectError::from_reply(descriptor, &host::object_reply()));
        }
        let info = Info(host::object_info(descriptor));
        if !kind.takes(info.kind()) {
            let actual = Kind::ALL.into_iter().find(|kind| *kind as u8 == info.kind());
            let actual = actual.map_or("object of another kind", Kind::as_str);
            return Err(ObjectError::new(
                ObjectErrorKind::WrongType,
                format!("`{}` is a {actual}, and not a {}", self.label(), kind.as_str()),
            ));
        }
        self.opened.set(Some(Opened {
            call,
            descriptor,
            info,
        }));
        Ok((descriptor, info))
    }

    /// Calls an operation and parses its reply.
    pub(crate) fn call<R: DeserializeOwned>(
        &self,
        kind: Kind,
        operation: &str,
        args: &(impl Serialize + ?Sized),
        wait: Wait,
    ) -> Result<R, ObjectError> {
        let args = serde_json::to_vec(args)
            .map_err(|error| self.error(kind, operation, ObjectErrorKind::Invalid, &error))?;
        // `()` stands for no arguments.
        let args: &[u8] = if args == b"null" { b"[]" } else { &args };
        let (descriptor, _) = self.open(kind)?;
        let length = host::object_call(descriptor, operation, args, wait.millis());
        let reply = host::object_reply();
        if length < 0 {
            return Err(ObjectError::from_reply(length, &reply));
        }
        fit::value("the value", &reply)
            .map_err(|error| self.error(kind, operation, ObjectErrorKind::WrongType, &error))
    }

    /// Calls an operation that does not wait and has no result.
    pub(crate) fn tell(
        &self,
        kind: Kind,
        operation: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<(), ObjectError> {
        self.call::<serde::de::IgnoredAny>(kind, operation, args, Wait::Never)
            .map(drop)
    }

    /// Returns an error of this crate about an operation.
    pub(crate) fn error(
        &self,
        kind: Kind,
        operation: &str,
        cause: ObjectErrorKind,
        detail: &dyn fmt::Display,
    ) -> ObjectError {
        let message = format!("{} `{}`: {operation}: {detail}", kind.as_str(), self.label());
        ObjectError::new(cause, message)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.target {
            Target::Name(name) => {
                let mut json = serializer.serialize_struct("Handle", 1)?;
                json.serialize_field("object", name)?;
                json.end()
            }
            Target::Handle { label, token } => {
                let mut json = serializer.serialize_struct("Handle", 2)?;
                json.serialize_field("object", label)?;
                json.serialize_field("token", token)?;
                json.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Json { object, token } = Json::deserialize(deserializer)?;
        let target = match token {
            Some(token) => Target::Handle { label: object, token },
            None => Target::Name(object),
        };
        Ok(Self {
            target,
            opened: Cell::new(None),
        })
    }
}

/// Returns the result of an operation of a queue or a pipe, for which a timeout means that it is still empty or full.
pub(crate) fn still<T>(
    result: Result<T, ObjectError>,
    kind: ObjectErrorKind,
    word: &str,
) -> Result<T, ObjectError> {
    result.map_err(
        |error| match (error.kind, error.message.strip_suffix("timed out")) {
            (ObjectErrorKind::Timeout, Some(message)) => ObjectError::new(kind, format!("{message}{word}")),
            (ObjectErrorKind::Timeout, None) => ObjectError::new(kind, error.message),
            _ => error,
        },
    )
}

/// Returns what an operation did that may time out: `None` if it did.
pub(crate) fn unless_timeout<T>(result: Result<T, ObjectError>) -> Result<Option<T>, ObjectError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind == ObjectErrorKind::Timeout => Ok(None),
        Err(error) => Err(error),
    }
}

/// Defines a proxy: a type that is a reference to an object of one kind, and what all proxies have.
macro_rules! proxy {
    ($(#[$doc:meta])* $name:ident $(<$($type:ident $(= $default:ident)?),+>)?, $kind:ident, $article:literal) => {
        $(#[$doc])*
        pub struct $name $(<$($type $(= $default)?),+>)? {
            reference: $crate::objects::reference::Reference,
            $(types: std::marker::PhantomData<fn() -> ($($type,)+)>,)?
        }

        impl $(<$($type),+>)? $name $(<$($type),+>)? {
            /// The kind of the object.
            const KIND: $crate::objects::reference::Kind = $crate::objects::reference::Kind::$kind;

            #[doc = concat!("Refers to the ", $article, " that was granted to the pool under this name.")]
            ///
            /// It is opened at its first use: only that fails if there is none.
            #[must_use]
            pub fn named(name: &str) -> Self {
                Self::from_reference($crate::objects::reference::Reference::named(name))
            }

            /// Returns the name, which messages and records show.
            #[must_use]
            pub fn name(&self) -> &str {
                self.reference.label()
            }

            fn from_reference(reference: $crate::objects::reference::Reference) -> Self {
                Self {
                    reference,
                    $(types: std::marker::PhantomData::<fn() -> ($($type,)+)>,)?
                }
            }
        }

        /// Refers to the same object.
        impl $(<$($type),+>)? Clone for $name $(<$($type),+>)? {
            fn clone(&self) -> Self {
                Self::from_reference(self.reference.clone())
            }
        }

        /// Shows the name, and not what gives access to the object.
        impl $(<$($type),+>)? std::fmt::Debug for $name $(<$($type),+>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.name()).finish()
            }
        }

        impl $(<$($type),+>)? serde::Serialize for $name $(<$($type),+>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.reference.serialize(serializer)
            }
        }

        impl<'de $($(, $type)+)?> serde::Deserialize<'de> for $name $(<$($type),+>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let reference = serde::Deserialize::deserialize(deserializer)?;
                Ok(Self::from_reference(reference))
            }
        }
    };
}

pub(crate) use proxy;
