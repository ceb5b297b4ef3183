//! What kinds of objects there are, and how one is described when it is created.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::number::NumberType;

/// Largest memory of an array, in bytes: 1 GiB. The manager's memory cap is usually far below.
pub const MAX_ARRAY_SIZE: u64 = 1 << 30;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A number in shared memory.
    Value,
    /// Numbers in shared memory.
    Array,
    /// A lock that one call holds.
    Lock,
    /// A lock that its holder may acquire again.
    RLock,
    /// A counter of permits.
    Semaphore,
    /// A semaphore that never has more permits than at its start.
    BoundedSemaphore,
    /// A flag to wait for.
    Event,
    /// A lock with which calls wait for a notification.
    Condition,
    /// A point at which calls wait for each other.
    Barrier,
    /// A queue of JSON values.
    Queue,
    /// A queue whose items are leased until they are done.
    JoinableQueue,
    /// Two connected ends that send and receive JSON values.
    Pipe,
    /// A map from JSON scalars to JSON values.
    Dict,
    /// A list of JSON values.
    List,
    /// Named JSON values.
    Namespace,
}

impl ObjectKind {
    /// All kinds, in the order of their codes.
    pub const ALL: [Self; 15] = [
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

    /// Returns the code by which the guest ABI names the kind, from 1. A code never changes.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// Returns the kind with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the word that specs and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Describes an object to create. Its text form is that of the command line, such as `queue:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectSpec {
    /// `value:i64`: a number, 0 at first.
    Value(NumberType),
    /// `array:f64:10`: a type and a length. All numbers are 0 at first.
    Array(NumberType, NonZeroU32),
    /// `lock`
    Lock,
    /// `rlock`
    RLock,
    /// `semaphore:2`: the permits at the start.
    Semaphore(u32),
    /// `bounded-semaphore:2`: the permits at the start, and at most.
    BoundedSemaphore(u32),
    /// `event`
    Event,
    /// `condition`
    Condition,
    /// `barrier:3`: the number of parties.
    Barrier(NonZeroU32),
    /// `queue` or `queue:100`: the largest number of items, if there is one.
    Queue(Option<NonZeroU32>),
    /// `joinable-queue` or `joinable-queue:100`: the largest number of items, if there is one.
    JoinableQueue(Option<NonZeroU32>),
    /// `pipe`: both ends send and receive. `pipe:one-way`: the first end receives, and the second sends.
    Pipe {
        /// Whether both ends send and receive.
        duplex: bool,
    },
    /// `dict`
    Dict,
    /// `list`
    List,
    /// `namespace`
    Namespace,
}

/// Reports a text that does not describe an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The first word is no kind of object.
    #[error("`{0}` is no kind of object; there are {kinds}", kinds = kinds())]
    Kind(String),
    /// The number type is none.
    #[error("`{0}` is no number type; there are i8, i16, i32, i64, u8, u16, u32, u64, f32 and f64")]
    NumberType(String),
    /// The words behind the kind are not those that it takes.
    #[error("`{text}` is no {kind}; expected {expected}")]
    Parameters {
        /// The whole text.
        text: String,
        /// The kind.
        kind: ObjectKind,
        /// How the kind is written.
        expected: &'static str,
    },
    /// The array is larger than [`MAX_ARRAY_SIZE`].
    #[error("`{0}` takes more than {MAX_ARRAY_SIZE} bytes")]
    TooLong(String),
}

/// Lists the kinds for an error message.
fn kinds() -> String {
    ObjectKind::ALL.map(ObjectKind::as_str).join(", ")
}

impl ObjectSpec {
    /// Returns what the object is.
    #[must_use]
    pub const fn kind(self) -> ObjectKind {
        match self {
            Self::Value(_) => ObjectKind::Value,
            Self::Array(..) => ObjectKind::Array,
            Self::Lock => ObjectKind::Lock,
            Self::RLock => ObjectKind::RLock,
            Self::Semaphore(_) => ObjectKind::Semaphore,
            Self::BoundedSemaphore(_) => ObjectKind::BoundedSemaphore,
            Self::Event => ObjectKind::Event,
            Self::Condition => ObjectKind::Condition,
            Self::Barrier(_) => ObjectKind::Barrier,
            Self::Queue(_) => ObjectKind::Queue,
            Self::JoinableQueue(_) => ObjectKind::JoinableQueue,
            Self::Pipe { .. } => ObjectKind::Pipe,
            Self::Dict => ObjectKind::Dict,
            Self::List => ObjectKind::List,
            Self::Namespace => ObjectKind::Namespace,
        }
    }

    /// Returns the type and the count of the numbers in shared memory, for a value or an array.
    #[must_use]
    pub const fn numbers(self) -> Option<(NumberType, u32)> {
        match self {
            Self::Value(kind) => Some((kind, 1)),
            Self::Array(kind, length) => Some((kind, length.get())),
            _ => None,
        }
    }

