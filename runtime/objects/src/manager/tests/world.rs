//! A manager with clients, driven by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use mpwasm_types::ids::{RequestId, TaskId};
use mpwasm_types::objects::{
    CallNumber, CallSource, ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, ObjectsStatus,
    RequestedObject, Token,
};
use mpwasm_types::time::Time;

use crate::json::Json;
use crate::keys::ClientId;
use crate::manager::Objects;
use crate::message::{ClientFault, ClientMessage, Effects, ObjectReply};
use crate::operation_error::OperationError;

/// The call of each client, unless a test starts others.
pub const CALL: CallNumber = CallNumber(1);

/// A request that waits for as long as it takes.
pub const FOREVER: Option<Duration> = None;

/// A request that does not wait.
pub const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// What a request led to: its JSON, or the kind of its error.
pub type Outcome = Result<String, ObjectErrorKind>;

/// A manager, its owner and a pool.
pub struct World {
    pub objects: Objects,
    pub owner: ClientId,
    pub pool: ClientId,
    pub now: Time,
    recorder: Recorder,
    next_request: u64,
    next_task: u64,
}

/// Keeps the replies.
#[derive(Default)]
struct Recorder {
    replies: BTreeMap<RequestId, (ClientId, Result<ObjectReply, ObjectError>)>,
    tokens: u128,
    numbers: BTreeMap<ObjectId, Json>,
}

impl Effects for Recorder {
    fn reply(&mut self, client: ClientId, id: RequestId, reply: Result<ObjectReply, ObjectError>) {
        let earlier = self.replies.insert(id, (client, reply));
        assert!(earlier.is_none(), "request {id} has two replies");
    }

    fn new_token(&mut self) -> Token {
        self.tokens += 1;
        Token::from_bytes(self.tokens.to_be_bytes())
    }

    fn create_numbers(&mut self, object: ObjectId, _: ObjectSpec) -> bool {
        self.numbers.insert(object, Json::from(0));
        true
    }

    fn numbers(&mut self, object: ObjectId, _: ObjectSpec, most: usize) -> Option<Json> {
        let numbers = self.numbers[&object].clone();
        (numbers.as_str().len() <= most).then_some(numbers)
    }

    fn set_numbers(&mut self, object: ObjectId, _: ObjectSpec, numbers: &Json) -> Result<(), OperationError> {
        self.numbers.insert(object, numbers.clone());
        Ok(())
    }
}

impl World {
    /// Creates a manager with this memory cap.
    pub fn with_memory(cap: u64) -> Self {
        let (mut objects, owner) = Objects::new(cap);
        let pool = objects.open_pool(owner, &[]).unwrap();
        let mut world = Self {
            objects,
            owner,
            pool,
            now: Time(0),
            recorder: Recorder::default(),
            next_request: 0,
            next_task: 0,
        };
        world.start(owner, CALL, CallSource::Program);
        world
    }

    pub fn new() -> Self {
        Self::with_memory(1 << 20)
    }

    pub fn handle(&mut self, client: ClientId, message: ClientMessage<'_>) -> Result<(), ClientFault> {
        self.objects.handle(self.now, client, message, &mut self.recorder)
    }

    pub fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub fn take_reply(&mut self, id: RequestId) -> Option<Result<ObjectReply, ObjectError>> {
        self.recorder.replies.remove(&id).map(|(_, reply)| reply)
    }

    /// Returns the number of replies that no test has taken.
    pub fn untaken_replies(&self) -> usize {
        self.recorder.replies.len()
    }

    /// Creates an object. Returns its tokens.
    pub fn create(&mut self, label: &str, spec: &str) -> Vec<Token> {
        match self.try_create(label, spec) {
            Ok(ObjectReply::Created(tokens)) => tokens,
            other => panic!("{other:?}"),
        }
    }

    pub fn try_create(&mut self, label: &str, spec: &str) -> Result<ObjectReply, ObjectError> {
        let id = self.request_id();
        let spec = spec.parse().unwrap();
        self.handle(self.owner, ClientMessage::Create { id, label, spec })
            .unwrap();
        self.take_reply(id).unwrap()
    }

