//! Messages between the manager of shared objects and its clients.
//!
//! The connection of the process that has started the manager is the *owner*. It creates the objects and opens connections for
//! pools. A *pool* connection, which the dispatcher has, opens connections for *members*: workers, callbacks and `tasks`. A client
//! may send several requests before it reads the replies, which may come in another order. The manager closes the connection of a
//! client that breaks the protocol. The end of a connection ends its calls as failed.

use mpwasm_types::bounded;
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{
    CallNumber, CallSource, GrantedName, MAX_LABEL, MAX_OBJECT_NAMES, MAX_OPERATION, MAX_VALUE, ObjectError,
    ObjectId, ObjectSpec, ObjectsStatus, RequestedObject, Token,
};
use mpwasm_types::sandbox_options::SandboxOptions;
use serde::{Deserialize, Serialize};

use super::limits::{MAX_PAYLOAD, OVERHEAD};

/// Largest args of an operation, and largest reply: two values of the largest size, which a compare-and-swap has.
pub const MAX_OBJECT_ARGS: usize = 2 * MAX_VALUE + OVERHEAD;

/// Returns the size of the largest frame of a member or a pool, and of the largest one to it.
#[must_use]
pub const fn object_frame() -> usize {
    MAX_OBJECT_ARGS + OVERHEAD
}

/// Returns the size of the largest frame of the owner, and of the largest one to it: the contents of an object. `memory` is the cap
/// of the manager.
#[must_use]
pub fn object_owner_frame(memory: u64) -> usize {
    let contents = usize::try_from(memory.min(MAX_PAYLOAD)).unwrap_or(usize::MAX);
    contents.max(MAX_OBJECT_ARGS).saturating_add(OVERHEAD)
}

/// Starts the manager: its first message, in a [memory file](crate::in_memory). The connection that it arrives on is the owner's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManagerStart {
    /// Cap of the memory for objects, bytes.
    pub memory: u64,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
}

/// Messages to the manager.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToManager<'a> {
    /// Opens an object. The reply is [`FromManager::Opened`], or [`FromManager::Reply`] with an error.
    Open {
        /// Number of the request.
        id: RequestId,
        /// The object.
        #[serde(borrow)]
        target: RequestedObject<'a>,
    },
    /// A call of a guest begins to use objects. Sent before its first operation. A call that uses none sends nothing.
    CallStarted {
        /// Its number, which no other call on this connection has.
        call: CallNumber,
        /// What it belongs to.
        source: CallSource,
    },
    /// The call has ended. What it holds is given back.
    CallEnded {
        /// Its number.
        call: CallNumber,
        /// Whether it has returned a result. Items that it was leased are then done.
        succeeded: bool,
    },
    /// Performs an operation on an object that was opened on this connection.
    Call {
        /// Number of the request.
        id: RequestId,
        /// The call, which has started. The first request of a call of the owner starts it.
        call: CallNumber,
        /// The object.
        object: ObjectId,
        /// Nanoseconds for which it waits if it must: 0 for not at all, and `None` for as long as needed.
        timeout: Option<u64>,
        /// The operation.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_OPERATION>")]
        operation: &'a str,
        /// Its args: a JSON array, unchecked. The last field, since large args are sent without copying them.
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "bounded::borrowed_bytes::<_, MAX_OBJECT_ARGS>"
        )]
        args: &'a [u8],
    },
    /// Ends the wait of a request, whose reply is then a timeout, unless it has been replied to before.
    Cancel {
        /// Number of the request.
        id: RequestId,
    },
    /// From a pool: attaches a member of that pool, whose socket comes with the message. No reply.
    Attach,
    /// From the owner: a request that concerns the manager.
    #[serde(borrow)]
    Owner(OwnerRequest<'a>),
}

/// Requests that only the owner may send.
#[derive(Debug, Serialize, Deserialize)]
pub enum OwnerRequest<'a> {
    /// Creates an object. The reply is [`FromManager::Created`], or [`FromManager::Reply`] with an error.
    Create {
        /// Number of the request.
        id: RequestId,
        /// What it is.
        spec: ObjectSpec,
        /// Its label. The manager chooses one if it is empty.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LABEL>")]
        label: &'a str,
    },
    /// Attaches a pool, whose socket comes with the message. The reply is [`FromManager::Reply`], with `null` or an error.
    OpenPool {
        /// Number of the request.
        id: RequestId,
        /// The objects that the pool is granted, each with the name by which its guests open it.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_OBJECT_NAMES>")]
        names: Vec<GrantedName>,
    },
    /// Reads the contents of an object, as JSON. The reply is [`FromManager::Reply`].
    Contents {
        /// Number of the request.
        id: RequestId,
        /// The object.
        token: Token,
    },
    /// Replaces the contents of an object. The reply is [`FromManager::Reply`], with `null` or an error.
    Restore {
        /// Number of the request.
        id: RequestId,
        /// The object.
        token: Token,
        /// The contents: JSON, unchecked. The last field, since large contents are sent without copying them.
        #[serde(with = "serde_bytes")]
        contents: &'a [u8],
    },
    /// Asks who waits and who holds what. The reply is [`FromManager::Status`].
    Status {
        /// Number of the request.
        id: RequestId,
    },
}