    /// Returns the bytes of the numbers in shared memory. 0 for any other object.
    #[must_use]
    pub fn number_memory(self) -> u64 {
        self.numbers()
            .map_or(0, |(kind, count)| kind.size() as u64 * u64::from(count))
    }
}

impl FromStr for ObjectSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (word, parameters) = match text.split_once(':') {
            Some((word, parameters)) => (word, Some(parameters)),
            None => (text, None),
        };
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        let kind = kind.ok_or_else(|| SpecError::Kind(word.to_owned()))?;
        let spec = parse(kind, parameters)?.ok_or_else(|| SpecError::Parameters {
            text: text.to_owned(),
            kind,
            expected: expected(kind),
        })?;
        if spec.number_memory() > MAX_ARRAY_SIZE {
            return Err(SpecError::TooLong(text.to_owned()));
        }
        Ok(spec)
    }
}

/// Parses the words behind a kind. Returns `None` if they are not those that it takes.
fn parse(kind: ObjectKind, parameters: Option<&str>) -> Result<Option<ObjectSpec>, SpecError> {
    Ok(match (kind, parameters) {
        (ObjectKind::Value, Some(number)) => Some(ObjectSpec::Value(number_type(number)?)),
        (ObjectKind::Array, Some(parameters)) => match parameters.split_once(':') {
            Some((number, length)) => {
                let number = number_type(number)?;
                decimal(length).map(|length| ObjectSpec::Array(number, length))
            }
            None => None,
        },
        (ObjectKind::Lock, None) => Some(ObjectSpec::Lock),
        (ObjectKind::RLock, None) => Some(ObjectSpec::RLock),
        (ObjectKind::Semaphore, Some(permits)) => decimal(permits).map(ObjectSpec::Semaphore),
        (ObjectKind::BoundedSemaphore, Some(permits)) => decimal(permits).map(ObjectSpec::BoundedSemaphore),
        (ObjectKind::Event, None) => Some(ObjectSpec::Event),
        (ObjectKind::Condition, None) => Some(ObjectSpec::Condition),
        (ObjectKind::Barrier, Some(parties)) => decimal(parties).map(ObjectSpec::Barrier),
        (ObjectKind::Queue, None) => Some(ObjectSpec::Queue(None)),
        (ObjectKind::Queue, Some(max)) => decimal(max).map(|max| ObjectSpec::Queue(Some(max))),
        (ObjectKind::JoinableQueue, None) => Some(ObjectSpec::JoinableQueue(None)),
        (ObjectKind::JoinableQueue, Some(max)) => {
            decimal(max).map(|max| ObjectSpec::JoinableQueue(Some(max)))
        }
        (ObjectKind::Pipe, None) => Some(ObjectSpec::Pipe { duplex: true }),
        (ObjectKind::Pipe, Some("one-way")) => Some(ObjectSpec::Pipe { duplex: false }),
        (ObjectKind::Dict, None) => Some(ObjectSpec::Dict),
        (ObjectKind::List, None) => Some(ObjectSpec::List),
        (ObjectKind::Namespace, None) => Some(ObjectSpec::Namespace),
        _ => None,
    })
}

/// Parses the name of a number type.
fn number_type(name: &str) -> Result<NumberType, SpecError> {
    NumberType::ALL
        .into_iter()
        .find(|number| number.as_str() == name)
        .ok_or_else(|| SpecError::NumberType(name.to_owned()))
}

/// Parses a number that has only digits.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Returns how a kind is written.
const fn expected(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Value => "`value:TYPE`, such as `value:i64`",
        ObjectKind::Array => "`array:TYPE:LENGTH`, such as `array:f64:10`",
        ObjectKind::Semaphore => "`semaphore:PERMITS`, such as `semaphore:2`",
        ObjectKind::BoundedSemaphore => "`bounded-semaphore:PERMITS`, such as `bounded-semaphore:2`",
        ObjectKind::Barrier => "`barrier:PARTIES`, such as `barrier:3`",
        ObjectKind::Queue => "`queue` or `queue:MAX`, with a maximum of at least 1",
        ObjectKind::JoinableQueue => "`joinable-queue` or `joinable-queue:MAX`, with a maximum of at least 1",
        ObjectKind::Pipe => "`pipe` or `pipe:one-way`",
        ObjectKind::Lock
        | ObjectKind::RLock
        | ObjectKind::Event
        | ObjectKind::Condition
        | ObjectKind::Dict
        | ObjectKind::List
        | ObjectKind::Namespace => "the word alone",
    }
}

impl fmt::Display for ObjectSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        match self {
            Self::Value(number) => write!(f, ":{number}"),
            Self::Array(number, length) => write!(f, ":{number}:{length}"),
            Self::Semaphore(permits) | Self::BoundedSemaphore(permits) => write!(f, ":{permits}"),
            Self::Barrier(count) | Self::Queue(Some(count)) | Self::JoinableQueue(Some(count)) => {
                write!(f, ":{count}")
            }
            Self::Pipe { duplex: false } => f.write_str(":one-way"),
            _ => Ok(()),
        }
    }
}
