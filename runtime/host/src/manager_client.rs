//! The connection of a process that runs guests to the manager of shared objects.
//!
//! A thread that runs guests sends a request and waits for its reply. The wait ends at the deadline of the guest's call and when the
//! call is cancelled. A manager that has ended is noticed at once, and its objects are unavailable from then on.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mpwasm_engine::{
    Deadline, Export, InterruptCause, ObjectCallError, ObjectCaller, ObjectClient, ObjectTarget, OpenedObject,
};
use mpwasm_protocol::channel::{Channel, Filled, send_some};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::{FromManager, MAX_OBJECT_ARGS, OperationReply, ToManager, object_frame};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_system::clock;
use mpwasm_system::number_memory::NumberMemory;
use mpwasm_system::poll::poll_until;
use mpwasm_types::ids::RequestId;
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::objects::{
    CallNumber, CallSource, MAX_LABEL, MAX_OPERATION, ObjectError, ObjectErrorKind, ObjectId, ObjectSpec,
    RequestedObject,
};
use mpwasm_types::time::Time;
use nix::poll::{PollFd, PollFlags};

/// Time after which a wait is reported: 5 ms. A shorter one costs less than what its report leads to.
const REPORT_DELAY: Duration = Duration::from_millis(5);

/// Longest time for which an interrupted call reads the reply to its request: 50 ms. The manager reads nothing from a client that
/// leaves a large reply unread, not even that the call has ended. It is half of the time after which the watchdog ends the process.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// Is notified of long waits of a guest, on the thread that waits.
pub trait WaitReporter: Send {
    /// The guest has waited for a while for an operation on `object`.
    fn waiting(&self, object: &OpenedObject, operation: &str);

    /// The wait that was reported last is over.
    fn resumed(&self);
}

/// A connection to the manager, for one thread that runs guests.
pub struct ManagerClient {
    channel: Channel,
    /// Messages that go with the next request.
    outgoing: SendBuffer,
    /// The deadline of the thread's calls.
    deadline: Arc<Deadline>,
    next: RequestId,
    /// The number of the running call.
    call: CallNumber,
    source: CallSource,
    /// Whether the manager knows the running call.
    is_started: bool,
    /// Whether the manager has ended, or has sent something else than a reply.
    is_gone: bool,
    /// Reports waits, in a worker.
    reporter: Option<Box<dyn WaitReporter>>,
}

impl fmt::Debug for ManagerClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("ManagerClient");
        debug.field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// A reply of the manager.
enum Received {
    Opened(OpenedObject),
    Result(Result<Vec<u8>, ObjectError>),
}

/// Why no reply came.
enum NoReply {
    /// The manager has ended.
    Gone,
    /// It has sent the memory of numbers, and this process can't map it.
    Unmapped(io::Error),
}

impl From<io::Error> for NoReply {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<FrameError> for NoReply {
    fn from(_: FrameError) -> Self {
        Self::Gone
    }
}

impl ManagerClient {
    /// Creates a client that sends its requests through `socket`, and waits at most until `deadline`.
    #[must_use]
    pub fn new(socket: OwnedFd, deadline: Arc<Deadline>) -> Self {
        Self {
            channel: Channel::with_descriptors(socket, object_frame()),
            outgoing: SendBuffer::default(),
            deadline,
            next: RequestId(0),
            call: CallNumber(0),
            source: CallSource::Callback,
            is_started: false,
            is_gone: false,
            reporter: None,
        }
    }

    /// Reports long waits to `reporter`.
    #[must_use]
    pub fn with_reporter(self, reporter: Box<dyn WaitReporter>) -> Self {
        let reporter = Some(reporter);
        Self { reporter, ..self }
    }

    fn next_id(&mut self) -> RequestId {
        let id = self.next;
        self.next = RequestId(id.0 + 1);
        id
    }

    /// Waits for the reply to a request. `failed` makes an error about its object. `operation` is what is reported if it takes long.
    fn ask(
        &mut self,
        id: RequestId,
        operation: Option<(&OpenedObject, &str)>,
        failed: &dyn Fn(ObjectErrorKind) -> ObjectError,
    ) -> Result<Received, ObjectCallError> {
        let mut is_reported = false;
        let reply = self.wait(id, operation, &mut is_reported, failed);
        if let Some(reporter) = self.reporter.as_ref().filter(|_| is_reported) {
            reporter.resumed();
        }
        reply
    }

