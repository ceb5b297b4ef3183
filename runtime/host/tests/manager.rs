//! The manager process, with real clients: honest ones, and some that are not.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use mpwasm_engine::{
    Deadline, Export, InterruptCause, ObjectCallError, ObjectCaller, ObjectClient, ObjectTarget, OpenedObject,
};
use mpwasm_host::manager_client::{ManagerClient, WaitReporter};
use mpwasm_protocol::channel::{Channel, pair};
use mpwasm_protocol::frame::put;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{
    FromManager, MAX_SETUP, ManagerStart, OperationReply, OwnerRequest, ToManager, object_frame,
    object_owner_frame,
};
use mpwasm_sandbox::child::{Executable, Process, receive_hello, spawn};
use mpwasm_sandbox::jail::available_options;
use mpwasm_system::clock;
use mpwasm_types::ids::{RequestId, TaskId};
use mpwasm_types::objects::{
    CallNumber, CallSource, GrantedName, NumberOperation, ObjectErrorKind, ObjectId, ObjectsStatus,
    RequestedObject, Token,
};
use mpwasm_types::role::Role;
use mpwasm_types::settings::Jail;
use nix::sys::socket::{Shutdown, shutdown};

/// Memory of a manager.
const MEMORY: u64 = 64 << 20;

/// Time in which everything here happens, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager in its jail, and the connection of its owner.
struct Manager {
    process: Process,
    owner: Channel,
    next: u64,
}

impl Manager {
    fn start() -> Self {
        // Looked up beside the test program: both may have been moved since they were built.
        let test = std::env::current_exe().unwrap();
        let executable = Executable::At(test.ancestors().nth(2).unwrap().join("mpwasm-host"));
        let (process, socket) = spawn(&executable, Role::Manager, None).unwrap();
        let mut owner = Channel::new(socket, MAX_SETUP);
        receive_hello(&mut owner, PATIENCE).unwrap();
        let start = ManagerStart {
            memory: MEMORY,
            jail: available_options(Jail::BestEffort, None),
        };
        in_memory::send(owner.as_fd(), &start, &[]).unwrap();
        owner.inbox().set_max(object_owner_frame(MEMORY));
        Self {
            process,
            owner,
            next: 0,
        }
    }

    /// Sends a request of the owner, and calls `read` with its reply.
    fn ask<R>(
        &mut self,
        request: impl FnOnce(RequestId) -> OwnerRequest<'static>,
        along: &[OwnedFd],
        read: impl FnOnce(FromManager<'_>) -> R,
    ) -> R {
        let id = RequestId(self.next);
        self.next += 1;
        let along: Vec<_> = along.iter().map(AsFd::as_fd).collect();
        let message = ToManager::Owner(request(id));
        self.owner.send_with(&message, &along).unwrap();
        read(self.owner.receive().unwrap())
    }

    fn create(&mut self, label: &'static str, spec: &str) -> Token {
        let spec = spec.parse().unwrap();
        self.ask(
            |id| OwnerRequest::Create { id, spec, label },
            &[],
            |reply| match reply {
                FromManager::Created { tokens, .. } => tokens[0],
                other => panic!("{other:?}"),
            },
        )
    }

    fn status(&mut self) -> ObjectsStatus {
        self.ask(
            |id| OwnerRequest::Status { id },
            &[],
            |reply| match reply {
                FromManager::Status { status, .. } => status,
                other => panic!("{other:?}"),
            },
        )
    }

    /// Waits until `is_so` of the status.
    fn wait_until(&mut self, is_so: impl Fn(&ObjectsStatus) -> bool) {
        let end = clock::now() + PATIENCE;
        while !is_so(&self.status()) {
            assert!(clock::now() < end, "{:?}", self.status());
        }
    }

    /// Opens a pool with these names, and returns its connection.
    fn pool(&mut self, names: &[(&str, Token)]) -> OwnedFd {
        let (ours, theirs) = pair().unwrap();
        let names = names.iter().map(|(name, token)| GrantedName {
            name: (*name).to_owned(),
            token: *token,
        });
        let names = names.collect();
        self.ask(
            |id| OwnerRequest::OpenPool { id, names },
            &[theirs],
            |reply| {
                assert!(matches!(
                    reply,
                    FromManager::Reply {
                        result: OperationReply::Ok(b"null"),
                        ..
                    }
                ));
            },
        );
        ours
    }
}

/// Attaches a member of a pool, and returns its socket.
fn attach(pool: &OwnedFd) -> OwnedFd {
    let (ours, theirs) = pair().unwrap();
    Channel::send_over(pool.as_fd(), &ToManager::Attach, &[theirs.as_fd()]).unwrap();
    ours
}

/// A process that runs guests, in a call of a task.
struct Member {
    client: ManagerClient,
    deadline: Arc<Deadline>,
}

impl Member {
    fn attached(pool: &OwnedFd, task: u64) -> Self {
        let deadline = Arc::new(Deadline::new());
        deadline.allow_waits().unwrap();
        deadline.arm(clock::now() + PATIENCE);
        let mut client = ManagerClient::new(attach(pool), Arc::clone(&deadline));
        client.start_call(caller(task));
        Self { client, deadline }
    }