/// Messages of the manager to a client.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromManager<'a> {
    /// Answers [`ToManager::Open`]. The memory of a value or an array comes with it.
    Opened {
        /// Number of the request.
        id: RequestId,
        /// The object.
        object: ObjectId,
        /// What it is.
        spec: ObjectSpec,
        /// Its label.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LABEL>")]
        label: &'a str,
    },
    /// Answers [`OwnerRequest::Create`].
    Created {
        /// Number of the request.
        id: RequestId,
        /// The label of the object.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LABEL>")]
        label: &'a str,
        /// Its token; those of its two ends for a pipe.
        #[serde(deserialize_with = "bounded::list::<_, _, 2>")]
        tokens: Vec<Token>,
    },
    /// Answers [`OwnerRequest::Status`].
    Status {
        /// Number of the request.
        id: RequestId,
        /// The status.
        status: ObjectsStatus,
    },
    /// Answers any request that has failed, and those without a reply of their own.
    Reply {
        /// Number of the request.
        id: RequestId,
        /// The result. The last field, since a large payload is sent without copying it.
        #[serde(borrow)]
        result: OperationReply<'a>,
    },
}

/// The result of an operation, or its failure.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationReply<'a> {
    /// The result: JSON.
    Ok(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Why there is none.
    Failed(ObjectError),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mpwasm_types::ids::TaskId;
    use mpwasm_types::objects::{HoldingCall, MAX_STATUS_CALLS, ObjectKind, WaitingCall};

    use super::*;
    use crate::frame::{FrameError, decode, encode};

    #[test]
    fn the_largest_status_fits_into_a_frame() {
        let source = CallSource::Task {
            task: TaskId(u64::MAX),
            attempt: u32::MAX,
        };
        let waiting = WaitingCall {
            source,
            kind: ObjectKind::Namespace,
            object: "x".repeat(MAX_LABEL),
            operation: "x".repeat(MAX_OPERATION),
            waited: Duration::MAX,
        };
        let holder = HoldingCall {
            source,
            kind: ObjectKind::Namespace,
            object: "x".repeat(MAX_LABEL),
        };
        let message = FromManager::Status {
            id: RequestId(u64::MAX),
            status: ObjectsStatus {
                memory: u64::MAX,
                memory_cap: u64::MAX,
                objects: u64::MAX,
                waiting: vec![waiting; MAX_STATUS_CALLS],
                holders: vec![holder; MAX_STATUS_CALLS],
            },
        };
        let bytes = encode(&message).len();
        assert!(bytes <= object_owner_frame(0), "{bytes}");
    }

    #[test]
    fn texts_lists_and_args_over_their_bounds_are_refused() {
        let (id, long) = (RequestId(1), "x".repeat(MAX_LABEL + 1));
        let large = vec![b'1'; MAX_OBJECT_ARGS + 1];
        let call = |operation, args| ToManager::Call {
            id,
            call: CallNumber(1),
            object: ObjectId(1),
            timeout: None,
            operation,
            args,
        };
        let name = GrantedName {
            name: "jobs".to_owned(),
            token: Token::from_bytes([7; 16]),
        };
        for message in [
            ToManager::Open {
                id,
                target: RequestedObject::Name(&long),
            },
            call(&long, b"[]"),
            call("put", &large),
            ToManager::Owner(OwnerRequest::Create {
                id,
                spec: ObjectSpec::Lock,
                label: &long,
            }),
            ToManager::Owner(OwnerRequest::OpenPool {
                id,
                names: vec![name; MAX_OBJECT_NAMES + 1],
            }),
        ] {
            let frame = encode(&message);
            assert_eq!(
                decode::<ToManager<'_>>(&frame).err(),
                Some(FrameError::OutOfBounds)
            );
        }
        assert!(decode::<ToManager<'_>>(&encode(&call("put", b"[1]"))).is_ok());
    }
}