    fn wait(
        &mut self,
        id: RequestId,
        operation: Option<(&OpenedObject, &str)>,
        is_reported: &mut bool,
        failed: &dyn Fn(ObjectErrorKind) -> ObjectError,
    ) -> Result<Received, ObjectCallError> {
        let mut report_at = match (&self.reporter, operation) {
            (Some(_), Some(_)) => clock::now() + REPORT_DELAY,
            _ => Time::NEVER,
        };
        while !self.is_gone {
            match self.received(id) {
                Ok(Some(reply)) => return Ok(reply),
                Err(NoReply::Unmapped(why)) => {
                    let error = failed(ObjectErrorKind::OutOfMemory);
                    return Err(error.with_detail(&why.to_string()).into());
                }
                Err(NoReply::Gone) => break,
                Ok(None) => {}
            }
            match self.deadline.wait_readable(self.channel.as_fd(), report_at) {
                Ok(found) if found.is_empty() => {
                    report_at = Time::NEVER;
                    if let (Some(reporter), Some((object, operation))) = (&self.reporter, operation) {
                        reporter.waiting(object, operation);
                        *is_reported = true;
                    }
                    continue;
                }
                Ok(_) => {}
                Err(cause) => {
                    self.outgoing.put(&ToManager::Cancel { id });
                    self.drain(id);
                    return Err(cause.into());
                }
            }
            self.fill();
        }
        self.is_gone = true;
        let error = failed(ObjectErrorKind::Unavailable);
        Err(error.with_detail("the manager has ended").into())
    }

    /// Reads and drops the reply to a cancelled request, for a short time. A reply that is later is dropped by a later request.
    fn drain(&mut self, id: RequestId) {
        let until = clock::now() + DRAIN_TIMEOUT;
        while !self.is_gone && clock::now() < until {
            self.flush();
            match self.received(id) {
                Ok(None) => {}
                Ok(Some(_)) | Err(NoReply::Unmapped(_)) => return,
                Err(NoReply::Gone) => self.is_gone = true,
            }
            let mut events = PollFlags::POLLIN;
            events.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
            if poll_until(&mut [PollFd::new(self.channel.as_fd(), events)], until).is_err() {
                return;
            }
            self.fill();
        }
    }

    /// Returns the reply to a request, if it has arrived. Drops replies to earlier requests, which were cancelled.
    fn received(&mut self, id: RequestId) -> Result<Option<Received>, NoReply> {
        loop {
            let Some(frame) = self.channel.inbox().next_message()? else {
                return Ok(None);
            };
            match decode(frame)? {
                FromManager::Opened {
                    id: replied,
                    object,
                    spec,
                    label,
                } => {
                    let (label, object) = (Arc::from(label), OpenedId { object, spec });
                    let opened = self.opened(object, label);
                    if replied == id {
                        return Ok(Some(Received::Opened(opened?)));
                    }
                }
                FromManager::Reply { id: replied, result } if replied == id => {
                    return Ok(Some(Received::Result(match result {
                        OperationReply::Ok(json) => Ok(json.to_vec()),
                        OperationReply::Failed(error) => Err(error),
                    })));
                }
                FromManager::Reply { .. } => {}
                FromManager::Created { .. } | FromManager::Status { .. } => return Err(NoReply::Gone),
            }
        }
    }

    /// Maps the numbers of an opened object, if it has any.
    fn opened(&mut self, opened: OpenedId, label: Arc<str>) -> Result<OpenedObject, NoReply> {
        let numbers = match opened.spec.numbers() {
            None => None,
            Some((number, count)) => {
                let file = self.channel.take_descriptor().ok_or(NoReply::Gone)?;
                let memory = NumberMemory::map(file, number, count).map_err(NoReply::Unmapped)?;
                Some(Arc::new(memory))
            }
        };
        Ok(OpenedObject {
            id: opened.object,
            spec: opened.spec,
            label,
            numbers,
        })
    }

    /// Reads what has arrived.
    fn fill(&mut self) {
        if !matches!(self.channel.fill(), Ok(Filled::Some | Filled::Nothing)) {
            self.is_gone = true;
        }
    }

    /// Sends what earlier calls have left: the rest of a request whose call was interrupted. So at most one is kept.
    fn send_pending(&mut self) -> Result<(), InterruptCause> {
        self.send(&[])
    }

    /// Sends a request, whose message is pending, and its payload.
    fn send_request(&mut self, id: RequestId, payload: &[u8]) -> Result<(), InterruptCause> {
        let sent = self.send(payload);
        if sent.is_err() {
            self.outgoing.put(&ToManager::Cancel { id });
        }
        sent
    }