    fn open(&mut self, name: &str) -> OpenedObject {
        self.client.open(ObjectTarget::Name(name)).unwrap()
    }

    fn call(
        &mut self,
        object: &OpenedObject,
        operation: &str,
        args: &str,
    ) -> Result<String, ObjectErrorKind> {
        match self.client.call(object, operation, args.as_bytes(), None) {
            Ok(reply) => Ok(String::from_utf8(reply).unwrap()),
            Err(ObjectCallError::Object(error)) => Err(error.kind),
            Err(other) => panic!("{other}"),
        }
    }
}

fn caller(task: u64) -> ObjectCaller {
    ObjectCaller {
        export: Export::Runnable,
        task_id: TaskId(task),
        attempt: 1,
    }
}

#[test]
fn members_of_a_pool_share_what_was_granted_to_it() {
    let mut manager = Manager::start();
    let (jobs, total) = (
        manager.create("jobs", "queue"),
        manager.create("total", "value:i64"),
    );
    let pool = manager.pool(&[("jobs", jobs), ("total", total)]);
    let [mut one, mut other] = [1, 2].map(|task| Member::attached(&pool, task));
    let queue = one.open("jobs");
    assert_eq!(one.call(&queue, "put", "[{\"a\":1}]"), Ok("null".to_owned()));
    let queue = other.open("jobs");
    assert_eq!(other.call(&queue, "get", "[]"), Ok("{\"a\":1}".to_owned()));
    let [ours, theirs] = [one.open("total"), other.open("total")];
    let (ours, theirs) = (ours.numbers.unwrap(), theirs.numbers.unwrap());
    ours.int(0, NumberOperation::Add, 7, 0).unwrap();
    assert_eq!(theirs.int(0, NumberOperation::Load, 0, 0), Ok(7));
    // Large values travel, too.
    let large = format!("[\"{}\"]", "x".repeat(5 << 20));
    assert_eq!(one.call(&queue, "put", &large), Ok("null".to_owned()));
    assert_eq!(
        other.call(&queue, "get", "[]").map(|got| got.len()),
        Ok(large.len() - 2)
    );
    // What was not granted, is not there.
    let error = one.client.open(ObjectTarget::Name("seen")).unwrap_err();
    assert!(matches!(error, ObjectCallError::Object(error) if error.kind == ObjectErrorKind::NoSuchObject));
}

#[test]
fn a_process_that_ends_gives_back_its_lock_and_the_next_holder_learns_of_it() {
    let mut manager = Manager::start();
    let lock = manager.create("lock", "lock");
    let pool = manager.pool(&[("lock", lock)]);
    let [mut dying, mut next] = [1, 2].map(|task| Member::attached(&pool, task));
    let lock = dying.open("lock");
    assert_eq!(
        dying.call(&lock, "acquire", "[]"),
        Ok("{\"abandoned\":false}".to_owned())
    );
    let waiting = thread::spawn(move || {
        let lock = next.open("lock");
        next.call(&lock, "acquire", "[]")
    });
    manager.wait_until(|status| status.waiting.len() == 1);
    let status = manager.status();
    let source = |task| CallSource::Task {
        task: TaskId(task),
        attempt: 1,
    };
    assert_eq!(status.waiting[0].source, source(2));
    assert_eq!(status.holders[0].source, source(1));
    drop(dying);
    assert_eq!(waiting.join().unwrap(), Ok("{\"abandoned\":true}".to_owned()));
}

#[test]
fn a_wait_ends_at_the_deadline_of_the_call_and_with_its_cancellation() {
    let mut manager = Manager::start();
    let jobs = manager.create("jobs", "queue");
    let pool = manager.pool(&[("jobs", jobs)]);
    let mut member = Member::attached(&pool, 1);
    let queue = member.open("jobs");
    member.deadline.set(clock::now() + Duration::from_millis(20));
    let late = member.client.call(&queue, "get", b"[]", None);
    assert!(matches!(
        late,
        Err(ObjectCallError::Interrupted(InterruptCause::Timeout))
    ));
    member.client.end_call(false);
    assert!(member.deadline.disarm());
    member.deadline.arm(clock::now() + PATIENCE);
    member.client.start_call(caller(2));
    let call = member.deadline.call().unwrap();
    thread::scope(|scope| {
        let deadline = Arc::clone(&member.deadline);
        let (client, queue) = (&mut member.client, &queue);
        let waiting = scope.spawn(move || client.call(queue, "get", b"[]", None));
        manager.wait_until(|status| status.waiting.len() == 1);
        deadline.cancel(call);
        let cancelled = waiting.join().unwrap();
        assert!(matches!(
            cancelled,
            Err(ObjectCallError::Interrupted(InterruptCause::Cancelled))
        ));
    });
    member.client.end_call(false);
    assert!(member.deadline.disarm());
    member.deadline.arm(clock::now() + PATIENCE);
    // The connection is as good as before.
    member.client.start_call(caller(3));
    assert_eq!(member.call(&queue, "put", "[5]"), Ok("null".to_owned()));
    assert_eq!(member.call(&queue, "get", "[]"), Ok("5".to_owned()));
    assert_eq!(manager.status().waiting.len(), 0);
}

/// Passes on what is reported.
struct Reports(Sender<String>);

impl WaitReporter for Reports {
    fn waiting(&self, object: &OpenedObject, operation: &str) {
        self.0.send(format!("{operation} of {}", object.label)).unwrap();
    }

