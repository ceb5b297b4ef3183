//! Requests for shared objects: a sequence of operations of two workers, which end, time out and are cancelled.
//!
//! Each line of the input is an event. `w` and a digit let that worker request an operation: an object (a letter from `a`, in the
//! order of [`SPECS`]), how it waits (`0` for not at all, `1` for ten milliseconds, `-` for as long as it takes), a space, the operation, a
//! space, and its arguments. `s` and `f` end the call of a worker as succeeded or failed, `c` cancels its wait, `d` disconnects it,
//! and `t` lets ten milliseconds pass.

use std::collections::BTreeSet;
use std::time::Duration;

use mpwasm_objects::{
    ClientFault, ClientId, ClientMessage, Effects, Json, ObjectReply, Objects, OperationError,
};
use mpwasm_types::ids::{RequestId, TaskId};
use mpwasm_types::objects::{
    CallNumber, CallSource, ObjectError, ObjectId, ObjectSpec, RequestedObject, Token,
};
use mpwasm_types::time::Time;

use super::Verdict;

/// The objects, of which the pipe has two ends.
const SPECS: &str = "value:i64 array:u8:4 lock rlock semaphore:1 bounded-semaphore:1 event condition barrier:2 queue:2 \
                     joinable-queue pipe pipe:one-way dict list namespace";

/// Most events of an input.
const MAX_EVENTS: usize = 1000;

/// The cap of the manager's memory, which a fuzzer reaches.
const MEMORY: u64 = 64 << 10;

/// What may be counted beyond the cap: clients, calls and waits, which can't be refused.
const OVERHEAD: u64 = 16 << 10;

/// The call of a worker.
const CALL: CallNumber = CallNumber(1);

/// Handles `input` as requests of two workers.
///
/// # Panics
/// When a request has no reply or two, more memory is counted than may be, or something is left of clients that are gone.
#[must_use]
pub fn objects(input: &[u8]) -> Verdict {
    let mut run = Run::new();
    for line in input.split(|byte| *byte == b'\n').take(MAX_EVENTS) {
        run.event(line);
        assert!(run.objects.memory() <= MEMORY + OVERHEAD, "over the cap");
    }
    run.end();
    if run.replies.succeeded > 0 {
        Verdict::Taken
    } else {
        Verdict::Refused
    }
}

/// A manager with two workers.
struct Run {
    objects: Objects,
    owner: ClientId,
    pool: ClientId,
    workers: [ClientId; 2],
    targets: Vec<(Token, ObjectId)>,
    replies: Replies,
    now: Time,
}

/// Checks the replies.
#[derive(Default)]
struct Replies {
    /// Requests that have none yet.
    awaited: BTreeSet<(ClientId, RequestId)>,
    /// The last request of any client.
    last: u64,
    succeeded: usize,
    created: Vec<Token>,
    tokens: u128,
}

