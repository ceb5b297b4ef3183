//! Tests of the client and the proxies against a manager that does as each test says.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::json;

use crate::objects::client::{ConnectionEnd, OpenReply, OwnerClient};
use crate::objects::proxy::{NO_ARGS, Proxy};
use crate::objects::wait_limit::WaitLimit;
use crate::objects::{Dict, Lock, Queue};
use mpwasm_protocol::channel::{Channel, pair};
use mpwasm_protocol::messages::{FromManager, MAX_OBJECT_ARGS, OperationReply, ToManager, object_frame};
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{
    CallNumber, MAX_LABEL, ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, Token,
};

/// Memory of the manager's objects.
const MEMORY: u64 = 1 << 20;

const TOKEN: Token = Token::from_bytes([0xab; 16]);

/// The manager's end of a connection.
struct FakeManager(Channel);

/// A call that has arrived.
#[derive(Debug)]
struct Call {
    id: RequestId,
    call: CallNumber,
    operation: String,
    args: String,
}

impl FakeManager {
    /// Returns the next call.
    fn call(&mut self) -> Call {
        match self.0.receive().unwrap() {
            ToManager::Call {
                id,
                call,
                operation,
                args,
                ..
            } => Call {
                id,
                call,
                operation: operation.to_owned(),
                args: String::from_utf8(args.to_owned()).unwrap(),
            },
            other => panic!("no call: {other:?}"),
        }
    }

    fn reply(&self, id: RequestId, json: &str) {
        let result = OperationReply::Ok(json.as_bytes());
        self.0.send(&FromManager::Reply { id, result }).unwrap();
    }
}

/// A client, its receiver, and the manager at the other end.
fn connected() -> (Arc<OwnerClient>, JoinHandle<ConnectionEnd>, FakeManager) {
    let (ours, theirs) = pair().unwrap();
    let socket = ours.as_fd().try_clone_to_owned().unwrap();
    let client = Arc::new(OwnerClient::new(socket, MEMORY).unwrap());
    let receiving = Arc::clone(&client);
    let receiver =
        thread::spawn(move || receiving.receive_all(&mut Channel::with_descriptors(ours, object_frame())));
    (
        client,
        receiver,
        FakeManager(Channel::new(theirs, object_frame())),
    )
}

fn proxy(client: &Arc<OwnerClient>, spec: ObjectSpec) -> Proxy {
    let opened = OpenReply {
        id: ObjectId(7),
        spec,
        label: "jobs".to_owned(),
        memory: None,
    };
    Proxy::new(Arc::clone(client), TOKEN, opened).unwrap()
}

#[test]
fn each_thread_gets_the_reply_to_its_own_request_whatever_their_order() {
    let (client, _receiver, mut manager) = connected();
    let queue: Queue<String> = Queue::new(proxy(&client, ObjectSpec::Queue(None)));
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap())
        })
        .collect();
    let calls: Vec<Call> = getters.iter().map(|_| manager.call()).collect();
    for call in calls.iter().rev() {
        assert_eq!((&*call.operation, &*call.args), ("get", "[]"));
        manager.reply(call.id, &json!(call.call.to_string()).to_string());
    }
    let mut got: Vec<String> = getters.into_iter().map(|getter| getter.join().unwrap()).collect();
    let mut callers: Vec<String> = calls.iter().map(|call| call.call.to_string()).collect();
    got.sort();
    callers.sort();
    assert_eq!(got, callers, "each thread is a call of its own");
}

#[test]
fn when_the_manager_ends_all_that_wait_and_all_later_calls_are_unavailable() {
    let (client, receiver, mut manager) = connected();
    let queue: Queue<u64> = Queue::new(proxy(&client, ObjectSpec::Queue(None)));
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap_err())
        })
        .collect();
    for _ in &getters {
        manager.call();
    }
    drop(manager);
    for getter in getters {
        let error = getter.join().unwrap();
        assert_eq!(error.kind, ObjectErrorKind::Unavailable);
        assert!(error.to_string().starts_with("queue `jobs`: get: "), "{error}");
    }
    receiver.join().unwrap();
    assert_eq!(queue.get_nowait().unwrap_err().kind, ObjectErrorKind::Unavailable);
    assert_eq!(
        client.status().unwrap_err().of("", "").kind,
        ObjectErrorKind::Unavailable
    );
}