    fn resumed(&self) {
        self.0.send("resumed".to_owned()).unwrap();
    }
}

#[test]
fn a_long_wait_is_reported_and_so_is_its_end() {
    let mut manager = Manager::start();
    let jobs = manager.create("jobs", "queue");
    let pool = manager.pool(&[("jobs", jobs)]);
    let [mut member, mut producer] = [1, 2].map(|task| Member::attached(&pool, task));
    let (sender, reports) = channel();
    member.client = member.client.with_reporter(Box::new(Reports(sender)));
    let waiting = thread::spawn(move || {
        let queue = member.open("jobs");
        member.call(&queue, "get", "[]")
    });
    assert_eq!(reports.recv().unwrap(), "get of jobs");
    let queue = producer.open("jobs");
    assert_eq!(producer.call(&queue, "put", "[1]"), Ok("null".to_owned()));
    assert_eq!(waiting.join().unwrap(), Ok("1".to_owned()));
    assert_eq!(reports.iter().collect::<Vec<_>>(), ["resumed"]);
}

#[test]
fn a_large_reply_that_an_interrupted_call_has_not_read_delays_neither_its_end_nor_the_next_request() {
    let mut manager = Manager::start();
    let (jobs, lock) = (manager.create("jobs", "queue"), manager.create("lock", "lock"));
    let pool = manager.pool(&[("jobs", jobs), ("lock", lock)]);
    let [mut member, mut other] = [1, 2].map(|task| Member::attached(&pool, task));
    let [queue, lock] = ["jobs", "lock"].map(|name| member.open(name));
    let large = format!("[\"{}\"]", "x".repeat(5 << 20));
    assert_eq!(member.call(&queue, "put", &large), Ok("null".to_owned()));
    assert!(member.call(&lock, "acquire", "[]").is_ok());
    // Past the deadline no reply is waited for.
    member.deadline.set(clock::now());
    let late = member.client.call(&queue, "get", b"[]", None);
    assert!(matches!(late, Err(ObjectCallError::Interrupted(_))));
    member.client.end_call(false);
    assert!(member.deadline.disarm());
    let theirs = other.open("lock");
    assert!(other.call(&theirs, "acquire", "[]").is_ok());
    member.deadline.arm(clock::now() + PATIENCE);
    member.client.start_call(caller(3));
    assert_eq!(member.call(&queue, "put", &large), Ok("null".to_owned()));
}

#[test]
fn when_the_manager_is_killed_every_wait_ends_at_once() {
    let mut manager = Manager::start();
    let jobs = manager.create("jobs", "queue");
    let pool = manager.pool(&[("jobs", jobs)]);
    let members = (0..3).map(|task| Member::attached(&pool, task));
    let waiting: Vec<_> = members
        .map(|mut member| {
            thread::spawn(move || {
                let queue = member.open("jobs");
                [
                    member.call(&queue, "get", "[]"),
                    member.call(&queue, "put", "[1]"),
                ]
            })
        })
        .collect();
    manager.wait_until(|status| status.waiting.len() == 3);
    manager.process.kill();
    for thread in waiting {
        assert_eq!(
            thread.join().unwrap(),
            [(); 2].map(|()| Err(ObjectErrorKind::Unavailable))
        );
    }
}

#[test]
fn the_manager_ends_with_its_owner() {
    let Manager {
        mut process, owner, ..
    } = Manager::start();
    drop(owner);
    let status = process.wait_until(clock::now() + PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_client_that_breaks_the_protocol_loses_its_connection_and_harms_no_other() {
    let mut manager = Manager::start();
    let jobs = manager.create("jobs", "queue");
    let pool = manager.pool(&[("jobs", jobs)]);
    let frame = |message: &ToManager<'_>| {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        bytes
    };
    let id = RequestId(1);
    for bytes in [
        // A frame over the bound, one that is no message, and messages that a member may not send.
        u32::MAX.to_le_bytes().to_vec(),
        vec![1, 0, 0, 0, 0xff],
        frame(&ToManager::Attach),
        frame(&ToManager::Owner(OwnerRequest::Status { id })),
        frame(&ToManager::Call {
            id,
            call: CallNumber(9),
            object: ObjectId(0),
            timeout: None,
            operation: "get",
            args: b"[]",
        }),
    ] {
        let mut socket = std::fs::File::from(attach(&pool));
        socket.write_all(&bytes).unwrap();
        let mut channel = Channel::new(socket.into(), object_frame());
        assert!(channel.receive::<FromManager<'_>>().is_err(), "{bytes:?}");
    }
    let mut honest = Member::attached(&pool, 1);
    let queue = honest.open("jobs");
    assert_eq!(honest.call(&queue, "qsize", "[]"), Ok("0".to_owned()));
}

#[test]
fn neither_half_a_frame_nor_a_flood_nor_unread_replies_keep_others_waiting() {
    let mut manager = Manager::start();
    let jobs = manager.create("jobs", "queue");
    let pool = manager.pool(&[("jobs", jobs)]);
    let half = Channel::new(attach(&pool), object_frame());
    nix::unistd::write(&half, &[200, 0, 0, 0, 1]).unwrap();
    // It sends requests without end, and reads no reply.
    let flood = Channel::new(attach(&pool), object_frame());
    let socket = flood.as_fd().try_clone_to_owned().unwrap();
    let flooding = thread::spawn(move || {
        for id in (0..).map(RequestId) {
            let target = RequestedObject::Name("jobs");
            if flood.send(&ToManager::Open { id, target }).is_err() {
                break;
            }
        }
    });
    let mut honest = Member::attached(&pool, 1);
    let queue = honest.open("jobs");
    for number in 0..1000 {
        let args = format!("[{number}]");
        assert_eq!(honest.call(&queue, "put", &args), Ok("null".to_owned()));
        assert_eq!(honest.call(&queue, "get", "[]"), Ok(number.to_string()));
    }
    assert!(manager.status().memory < 16 << 20, "{:?}", manager.status());
    shutdown(socket.as_raw_fd(), Shutdown::Both).unwrap();
    flooding.join().unwrap();
}

#[test]
fn contents_are_read_and_restored() {
    let mut manager = Manager::start();
    for (spec, contents) in [
        ("queue", &b"[1,\"two\"]"[..]),
        ("value:u64", b"18446744073709551615"),
        ("array:i8:3", b"[1,-2,3]"),
    ] {
        let token = manager.create("", spec);
        let reply = |reply: FromManager<'_>| match reply {
            FromManager::Reply {
                result: OperationReply::Ok(json),
                ..
            } => json.to_vec(),
            other => panic!("{other:?}"),
        };
        let restored = manager.ask(|id| OwnerRequest::Restore { id, token, contents }, &[], reply);
        assert_eq!(restored, b"null");
        assert_eq!(
            manager.ask(|id| OwnerRequest::Contents { id, token }, &[], reply),
            contents
        );
    }
    let token = Token::from_bytes([1; Token::SIZE]);
    let refused = manager.ask(|id| OwnerRequest::Contents { id, token }, &[], |reply| {
        matches!(reply, FromManager::Reply { result: OperationReply::Failed(error), .. } if error.kind == ObjectErrorKind::NoSuchObject)
    });
    assert!(refused);
}
