//! [`OwnerClient`]: the owner's connection to a manager. Many threads wait at the same time, each for the reply to its own request.
//!
//! Requests are sent by the threads that make them. One thread, [`OwnerClient::receive_all`], receives all replies and wakes those
//! that wait for them. When the manager ends, it wakes all of them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};

use crate::fork::Owner;
use crate::objects::wait_limit::WaitLimit;
use crate::sync::{Condvar, Mutex};
use mpwasm_protocol::channel::{Channel, ReceiveError, pair};
use mpwasm_protocol::frame::FrameError;
use mpwasm_protocol::messages::{
    FromManager, MAX_OBJECT_ARGS, OVERHEAD, OperationReply, OwnerRequest, ToManager, object_owner_frame,
};
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{
    CallNumber, GrantedName, MAX_LABEL, ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, ObjectsStatus,
    RequestedObject, Token,
};

/// Most threads that wait for replies at the same time: 4096.
const MAX_WAITING: usize = 4096;

/// Longest time for which a reply is waited for after the timeout of its operation: 10 s. A manager that sends none then is stopped or
/// stuck, and is given up.
const REPLY_GRACE: Duration = Duration::from_secs(10);

/// The owner's connection to a manager.
#[derive(Debug)]
pub struct OwnerClient {
    owner: Owner,
    /// The same socket, which closes the connection also while a thread is blocked in sending.
    closer: OwnedFd,
    /// Sends requests, one thread at a time.
    socket: Mutex<OwnedFd>,
    /// Most bytes of contents that are restored. The manager would disconnect its owner for a larger frame.
    max_contents: usize,
    requests: Mutex<PendingRequests>,
}

/// The requests without a reply.
#[derive(Debug, Default)]
struct PendingRequests {
    /// Why there will be no more replies.
    end: Option<String>,
    next: u64,
    waiting: HashMap<RequestId, Arc<ReplySlot>>,
}

/// Where a thread waits for its reply.
#[derive(Debug, Default)]
struct ReplySlot {
    answer: Mutex<Option<ManagerAnswer>>,
    arrived: Condvar,
}

/// A message of the manager, as it is kept for the thread that waits for it.
#[derive(Debug)]
enum ManagerAnswer {
    Opened(OpenReply),
    Created(Vec<Token>),
    Status(ObjectsStatus),
    Reply(Result<Vec<u8>, ObjectError>),
    /// The manager has ended.
    Ended,
}

/// An object that was opened.
#[derive(Debug)]
pub struct OpenReply {
    /// Its number on the connection.
    pub id: ObjectId,
    /// What it is.
    pub spec: ObjectSpec,
    /// Its label.
    pub label: String,
    /// The memory of a value or an array.
    pub memory: Option<OwnedFd>,
}

/// Why the replies of a manager have ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionEnd {
    /// The connection was closed or is broken.
    #[error(transparent)]
    Connection(#[from] ReceiveError),
    /// A reply to no request, or with descriptors that do not belong to it.
    #[error("it sent what was not asked for")]
    Unasked,
}

impl From<FrameError> for ConnectionEnd {
    fn from(error: FrameError) -> Self {
        Self::Connection(error.into())
    }
}