    /// Sends what is pending and then `payload`, and waits until the socket has taken all of it. When the call is interrupted before,
    /// the rest becomes pending.
    fn send(&mut self, mut payload: &[u8]) -> Result<(), InterruptCause> {
        loop {
            self.flush();
            if self.outgoing.is_empty() && !payload.is_empty() {
                match send_some(self.channel.as_fd(), payload) {
                    Ok(count) => payload = &payload[count..],
                    Err(_) => self.is_gone = true,
                }
            }
            if self.is_gone || (self.outgoing.is_empty() && payload.is_empty()) {
                return Ok(());
            }
            match self.deadline.wait_writable(self.channel.as_fd()) {
                Ok(PollFlags::POLLOUT) => {}
                // The manager does not read while it can't send, so the replies to cancelled requests are received meanwhile.
                Ok(_) => self.drop_replies(),
                Err(cause) => {
                    self.outgoing.append(payload);
                    return Err(cause);
                }
            }
        }
    }

    /// Receives and drops replies to earlier requests.
    fn drop_replies(&mut self) {
        self.fill();
        let not_sent = self.next;
        if !matches!(self.received(not_sent), Ok(None)) {
            self.is_gone = true;
        }
    }

    /// Sends what is pending, as far as the socket takes it. The next request sends the rest.
    fn flush(&mut self) {
        if self.outgoing.flush(self.channel.as_fd()).is_err() {
            self.is_gone = true;
        }
    }
}

/// What an opened object is.
struct OpenedId {
    object: ObjectId,
    spec: ObjectSpec,
}

impl ObjectClient for ManagerClient {
    fn start_call(&mut self, caller: ObjectCaller) {
        self.call = CallNumber(self.call.0 + 1);
        self.source = match caller.export {
            Export::Runnable => CallSource::Task {
                task: caller.task_id,
                attempt: caller.attempt,
            },
            Export::Tasks => CallSource::Tasks,
            Export::Callback | Export::ErrorCallback | Export::FinalCallback => CallSource::Callback,
        };
        self.is_started = false;
    }

    fn open(&mut self, target: ObjectTarget<'_>) -> Result<OpenedObject, ObjectCallError> {
        let (label, target) = match target {
            ObjectTarget::Handle(handle) => (&handle.label[..], RequestedObject::Token(handle.token)),
            ObjectTarget::Name(name) => (name, RequestedObject::Name(name)),
        };
        let failed = |kind| ObjectError::new(kind, label, "open");
        if label.len() > MAX_LABEL {
            return Err(failed(ObjectErrorKind::NoSuchObject).into());
        }
        self.send_pending()?;
        let id = self.next_id();
        self.outgoing.put(&ToManager::Open { id, target });
        self.send_request(id, &[])?;
        match self.ask(id, None, &failed)? {
            Received::Opened(object) => Ok(object),
            Received::Result(Err(error)) => Err(error.into()),
            Received::Result(Ok(_)) => {
                self.is_gone = true;
                Err(failed(ObjectErrorKind::Unavailable).into())
            }
        }
    }

    fn call(
        &mut self,
        object: &OpenedObject,
        operation: &str,
        args: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, ObjectCallError> {
        let failed = |kind| ObjectError::new(kind, &object.label, operation).on(object.spec.kind());
        if operation.len() > MAX_OPERATION {
            return Err(failed(ObjectErrorKind::Invalid).into());
        }
        if args.len() > MAX_OBJECT_ARGS {
            return Err(failed(ObjectErrorKind::TooLarge).into());
        }
        self.send_pending()?;
        let (id, call) = (self.next_id(), self.call);
        if !std::mem::replace(&mut self.is_started, true) {
            let source = self.source;
            self.outgoing.put(&ToManager::CallStarted { call, source });
        }
        let message = |args| ToManager::Call {
            id,
            call,
            object: object.id,
            timeout: timeout.map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)),
            operation,
            args,
        };
        // Large args are sent without a copy.
        let payload = if args.len() >= LARGE_PAYLOAD { args } else { &[] };
        if payload.is_empty() {
            self.outgoing.put(&message(args));
        } else {
            self.outgoing.put_before_payload(&message(&[]), payload.len());
        }
        self.send_request(id, payload)?;
        match self.ask(id, Some((object, operation)), &failed)? {
            Received::Result(result) => Ok(result?),
            Received::Opened(_) => {
                self.is_gone = true;
                Err(failed(ObjectErrorKind::Unavailable).into())
            }
        }
    }

    fn end_call(&mut self, succeeded: bool) {
        if std::mem::take(&mut self.is_started) {
            let call = self.call;
            self.outgoing.put(&ToManager::CallEnded { call, succeeded });
            self.flush();
        }
    }
}
