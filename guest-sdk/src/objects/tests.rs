//! Tests of the proxies, with objects that note each request and reply as they are told to.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reference::{Kind, begin_call};
use super::*;
use crate::native_host::{Objects, set_objects};
use crate::{Error, Model, json, testing};

/// Notes requests, and gives the replies that a test expects.
#[derive(Default)]
struct State {
    /// The requests.
    notes: Vec<String>,
    /// What each object is, by name.
    kinds: Vec<(&'static str, i64)>,
    /// Replies to come: JSON, or the code of an error.
    replies: VecDeque<Result<&'static str, i32>>,
    reply: Vec<u8>,
    numbers: [i64; 4],
    float: f64,
}

struct Fake(Rc<RefCell<State>>);

impl Objects for Fake {
    fn open(&mut self, target: &[u8]) -> i32 {
        let mut state = self.0.borrow_mut();
        let target = String::from_utf8(target.to_vec()).unwrap();
        let found = state.kinds.iter().position(|(name, _)| {
            target == *name || target.starts_with(&format!("{{\"object\":\"{name}\","))
        });
        state.notes.push(format!("open {target}"));
        match found {
            Some(index) => index as i32,
            None => {
                state.reply = br#"{"kind":"NoSuchObject","message":"no such object"}"#.to_vec();
                -7
            }
        }
    }