impl OwnerClient {
    /// Creates the client of a manager that has been started, and whose objects may use `memory` bytes. Requests go through `socket`.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(socket: OwnedFd, memory: u64) -> io::Result<Self> {
        Ok(Self {
            owner: Owner::this(),
            closer: socket.try_clone()?,
            socket: Mutex::new(socket),
            max_contents: object_owner_frame(memory) - OVERHEAD,
            requests: Mutex::default(),
        })
    }

    /// Returns whether this process has started the manager. False in a fork.
    pub fn is_owned(&self) -> bool {
        self.owner.is_here()
    }

    /// Receives replies until the manager ends. Then each thread that waits gets an error, and each later request too.
    pub fn receive_all(&self, channel: &mut Channel) -> ConnectionEnd {
        loop {
            if let Err(end) = self.receive(channel) {
                self.end(end.to_string());
                return end;
            }
        }
    }

    fn receive(&self, channel: &mut Channel) -> Result<(), ConnectionEnd> {
        let (id, mut answer) = match channel.receive()? {
            FromManager::Opened {
                id,
                object,
                spec,
                label,
            } => {
                let opened = OpenReply {
                    id: object,
                    spec,
                    label: label.to_owned(),
                    memory: None,
                };
                (id, ManagerAnswer::Opened(opened))
            }
            FromManager::Created { id, tokens, .. } => (id, ManagerAnswer::Created(tokens)),
            FromManager::Status { id, status } => (id, ManagerAnswer::Status(status)),
            FromManager::Reply { id, result } => {
                let result = match result {
                    OperationReply::Ok(json) => Ok(json.to_owned()),
                    OperationReply::Failed(error) => Err(error),
                };
                (id, ManagerAnswer::Reply(result))
            }
        };
        if let ManagerAnswer::Opened(opened) = &mut answer
            && opened.spec.numbers().is_some()
        {
            opened.memory = channel.take_descriptor();
        }
        let waiting = self.requests.lock().waiting.remove(&id);
        match waiting {
            Some(slot) if channel.take_descriptor().is_none() => {
                slot.set(answer);
                Ok(())
            }
            _ => Err(ConnectionEnd::Unasked),
        }
    }

    /// Ends all requests, and those to come.
    pub fn end(&self, why: String) {
        let waiting = {
            let mut requests = self.requests.lock();
            requests.end.get_or_insert(why);
            std::mem::take(&mut requests.waiting)
        };
        for slot in waiting.into_values() {
            slot.set(ManagerAnswer::Ended);
        }
    }

    /// Returns why there are no more replies, if there are none.
    pub fn ended(&self) -> Option<String> {
        match self.is_owned() {
            true => self.requests.lock().end.clone(),
            false => Some(FORKED.to_owned()),
        }
    }

    /// Closes the connection, which ends the manager.
    pub fn close(&self) {
        self.close_because("it was stopped".to_owned());
    }

    fn close_because(&self, why: String) {
        self.end(why);
        let _ = shutdown(self.closer.as_raw_fd(), Shutdown::Both);
    }

    /// Calls an operation for a thread, and waits for the reply: JSON.
    pub fn call(
        &self,
        call: CallNumber,
        object: ObjectId,
        operation: &str,
        args: &[u8],
        wait: WaitLimit,
    ) -> Result<Vec<u8>, CallFailed> {
        check_size("args", args.len(), MAX_OBJECT_ARGS)?;
        let timeout = wait
            .timeout()
            .map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let request = |id| ToManager::Call {
            id,
            call,
            object,
            timeout,
            operation,
            args,
        };
        self.json(request, wait)
    }

    /// Tells the manager that a thread has ended: it holds nothing any more.
    pub fn call_ended(&self, call: CallNumber) {
        if self.ended().is_none() {
            let succeeded = true;
            // Without a manager it holds nothing either.
            let _ = self.send(&ToManager::CallEnded { call, succeeded }, &[]);
        }
    }

    /// Creates an object, and opens it: both ends of a pipe.
    pub fn create(&self, spec: ObjectSpec, label: &str) -> Result<Vec<(Token, OpenReply)>, CallFailed> {
        check_size("label", label.len(), MAX_LABEL)?;
        let created = self.request(
            |id| ToManager::Owner(OwnerRequest::Create { id, spec, label }),
            &[],
            WaitLimit::Never,
        )?;
        let ManagerAnswer::Created(tokens) = created else {
            return Err(unexpected(created));
        };
        tokens
            .into_iter()
            .map(|token| Ok((token, self.open(token)?)))
            .collect()
    }

    fn open(&self, token: Token) -> Result<OpenReply, CallFailed> {
        let target = RequestedObject::Token(token);
        match self.request(|id| ToManager::Open { id, target }, &[], WaitLimit::Never)? {
            ManagerAnswer::Opened(opened) => Ok(opened),
            other => Err(unexpected(other)),
        }
    }

    /// Opens the connection of a pool that is granted objects by name, and returns the pool's end.
    pub fn open_pool(&self, names: &[GrantedName]) -> Result<OwnedFd, CallFailed> {
        let (ours, theirs) = pair().map_err(|error| CallFailed::Unavailable(error.to_string()))?;
        let names = names.to_vec();
        let request = |id| ToManager::Owner(OwnerRequest::OpenPool { id, names });
        match self.request(request, &[theirs.as_fd()], WaitLimit::Never)? {
            ManagerAnswer::Reply(result) => result.map(|_| ours).map_err(CallFailed::Object),
            other => Err(unexpected(other)),
        }
    }

    /// Returns the contents of an object: JSON.
    pub fn contents(&self, token: Token) -> Result<Vec<u8>, CallFailed> {
        let request = |id| ToManager::Owner(OwnerRequest::Contents { id, token });
        self.json(request, WaitLimit::Never)
    }

    /// Replaces the contents of an object.
    pub fn restore(&self, token: Token, contents: &[u8]) -> Result<(), CallFailed> {
        check_size("contents", contents.len(), self.max_contents)?;
        let request = |id| ToManager::Owner(OwnerRequest::Restore { id, token, contents });
        self.json(request, WaitLimit::Never).map(drop)
    }

    /// Returns who waits for what, and who holds what.
    pub fn status(&self) -> Result<ObjectsStatus, CallFailed> {
        let request = |id| ToManager::Owner(OwnerRequest::Status { id });
        match self.request(request, &[], WaitLimit::Never)? {
            ManagerAnswer::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    /// Sends a request whose reply is JSON.
    fn json<'a>(
        &self,
        request: impl FnOnce(RequestId) -> ToManager<'a>,
        wait: WaitLimit,
    ) -> Result<Vec<u8>, CallFailed> {
        match self.request(request, &[], wait)? {
            ManagerAnswer::Reply(result) => result.map_err(CallFailed::Object),
            other => Err(unexpected(other)),
        }
    }

    /// Sends a request, for which the manager waits at most this long, and waits for its answer. A manager that does not answer in time is
    /// given up.
    fn request<'a>(
        &self,
        request: impl FnOnce(RequestId) -> ToManager<'a>,
        descriptors: &[BorrowedFd<'_>],
        wait: WaitLimit,
    ) -> Result<ManagerAnswer, CallFailed> {
        if !self.is_owned() {
            return Err(CallFailed::Unavailable(FORKED.to_owned()));
        }
        let slot = Arc::new(ReplySlot::default());
        let id = {
            let mut requests = self.requests.lock();
            if let Some(why) = &requests.end {
                return Err(CallFailed::Unavailable(why.clone()));
            }
            if requests.waiting.len() >= MAX_WAITING {
                return Err(CallFailed::TooMany);
            }
            requests.next += 1;
            let id = RequestId(requests.next);
            requests.waiting.insert(id, Arc::clone(&slot));
            id
        };
        if let Err(error) = self.send(&request(id), descriptors) {
            // The receiver notices the end itself, and may know more about it.
            self.requests.lock().waiting.remove(&id);
            return Err(CallFailed::Unavailable(self.ended().unwrap_or(error.to_string())));
        }
        let until = wait
            .timeout()
            .and_then(|timeout| Instant::now().checked_add(timeout.saturating_add(REPLY_GRACE)));
        let answer = slot.wait(until).unwrap_or_else(|| {
            self.close_because(format!("it has not replied for {} s", REPLY_GRACE.as_secs()));
            ManagerAnswer::Ended
        });
        match answer {
            ManagerAnswer::Ended => Err(CallFailed::Unavailable(self.ended().unwrap_or_default())),
            answer => Ok(answer),
        }
    }

    fn send(&self, message: &ToManager<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        Channel::send_over(self.socket.lock().as_fd(), message, descriptors)
    }
}