impl Effects for Replies {
    fn reply(&mut self, client: ClientId, id: RequestId, reply: Result<ObjectReply, ObjectError>) {
        assert!(self.awaited.remove(&(client, id)), "a reply to no request");
        match reply {
            Ok(ObjectReply::Created(tokens)) => self.created.extend(tokens),
            Ok(ObjectReply::Opened { .. }) => {}
            Ok(ObjectReply::Json(json)) => {
                assert_eq!(Json::parse(json.as_str()), Some(json), "a reply is JSON");
                self.succeeded += 1;
            }
            Ok(ObjectReply::Status(status)) => {
                assert!(
                    status.waiting.is_empty() && status.holders.is_empty(),
                    "{status:?}"
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    fn new_token(&mut self) -> Token {
        self.tokens += 1;
        Token::from_bytes(self.tokens.to_be_bytes())
    }

    fn create_numbers(&mut self, _: ObjectId, _: ObjectSpec) -> bool {
        true
    }

    fn numbers(&mut self, _: ObjectId, _: ObjectSpec, _: usize) -> Option<Json> {
        Some(Json::null())
    }

    fn set_numbers(&mut self, _: ObjectId, _: ObjectSpec, _: &Json) -> Result<(), OperationError> {
        Ok(())
    }
}

impl Run {
    fn new() -> Self {
        let (mut objects, owner) = Objects::new(MEMORY);
        let pool = objects
            .open_pool(owner, &[])
            .expect("the first pool can be opened");
        let mut run = Self {
            workers: [pool; 2],
            objects,
            owner,
            pool,
            targets: Vec::new(),
            replies: Replies::default(),
            now: Time(0),
        };
        for spec in SPECS.split_whitespace() {
            let id = run.request(owner);
            let spec = spec.parse().expect("a spec");
            run.send(owner, ClientMessage::Create { id, label: "", spec })
                .expect("the owner may create");
        }
        for token in run.replies.created.clone() {
            let (object, ..) = run.objects.find(token).expect("it was created");
            run.targets.push((token, object));
        }
        run.workers = [run.attach(), run.attach()];
        run
    }

    /// Attaches a worker that has opened all objects, and starts its call.
    fn attach(&mut self) -> ClientId {
        let worker = self.objects.attach(self.pool).expect("there are few workers");
        for (token, _) in self.targets.clone() {
            let id = self.request(worker);
            let target = RequestedObject::Token(token);
            // It is refused if the memory is full.
            self.send(worker, ClientMessage::Open { id, target })
                .expect("a worker may open");
        }
        self.start(worker);
        worker
    }

    fn start(&mut self, worker: ClientId) {
        let source = CallSource::Task {
            task: TaskId(0),
            attempt: 1,
        };
        self.send(worker, ClientMessage::CallStarted { call: CALL, source })
            .expect("its call has ended");
    }

    fn request(&mut self, client: ClientId) -> RequestId {
        self.replies.last += 1;
        let id = RequestId(self.replies.last);
        self.replies.awaited.insert((client, id));
        id
    }

    fn send(&mut self, client: ClientId, message: ClientMessage<'_>) -> Result<(), ClientFault> {
        self.objects.handle(self.now, client, message, &mut self.replies)
    }

    fn event(&mut self, line: &[u8]) {
        match line {
            [b't', ..] => {
                self.now = self.now + Duration::from_millis(10);
                self.objects.expire(self.now, &mut self.replies);
                assert!(
                    self.objects
                        .next_deadline()
                        .is_none_or(|deadline| deadline > self.now)
                );
            }
            [event, worker @ (b'0' | b'1'), rest @ ..] => {
                let index = usize::from(worker - b'0');
                self.worker_event(*event, index, rest);
            }
            _ => {}
        }
    }

    fn worker_event(&mut self, event: u8, index: usize, rest: &[u8]) {
        let worker = self.workers[index];
        match event {
            b'w' => self.operation(worker, rest),
            b's' | b'f' => {
                let succeeded = event == b's';
                self.send(
                    worker,
                    ClientMessage::CallEnded {
                        call: CALL,
                        succeeded,
                    },
                )
                .expect("it has started");
                assert!(!self.has_request(worker), "the call has ended");
                self.start(worker);
            }
            b'c' => self.cancel(worker),
            b'd' => {
                self.objects.disconnected(worker, &mut self.replies);
                self.replies.awaited.retain(|(client, _)| *client != worker);
                self.workers[index] = self.attach();
            }
            _ => {}
        }
    }

    fn operation(&mut self, worker: ClientId, rest: &[u8]) {
        let [object, wait, b' ', rest @ ..] = rest else {
            return;
        };
        let target = usize::from(object.wrapping_sub(b'a'));
        let object = self
            .targets
            .get(target)
            .map_or(ObjectId(u64::MAX), |target| target.1);
        let timeout = match wait {
            b'0' => Some(Duration::ZERO),
            b'1' => Some(Duration::from_millis(10)),
            _ => None,
        };
        let mut parts = rest.splitn(2, |byte| *byte == b' ');
        let operation = parts.next().and_then(|name| std::str::from_utf8(name).ok());
        let is_waiting = self.has_request(worker);
        let id = self.request(worker);
        let sent = self.send(
            worker,
            ClientMessage::Call {
                id,
                call: CALL,
                object,
                operation: operation.unwrap_or(""),
                args: parts.next().unwrap_or(b"[]"),
                timeout,
            },
        );
        assert_eq!(sent == Err(ClientFault::BusyCall), is_waiting);
        if sent.is_err() {
            self.replies.awaited.remove(&(worker, id));
        }
    }

    fn has_request(&self, worker: ClientId) -> bool {
        self.replies.awaited.iter().any(|(client, _)| *client == worker)
    }

    fn cancel(&mut self, worker: ClientId) {
        let awaited = self.replies.awaited.iter().find(|(client, _)| *client == worker);
        if let Some((_, id)) = awaited.copied() {
            self.send(worker, ClientMessage::Cancel { id })
                .expect("a worker may cancel");
        }
        assert!(!self.has_request(worker), "it was cancelled");
    }

    /// Ends the workers, after which nothing waits and nothing is held.
    fn end(&mut self) {
        for worker in self.workers {
            self.objects.disconnected(worker, &mut self.replies);
            self.replies.awaited.retain(|(client, _)| *client != worker);
        }
        let id = self.request(self.owner);
        self.send(self.owner, ClientMessage::Status { id })
            .expect("the owner may ask");
        assert!(self.replies.awaited.is_empty(), "a request without a reply");
        assert_eq!(self.objects.next_deadline(), None);
    }
}