#[test]
fn a_guard_releases_for_the_thread_that_acquired_and_the_end_of_a_thread_is_reported() {
    let (client, _receiver, mut manager) = connected();
    let lock = Lock::new(proxy(&client, ObjectSpec::Lock));
    let holder = thread::spawn(move || {
        let guard = lock.acquire().unwrap();
        assert!(guard.abandoned());
    });
    let acquired = manager.call();
    assert_eq!(acquired.operation, "acquire");
    manager.reply(acquired.id, r#"{"abandoned":true}"#);
    let released = manager.call();
    assert_eq!((&*released.operation, released.call), ("release", acquired.call));
    manager.reply(released.id, "null");
    match manager.0.receive().unwrap() {
        ToManager::CallEnded { call, succeeded } => assert_eq!((call, succeeded), (acquired.call, true)),
        other => panic!("no end: {other:?}"),
    }
    holder.join().unwrap();
}

#[test]
fn errors_of_the_manager_are_typed_and_a_missing_key_is_none() {
    let (client, _receiver, mut manager) = connected();
    let dict: Dict<String, u64> = Dict::new(proxy(&client, ObjectSpec::Dict));
    let asker = thread::spawn(move || (dict.get("a").unwrap(), dict.add("a", 2).unwrap_err()));
    for kind in [ObjectErrorKind::Missing, ObjectErrorKind::WrongType] {
        let call = manager.call();
        let error = ObjectError::new(kind, "jobs", &call.operation);
        let result = OperationReply::Failed(error);
        manager
            .0
            .send(&FromManager::Reply { id: call.id, result })
            .unwrap();
    }
    let (missing, error) = asker.join().unwrap();
    assert_eq!(missing, None);
    assert_eq!(error.kind, ObjectErrorKind::WrongType);
    assert_eq!(error.to_string(), "dict `jobs`: add: wrong type");
}

#[test]
fn a_reply_that_is_no_value_of_the_type_is_an_error_of_that_call() {
    let (client, _receiver, mut manager) = connected();
    let proxy = proxy(&client, ObjectSpec::Queue(None));
    let asker = thread::spawn(move || {
        proxy
            .call::<u64>("get", &NO_ARGS, WaitLimit::Forever)
            .unwrap_err()
    });
    let call = manager.call();
    manager.reply(call.id, "\"text\"");
    assert_eq!(asker.join().unwrap().kind, ObjectErrorKind::Invalid);
}

#[test]
fn what_is_larger_than_the_manager_accepts_is_an_error_and_does_not_end_the_connection() {
    let (client, receiver, mut manager) = connected();
    let queue: Queue<String> = Queue::new(proxy(&client, ObjectSpec::Queue(None)));
    let large = "x".repeat(MAX_OBJECT_ARGS);
    let error = queue.put(&large).unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::TooLarge);
    assert!(error.to_string().starts_with("queue `jobs`: put: "), "{error}");
    for failed in [
        client.create(ObjectSpec::Lock, &large[..MAX_LABEL + 1]).map(drop),
        client.restore(TOKEN, &[large.as_bytes(); 2].concat()),
    ] {
        assert_eq!(failed.unwrap_err().of("", "").kind, ObjectErrorKind::TooLarge);
    }
    let getter = thread::spawn(move || queue.get().unwrap());
    let call = manager.call();
    assert_eq!(call.operation, "get", "nothing was sent before");
    manager.reply(call.id, "\"first\"");
    assert_eq!(getter.join().unwrap(), "first");
    drop(manager);
    receiver.join().unwrap();
}

#[test]
fn a_manager_that_replies_to_no_request_is_not_believed_any_more() {
    let (client, receiver, manager) = connected();
    manager.reply(RequestId(9), "null");
    assert!(matches!(receiver.join().unwrap(), ConnectionEnd::Unasked));
    assert!(client.ended().is_some());
}

#[test]
fn a_proxy_is_a_handle_in_json_and_shows_no_token_otherwise() {
    let (client, ..) = connected();
    let queue: Queue<u64> = Queue::new(proxy(&client, ObjectSpec::Queue(None)));
    let args = serde_json::to_string(&(&queue, 7)).unwrap();
    assert_eq!(
        args,
        format!(r#"[{{"object":"jobs","token":"{}"}},7]"#, "ab".repeat(16))
    );
    assert_eq!(format!("{queue:?}"), "queue `jobs`");
}