/// Why a fork of the program can't use its manager.
const FORKED: &str = "this process is a fork of the one that started the manager, which alone can use it";

/// Why a request has failed, before the object and the operation are added.
#[derive(Debug)]
pub enum CallFailed {
    /// The manager has refused it.
    Object(ObjectError),
    /// There is no manager any more, for this reason.
    Unavailable(String),
    /// Too many threads wait.
    TooMany,
    /// It is larger than the manager accepts, and was not sent.
    TooLarge(String),
}

/// Checks a part of a request before it is sent.
fn check_size(what: &str, bytes: usize, most: usize) -> Result<(), CallFailed> {
    match bytes <= most {
        true => Ok(()),
        false => Err(CallFailed::TooLarge(format!(
            "{bytes} bytes of {what}; at most {most} are allowed"
        ))),
    }
}

impl CallFailed {
    /// Returns the error, with the object and the operation if the manager has not named them.
    pub fn of(self, object: &str, operation: &str) -> ObjectError {
        match self {
            Self::Object(error) => error,
            Self::Unavailable(why) => {
                ObjectError::new(ObjectErrorKind::Unavailable, object, operation).with_detail(&why)
            }
            Self::TooMany => ObjectError::new(ObjectErrorKind::OutOfMemory, object, operation)
                .with_detail("more threads wait than a manager can serve"),
            Self::TooLarge(why) => {
                ObjectError::new(ObjectErrorKind::TooLarge, object, operation).with_detail(&why)
            }
        }
    }
}

/// Returns the failure for an answer of another type than the request has. An error is one.
fn unexpected(answer: ManagerAnswer) -> CallFailed {
    match answer {
        ManagerAnswer::Reply(Err(error)) => CallFailed::Object(error),
        _ => CallFailed::Unavailable("its reply was that of another request".to_owned()),
    }
}

impl ReplySlot {
    fn set(&self, answer: ManagerAnswer) {
        *self.answer.lock() = Some(answer);
        self.arrived.notify_one();
    }

    /// Waits for the answer; `None` if there is none at `until`.
    fn wait(&self, until: Option<Instant>) -> Option<ManagerAnswer> {
        let answer = self.answer.lock();
        let is_missing = |answer: &mut Option<ManagerAnswer>| answer.is_none();
        self.arrived.wait_while_until(answer, until, is_missing).take()
    }
}
