//! What clients send to the manager, and what it replies.

use std::time::Duration;

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{
    CallNumber, CallSource, ObjectError, ObjectId, ObjectSpec, ObjectsStatus, RequestedObject, Token,
};

use crate::json::Json;
use crate::keys::ClientId;
use crate::operation_error::OperationError;

/// A message from a client. Each that has an `id` gets exactly one reply with this id, as long as the client is connected.
#[derive(Clone, Debug)]
pub enum ClientMessage<'a> {
    /// Opens an object. Replies [`ObjectReply::Opened`].
    Open {
        /// Repeated by the reply.
        id: RequestId,
        /// Which object.
        target: RequestedObject<'a>,
    },
    /// Calls an operation. Replies [`ObjectReply::Json`].
    Call {
        /// Repeated by the reply.
        id: RequestId,
        /// The call that asks, which does not wait. It has started, except that the owner's first request of a call starts it.
        call: CallNumber,
        /// An object that the client has opened.
        object: ObjectId,
        /// The name of the operation.
        operation: &'a str,
        /// A JSON array.
        args: &'a [u8],
        /// Longest wait. `None`: as long as it takes.
        timeout: Option<Duration>,
    },
    /// Starts a call, before its first operation.
    CallStarted {
        /// Its number, which no other call of this client has.
        call: CallNumber,
        /// What it belongs to.
        source: CallSource,
    },
    /// Ends a call. What it holds is given back. A request of it that waits is ended as `Timeout`.
    CallEnded {
        /// Its number.
        call: CallNumber,
        /// Whether it succeeded. Items that are leased to a call that failed go back to their queue.
        succeeded: bool,
    },
    /// Ends the wait of a request as `Timeout`. Nothing happens if the request was replied to.
    Cancel {
        /// The request's.
        id: RequestId,
    },
    /// Owner only: creates an object. Replies [`ObjectReply::Created`].
    Create {
        /// Repeated by the reply.
        id: RequestId,
        /// What messages call the object. Empty: the manager chooses, such as `queue-7`.
        label: &'a str,
        /// What it is.
        spec: ObjectSpec,
    },
    /// Owner only: reads what is in a value, array, queue, dict, list or namespace. Replies [`ObjectReply::Json`].
    Contents {
        /// Repeated by the reply.
        id: RequestId,
        /// An object, which the owner need not have opened.
        object: ObjectId,
    },
    /// Owner only: puts back what [`Contents`](Self::Contents) has returned, in place of what is there. Replies `null`.
    Restore {
        /// Repeated by the reply.
        id: RequestId,
        /// An object, which the owner need not have opened.
        object: ObjectId,
        /// The contents.
        contents: &'a [u8],
    },
    /// Owner and pools: replies [`ObjectReply::Status`], for a pool about its own calls.
    Status {
        /// Repeated by the reply.
        id: RequestId,
    },
}

/// The reply to a request that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectReply {
    /// The object was opened. For a value or an array, the caller adds its number memory.
    Opened {
        /// How the client names it from now on.
        object: ObjectId,
        /// Its label.
        label: String,
        /// What it is.
        spec: ObjectSpec,
    },
    /// The result of an operation, or contents.
    Json(Json),
    /// An object was created: its token, or one for each end of a pipe.
    Created(Vec<Token>),
    /// The status.
    Status(ObjectsStatus),
}

/// What the state machine asks of the process around it.
pub trait Effects {
    /// Sends the reply to a request.
    fn reply(&mut self, client: ClientId, id: RequestId, reply: Result<ObjectReply, ObjectError>);

    /// Returns 128 bits from the kernel's random numbers.
    fn new_token(&mut self) -> Token;

    /// Creates number memory of this size for a value or an array, filled with zeros. Returns false if there is no memory.
    fn create_numbers(&mut self, object: ObjectId, spec: ObjectSpec) -> bool;

    /// Reads the numbers of a value, or the array of numbers of an array. Returns `None` if their text has more than `most` bytes.
    fn numbers(&mut self, object: ObjectId, spec: ObjectSpec, most: usize) -> Option<Json>;

    /// Writes what [`numbers`](Self::numbers) has returned.
    ///
    /// # Errors
    /// Writes nothing if these are no numbers of that type, or not as many.
    fn set_numbers(
        &mut self,
        object: ObjectId,
        spec: ObjectSpec,
        numbers: &Json,
    ) -> Result<(), OperationError>;
}

/// Reports a message that an honest client cannot send. The caller disconnects the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientFault {
    /// Clients of its kind may not send it.
    #[error("a message that a client of its kind may not send")]
    Forbidden,
    /// The call has not started, or has ended.
    #[error("a request of a call that has not started")]
    UnknownCall,
    /// A call with this number has started and not ended.
    #[error("a call that has started already")]
    RepeatedCall,
    /// More calls at once than it may have.
    #[error("too many calls at once")]
    TooManyCalls,
    /// The call has another request that waits.
    #[error("a second request of a call that waits")]
    BusyCall,
    /// A text is longer than its bound, or there are too many names.
    #[error("a text or list over its bound")]
    OutOfBounds,
}