    pub fn open(
        &mut self,
        client: ClientId,
        target: RequestedObject<'_>,
    ) -> Result<ObjectReply, ObjectError> {
        let id = self.request_id();
        self.handle(client, ClientMessage::Open { id, target }).unwrap();
        self.take_reply(id).unwrap()
    }

    pub fn open_token(&mut self, client: ClientId, token: Token) -> ObjectId {
        match self.open(client, RequestedObject::Token(token)) {
            Ok(ObjectReply::Opened { object, .. }) => object,
            other => panic!("{other:?}"),
        }
    }

    /// Attaches a member that runs the next task in [`CALL`], and opens these objects.
    pub fn member(&mut self, tokens: &[Token]) -> (ClientId, Vec<ObjectId>) {
        let client = self.objects.attach(self.pool).unwrap();
        let task = TaskId(self.next_task);
        self.next_task += 1;
        self.start(client, CALL, CallSource::Task { task, attempt: 1 });
        let objects = tokens
            .iter()
            .map(|token| self.open_token(client, *token))
            .collect();
        (client, objects)
    }

    /// Creates an object, and two members that have opened it.
    pub fn shared(&mut self, label: &str, spec: &str) -> (ObjectId, ClientId, ClientId) {
        let tokens = self.create(label, spec);
        let (first, objects) = self.member(&tokens[..1]);
        let (second, _) = self.member(&tokens[..1]);
        (objects[0], first, second)
    }

    pub fn start(&mut self, client: ClientId, call: CallNumber, source: CallSource) {
        self.handle(client, ClientMessage::CallStarted { call, source })
            .unwrap();
    }

    pub fn end(&mut self, client: ClientId, succeeded: bool) {
        self.handle(
            client,
            ClientMessage::CallEnded {
                call: CALL,
                succeeded,
            },
        )
        .unwrap();
    }

    pub fn disconnect(&mut self, client: ClientId) {
        self.objects.disconnected(client, &mut self.recorder);
    }

    /// Requests an operation in [`CALL`].
    pub fn request(
        &mut self,
        client: ClientId,
        object: ObjectId,
        operation: &str,
        args: &str,
        timeout: Option<Duration>,
    ) -> RequestId {
        let id = self.request_id();
        let call = ClientMessage::Call {
            id,
            call: CALL,
            object,
            operation,
            args: args.as_bytes(),
            timeout,
        };
        self.handle(client, call).unwrap();
        id
    }

    /// Begins an operation, which waits.
    pub fn waits(&mut self, client: ClientId, object: ObjectId, operation: &str, args: &str) -> RequestId {
        let id = self.request(client, object, operation, args, FOREVER);
        assert_eq!(self.outcome(id), None, "{operation} waits");
        id
    }

    /// Does an operation that does not wait.
    pub fn now(&mut self, client: ClientId, object: ObjectId, operation: &str, args: &str) -> Outcome {
        let id = self.request(client, object, operation, args, AT_ONCE);
        self.outcome(id).expect("the operation does not wait")
    }

    /// Returns what a request led to, if it does not wait.
    pub fn outcome(&mut self, id: RequestId) -> Option<Outcome> {
        Some(match self.take_reply(id)? {
            Ok(ObjectReply::Json(json)) => Ok(json.as_str().to_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind),
        })
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.objects.expire(self.now, &mut self.recorder);
    }

    pub fn cancel(&mut self, client: ClientId, id: RequestId) {
        self.handle(client, ClientMessage::Cancel { id }).unwrap();
    }

    pub fn status(&mut self, client: ClientId) -> ObjectsStatus {
        let id = self.request_id();
        self.handle(client, ClientMessage::Status { id }).unwrap();
        match self.take_reply(id) {
            Some(Ok(ObjectReply::Status(status))) => status,
            other => panic!("{other:?}"),
        }
    }
}

/// The reply of a request that succeeded.
pub fn ok(json: &str) -> Outcome {
    Ok(json.to_owned())
}

/// The reply to an acquired lock.
pub fn acquired(abandoned: bool) -> Outcome {
    Ok(format!("{{\"abandoned\":{abandoned}}}"))
}