    fn call(&mut self, object: i32, operation: &str, args: &[u8], timeout_ms: i64) -> i32 {
        let mut state = self.0.borrow_mut();
        let name = state.kinds[object as usize].0;
        let args = String::from_utf8_lossy(args).into_owned();
        state.notes.push(format!("{name}.{operation}{args} {timeout_ms}"));
        match state.replies.pop_front().unwrap_or(Ok("null")) {
            Ok(reply) => {
                state.reply = reply.as_bytes().to_vec();
                reply.len() as i32
            }
            Err(code) => {
                state.reply =
                    format!(r#"{{"kind":"K","message":"{name}: {operation}: failed"}}"#).into_bytes();
                -code
            }
        }
    }

    fn reply(&mut self) -> Vec<u8> {
        self.0.borrow().reply.clone()
    }

    fn info(&mut self, object: i32) -> i64 {
        self.0.borrow().kinds[object as usize].1
    }

    fn int(&mut self, _object: i32, index: u32, operation: i32, a: i64, b: i64) -> i64 {
        let number = &mut self.0.borrow_mut().numbers[index as usize];
        let before = *number;
        *number = match operation {
            0 => before,
            1 | 2 => a,
            3 => before.wrapping_add(a),
            4 => before.wrapping_sub(a),
            5 => before.min(a),
            6 => before.max(a),
            7 => before & a,
            8 => before | a,
            9 => before ^ a,
            _ if before == a => b,
            _ => before,
        };
        before
    }

    fn float(&mut self, _object: i32, _index: u32, operation: i32, a: f64, _b: f64) -> f64 {
        let number = &mut self.0.borrow_mut().float;
        let before = *number;
        *number = match operation {
            0 => before,
            3 => before + a,
            _ => a,
        };
        before
    }
}

/// Returns objects of these kinds, whose names are those of the kinds.
fn objects() -> Rc<RefCell<State>> {
    let info = |kind: Kind, number: i64, count: i64| kind as i64 | number << 8 | count << 16;
    let state = State {
        kinds: vec![
            ("queue", info(Kind::Queue, 0, 0)),
            ("joinable", info(Kind::JoinableQueue, 0, 0)),
            ("pipe", info(Kind::Pipe, 0, 0)),
            ("dict", info(Kind::Dict, 0, 0)),
            ("list", info(Kind::List, 0, 0)),
            ("lock", info(Kind::Lock, 0, 0)),
            ("condition", info(Kind::Condition, 0, 0)),
            ("semaphore", info(Kind::Semaphore, 0, 0)),
            ("event", info(Kind::Event, 0, 0)),
            ("total", info(Kind::Value, 4, 1)),
            ("array", info(Kind::Array, 3, 4)),
            ("mean", info(Kind::Value, 10, 1)),
        ],
        ..State::default()
    };
    let state = Rc::new(RefCell::new(state));
    set_objects(Box::new(Fake(Rc::clone(&state))));
    state
}

fn replies(state: &Rc<RefCell<State>>, replies: &[Result<&'static str, i32>]) {
    state.borrow_mut().replies.extend(replies);
}

/// Returns the requests since the last call of this function.
fn notes(state: &Rc<RefCell<State>>) -> Vec<String> {
    std::mem::take(&mut state.borrow_mut().notes)
}

const TOKEN: &str = "00112233445566778899aabbccddeeff";

#[test]
fn an_object_comes_in_the_args_and_is_opened_once_in_a_call() {
    #[derive(Default)]
    struct Take;
    impl Model for Take {
        type Args = (Queue<u32>, u32);
        type Output = u32;
        fn runnable((queue, more): Self::Args) -> Result<u32, Error> {
            Ok(queue.get()? + queue.get_timeout(Duration::from_micros(1500))? + more)
        }
    }
    let state = objects();
    let args = format!(r#"[{{"object":"queue","token":"{TOKEN}"}},3]"#);
    for _ in 0..2 {
        replies(&state, &[Ok("1"), Ok("2")]);
        assert_eq!(testing::run::<Take>(&args), Ok(json!(6)));
        let open = format!(r#"open {{"object":"queue","token":"{TOKEN}"}}"#);
        assert_eq!(notes(&state), [&*open, "queue.get[] -1", "queue.get[] 2"]);
    }
    let error = testing::run::<Take>(r#"[{"token":"x"},3]"#).unwrap_err();
    assert_eq!(error.to_string(), "args[0] does not fit: missing field `object`");
}

#[test]
fn a_reference_that_lives_on_is_opened_anew_in_each_call() {
    let state = objects();
    let queue = Queue::<u8>::named("queue");
    for _ in 0..2 {
        begin_call();
        queue.put_nowait(&1).unwrap();
        queue.put(&2).unwrap();
        assert_eq!(notes(&state), ["open queue", "queue.put[1] 0", "queue.put[2] -1"]);
    }
}

#[test]
fn a_reference_is_passed_on_as_it_came_and_shows_no_token() {
    #[derive(Serialize, Deserialize)]
    struct Job {
        counts: Dict<String, u64>,
        next: Option<JoinableQueue<Job>>,
    }
    let json =
        format!(r#"{{"counts":{{"object":"dict","token":"{TOKEN}"}},"next":{{"object":"joinable"}}}}"#);
    let job: Job = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&job).unwrap(), json);
    let next = job.next.unwrap();
    assert_eq!(
        format!("{:?} {:?}", job.counts.clone(), next),
        r#"Dict("dict") JoinableQueue("joinable")"#
    );
}

#[test]
fn an_object_of_another_kind_is_refused_but_a_joinable_queue_is_a_queue() {
    let state = objects();
    let error = Dict::<String, u64>::named("queue").len().unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::WrongType);
    assert_eq!(error.to_string(), "`queue` is a queue, and not a dict");
    assert_eq!(
        JoinableQueue::<u8>::named("queue").join().unwrap_err().kind,
        ObjectErrorKind::WrongType
    );
    replies(&state, &[Ok("7")]);
    assert_eq!(Queue::<u8>::named("joinable").get(), Ok(7));
    let error = Value::<u64>::named("total").load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "value `total`: load: it has numbers of type i64, and not u64"
    );
}

#[test]
fn an_error_has_a_kind_and_a_message() {
    let state = objects();
    let error = Queue::<u8>::named("nothing").qsize().unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::NoSuchObject);
    replies(&state, &[Err(2), Err(99)]);
    let queue = Queue::<u8>::named("queue");
    let error = queue.put_nowait(&1).unwrap_err();
    assert_eq!(
        error,
        ObjectError::new(ObjectErrorKind::Full, "queue: put: failed")
    );
    assert_eq!(Error::from(error).to_string(), "queue: put: failed");
    assert_eq!(queue.get_nowait().unwrap_err().kind, ObjectErrorKind::Other);
}

#[test]
fn a_queue_that_stays_full_or_empty_says_so() {
    let state = objects();
    let queue = Queue::<u8>::named("queue");
    replies(&state, &[Err(3), Err(3)]);
    let put = queue.put_timeout(&1, Duration::from_millis(1)).unwrap_err();
    assert_eq!(put.kind, ObjectErrorKind::Full);
    let got = queue.get_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(got.kind, ObjectErrorKind::Empty);
}

#[test]
fn a_value_that_does_not_fit_is_named() {
    let state = objects();
    replies(&state, &[Ok("\"a\"")]);
    let error = Queue::<u8>::named("queue").get().unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::WrongType);
    assert!(
        error
            .to_string()
            .starts_with("queue `queue`: get: the value does not fit: invalid type: string \"a\""),
        "{error}"
    );
}

#[test]
fn iteration_ends_when_the_queue_is_closed() {
    let state = objects();
    replies(&state, &[Ok("1"), Ok("2"), Err(4)]);
    let items: Result<Vec<u8>, _> = Queue::named("queue").iter().collect();
    assert_eq!(items, Ok(vec![1, 2]));
    replies(&state, &[Ok("1"), Err(11)]);
    let mut items = Connection::<u8>::named("pipe");
    let items = &mut items;
    let items: Vec<_> = items.iter().take(2).collect();
    assert!(items[0].is_ok() && items[1].is_err());
}

#[test]
fn a_dict_is_read_in_pages() {
    let state = objects();
    let pages = [
        Ok(r#"{"page":[["a",1],["b",2]],"next":17}"#),
        Ok(r#"{"page":[["c",3]],"next":null}"#),
    ];
    replies(&state, &pages);
    let dict = Dict::<String, u8>::named("dict");
    let items = dict.items().unwrap();
    assert_eq!(items.len(), 3);
    assert_eq!(items[2], ("c".to_owned(), 3));
    let requests = notes(&state);
    assert_eq!(
        requests[1..],
        ["dict.items[null,1000] 0", "dict.items[17,1000] 0"]
    );

    replies(&state, &[Err(13), Ok("3"), Ok("4"), Ok("true")]);
    assert_eq!(dict.get("x"), Ok(None));
    assert_eq!(dict.pop("x"), Ok(Some(3)));
    assert_eq!(dict.add("x", 1), Ok(4));
    assert_eq!(dict.compare_and_swap("x", &4, &5), Ok(true));
    dict.update([(&"a".to_owned(), &1)]).unwrap();
    assert_eq!(
        notes(&state)[2..],
        [
            "dict.add[\"x\",1] 0",
            "dict.compare_and_swap[\"x\",4,5] 0",
            "dict.update[[[\"a\",1]]] 0"
        ]
    );
}

#[test]
fn a_slice_of_a_list_has_its_bounds() {
    let state = objects();
    let list = List::<u8>::named("list");
    replies(&state, &[Ok("[1]"), Ok("[]"), Ok("[1,2]"), Err(13)]);
    assert_eq!(list.slice(1..=2), Ok(vec![1]));
    assert_eq!(list.slice(..5), Ok(vec![]));
    assert_eq!(list.to_vec(), Ok(vec![1, 2]));
    assert_eq!(list.index(&9), Ok(None));
    assert_eq!(
        notes(&state)[1..],
        [
            "list.slice[1,3] 0",
            "list.slice[null,5] 0",
            "list.slice[null,null] 0",
            "list.index[9] 0"
        ]
    );
}

#[test]
fn a_guard_releases_once_and_knows_of_an_abandoned_lock() {
    let state = objects();
    let lock = Lock::named("lock");
    replies(&state, &[Ok(r#"{"abandoned":true}"#)]);
    let guard = lock.acquire().unwrap();
    assert!(guard.abandoned());
    guard.release().unwrap();
    replies(&state, &[Ok(r#"{"abandoned":false}"#)]);
    assert!(
        !lock
            .acquire_timeout(Duration::from_secs(1))
            .unwrap()
            .unwrap()
            .abandoned()
    );
    replies(&state, &[Err(3)]);
    assert!(lock.try_acquire().unwrap().is_none());
    assert_eq!(
        notes(&state),
        [
            "open lock",
            "lock.acquire[] -1",
            "lock.release[] 0",
            "lock.acquire[] 1000",
            "lock.release[] 0",
            "lock.acquire[] 0"
        ]
    );
}

#[test]
fn a_condition_is_waited_for_with_its_lock() {
    let state = objects();
    let condition = Condition::named("condition");
    replies(
        &state,
        &[
            Ok(r#"{"abandoned":false}"#),
            Ok(r#"{"notified":true,"abandoned":true}"#),
            Ok(r#"{"notified":false,"abandoned":false}"#),
        ],
    );
    let mut guard = condition.acquire().unwrap();
    guard.wait().unwrap();
    assert!(guard.abandoned(), "by the one that held the lock meanwhile");
    assert!(!guard.wait_timeout(Duration::from_millis(5)).unwrap());
    guard.notify(2).unwrap();
    drop(guard);
    assert_eq!(
        notes(&state)[1..],
        [
            "condition.acquire[] -1",
            "condition.wait[] -1",
            "condition.wait[] 5",
            "condition.notify[2] 0",
            "condition.release[] 0"
        ]
    );
}

#[test]
fn a_permit_is_given_back_unless_it_is_kept() {
    let state = objects();
    let semaphore = Semaphore::named("semaphore");
    replies(
        &state,
        &[
            Ok(r#"{"abandoned":true}"#),
            Ok("null"),
            Ok(r#"{"abandoned":false}"#),
        ],
    );
    assert!(semaphore.acquire().unwrap().abandoned());
    semaphore.acquire().unwrap().keep();
    semaphore.release().unwrap();
    assert_eq!(
        notes(&state)[1..],
        [
            "semaphore.acquire[] -1",
            "semaphore.release[] 0",
            "semaphore.acquire[] -1",
            "semaphore.release[] 0"
        ]
    );
    replies(&state, &[Err(3), Ok("null")]);
    let event = Event::named("event");
    assert_eq!(event.wait_timeout(Duration::ZERO), Ok(false));
    assert_eq!(event.wait_timeout(Duration::ZERO), Ok(true));
}

#[test]
fn numbers_need_no_requests() {
    let state = objects();
    let total = Value::<i64>::named("total");
    assert_eq!(total.add(5), Ok(0));
    assert_eq!(total.sub(7), Ok(5));
    assert_eq!(total.max(3), Ok(-2));
    assert_eq!(total.min(9), Ok(3));
    assert_eq!(total.or(12), Ok(3));
    assert_eq!(total.and(6), Ok(15));
    assert_eq!(total.xor(7), Ok(6));
    assert_eq!(total.swap(2), Ok(1));
    assert_eq!(total.compare_and_swap(1, 8), Ok(false));
    assert_eq!(total.compare_and_swap(2, 8), Ok(true));
    assert_eq!(total.load(), Ok(8));
    assert_eq!(notes(&state), ["open total"]);
    let mean = Value::<f64>::named("mean");
    mean.store(0.25).unwrap();
    assert_eq!(mean.add(0.5), Ok(0.25));
    assert_eq!(mean.load(), Ok(0.75));
}

#[test]
fn an_index_is_checked_before_the_host_would_trap() {
    let _state = objects();
    let array = Array::<i32>::named("array");
    assert_eq!(array.len(), Ok(4));
    array.store(3, -1).unwrap();
    assert_eq!(array.add(3, 1), Ok(-1));
    array.store_slice(0, &[1, 2]).unwrap();
    assert_eq!(array.slice(..2), Ok(vec![1, 2]));
    for error in [
        array.load(4).map(drop).unwrap_err(),
        array.slice(2..5).map(drop).unwrap_err(),
        array.slice(usize::MAX..=usize::MAX).map(drop).unwrap_err(),
        array.store_slice(3, &[1, 2]).unwrap_err(),
    ] {
        assert_eq!(error.kind, ObjectErrorKind::Missing, "{error}");
    }
    assert_eq!(
        array.load(4).unwrap_err().to_string(),
        "array `array`: load: index 4 of 4"
    );
}

#[test]
fn on_this_target_there_are_no_objects() {
    let error = Lock::named("lock").acquire().unwrap_err();
    assert_eq!(error.kind, ObjectErrorKind::Unavailable);
    assert_eq!(error.to_string(), "shared objects exist in mpwasm only");
}
