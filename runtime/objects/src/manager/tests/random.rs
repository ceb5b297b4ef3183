//! All rules under random requests, deaths, timeouts and cancellations, beside the simplest possible account of who holds what.
//!
//! After each event the account checks each reply, and looks for requests that wait for something that is free. With
//! `PROPTEST_CASES` there are more cases; a thousand have about 150 000 events.

use std::collections::BTreeSet;
use std::time::Duration;

use mpwasm_types::ids::{RequestId, TaskId};
use mpwasm_types::objects::ObjectErrorKind::Timeout;
use mpwasm_types::objects::{CallNumber, CallSource, ObjectId, Token};
use proptest::collection::vec;
use proptest::prelude::*;

use super::account::{Account, Request, number};
use super::world::{CALL, World};
use crate::keys::{CallKey, ClientId};
use crate::message::ClientMessage;

/// The objects: a name for messages, and what it is.
const OBJECTS: &[(&str, &str)] = &[
    ("first", "lock"),
    ("second", "lock"),
    ("third", "rlock"),
    ("total", "value:i64"),
    ("ready", "condition"),
    ("slots", "bounded-semaphore:2"),
    ("signals", "semaphore:1"),
    ("go", "event"),
    ("meet", "barrier:3"),
    ("numbers", "queue:3"),
    ("jobs", "joinable-queue:4"),
    ("left", "pipe"),
    ("seen", "dict"),
    ("results", "list"),
];

/// Operations that are requested, by the kind of object. `#` is a number that no other request has, and `@` one with many zeros behind
/// the point.
const OPERATIONS: &[(&str, &[(&str, &str)])] = &[
    ("lock", LOCK),
    ("rlock", LOCK),
    ("value:i64", LOCK),
    (
        "condition",
        &[
            ("acquire", "[]"),
            ("acquire", "[]"),
            ("wait", "[]"),
            ("notify", "[]"),
            ("notify_all", "[]"),
            ("release", "[]"),
        ],
    ),
    ("bounded-semaphore:2", LOCK),
    ("semaphore:1", LOCK),
    ("event", &[("set", "[]"), ("clear", "[]"), ("wait", "[]")]),
    (
        "barrier:3",
        &[
            ("wait", "[]"),
            ("wait", "[]"),
            ("wait", "[]"),
            ("abort", "[]"),
            ("reset", "[]"),
        ],
    ),
    ("queue:3", QUEUE),
    (
        "joinable-queue:4",
        &[
            ("put", "[#]"),
            ("put_many", "[[#,#,#]]"),
            ("get", "[]"),
            ("get_many", "[2]"),
            ("task_done", "[]"),
            ("join", "[]"),
        ],
    ),
    (
        "pipe",
        &[
            ("send", "[#]"),
            ("send", "[@]"),
            ("recv", "[]"),
            ("recv", "[]"),
            ("poll", "[]"),
        ],
    ),
    (
        "dict",
        &[
            ("set", "[#,#]"),
            ("pop", "[1]"),
            ("update", "[[[1,#],[2,#]]]"),
            ("clear", "[]"),
        ],
    ),
    (
        "list",
        &[
            ("append", "[#]"),
            ("pop", "[]"),
            ("insert", "[0,#]"),
            ("clear", "[]"),
        ],
    ),
];

const LOCK: &[(&str, &str)] = &[("acquire", "[]"), ("acquire", "[]"), ("release", "[]")];

const QUEUE: &[(&str, &str)] = &[
    ("put", "[#]"),
    ("put", "[#]"),
    ("put_many", "[[#,#,#]]"),
    ("get", "[]"),
    ("get", "[]"),
    ("get_many", "[2]"),
];

/// Memory of the manager, for a few long items.
const MEMORY: u64 = 4 << 20;

/// Zeros behind the point of a long item: three of them are more than a pipe holds.
const ZEROS: usize = 400_000;

/// Clients that are connected at once, and calls of each.
const CLIENTS: usize = 4;
const CALLS: usize = 2;

/// One thing that happens. Calls are numbered over all clients.
#[derive(Clone, Debug)]
enum Event {
    /// A request, unless the call has one that waits.
    Request {
        call: usize,
        object: usize,
        operation: prop::sample::Index,
        timeout: Option<Duration>,
    },
    End {
        call: usize,
        succeeded: bool,
    },
    Cancel(prop::sample::Index),
    Disconnect(usize),
    Pass(Duration),
}

fn event() -> impl Strategy<Value = Event> {
    let timeout = prop_oneof![
        4 => Just(None),
        2 => Just(Some(Duration::ZERO)),
        2 => (1..20u64).prop_map(|millis| Some(Duration::from_millis(millis))),
    ];
    let call = || 0..CLIENTS * CALLS;
    let request = (call(), 0..OBJECTS.len(), any::<prop::sample::Index>(), timeout);
    prop_oneof![
        40 => request.prop_map(|(call, object, operation, timeout)| Event::Request { call, object, operation, timeout }),
        3 => (call(), any::<bool>()).prop_map(|(call, succeeded)| Event::End { call, succeeded }),
        3 => any::<prop::sample::Index>().prop_map(Event::Cancel),
        1 => (0..CLIENTS).prop_map(Event::Disconnect),
        3 => (1..20u64).prop_map(|millis| Event::Pass(Duration::from_millis(millis))),
    ]
}

/// A manager with its objects and clients, and the account.
struct Run {
    world: World,
    account: Account,
    /// The tokens of the objects. Of a pipe, those of both ends.
    tokens: Vec<Vec<Token>>,
    /// The objects as the owner knows them.
    objects: Vec<ObjectId>,
    clients: Vec<ClientId>,
    next_call: u64,
    /// The current number of each call.
    calls: Vec<CallNumber>,
    next_item: u64,
    /// Bytes that are counted without clients and items.
    empty: u64,
}

impl Run {
    fn new() -> Self {
        let mut world = World::with_memory(MEMORY);
        let tokens: Vec<_> = OBJECTS
            .iter()
            .map(|(label, spec)| world.create(label, spec))
            .collect();
        let owner = world.owner;
        let objects = tokens
            .iter()
            .map(|tokens| world.open_token(owner, tokens[0]))
            .collect();
        tokens
            .iter()
            .flatten()
            .for_each(|token| _ = world.open_token(owner, *token));
        let mut run = Self {
            empty: world.objects.memory(),
            world,
            account: Account::default(),
            tokens,
            objects,
            clients: Vec::new(),
            next_call: 1,
            calls: vec![CallNumber(0); CLIENTS * CALLS],
            next_item: 0,
        };
        for slot in 0..CLIENTS {
            let client = run.connect(slot);
            run.clients.push(client);
        }
        run
    }

    /// Attaches a client, which opens all objects and starts its calls.
    fn connect(&mut self, slot: usize) -> ClientId {
        let client = self.world.objects.attach(self.world.pool).unwrap();
        self.tokens
            .iter()
            .flatten()
            .for_each(|token| _ = self.world.open_token(client, *token));
        (0..CALLS).for_each(|call| self.start(client, slot * CALLS + call));
        client
    }

    fn start(&mut self, client: ClientId, call: usize) {
        self.calls[call] = CallNumber(self.next_call);
        let task = TaskId(self.next_call);
        self.next_call += 1;
        self.world
            .start(client, self.calls[call], CallSource::Task { task, attempt: 1 });
    }

    fn key(&self, call: usize) -> CallKey {
        CallKey {
            client: self.clients[call / CALLS],
            call: self.calls[call],
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request {
                call,
                object,
                operation,
                timeout,
            } => {
                let key = self.key(call);
                if !self.account.is_waiting(key) {
                    self.request(key, object, operation, timeout);
                }
            }
            Event::End { call, succeeded } => {
                let key = self.key(call);
                self.account.ended(key, succeeded, false);
                let ended = ClientMessage::CallEnded {
                    call: key.call,
                    succeeded,
                };
                self.world.handle(key.client, ended).unwrap();
                self.start(key.client, call);
            }
            Event::Cancel(index) => {
                let mut waiting = self.account.waiting.iter();
                if let Some((id, request)) = waiting.nth(index.index(waiting.len().max(1))) {
                    self.world.cancel(request.call.client, *id);
                }
            }
            Event::Disconnect(slot) => {
                for call in slot * CALLS..(slot + 1) * CALLS {
                    self.account.ended(self.key(call), false, true);
                }
                self.world.disconnect(self.clients[slot]);
                self.replies();
                self.clients[slot] = self.connect(slot);
            }
            Event::Pass(time) => self.world.pass(time),
        }
        self.replies();
    }

    fn request(
        &mut self,
        key: CallKey,
        object: usize,
        operation: prop::sample::Index,
        timeout: Option<Duration>,
    ) {
        let kind = OBJECTS[object].1;
        let (_, operations) = OPERATIONS.iter().find(|(found, _)| *found == kind).unwrap();
        let (name, args) = operations[operation.index(operations.len())];
        let mut items = Vec::new();
        let mut text = String::new();
        for part in args.chars() {
            if !matches!(part, '#' | '@') {
                text.push(part);
                continue;
            }
            self.next_item += 1;
            items.push(self.next_item);
            text.push_str(&self.next_item.to_string());
            if part == '@' {
                text.push('.');
                text.extend(std::iter::repeat_n('0', ZEROS));
            }
        }
        // The calls of odd clients use the other end of a pipe.
        let side = key.client.0 as usize % self.tokens[object].len();
        let target = ObjectId(self.objects[object].0 + side as u64);
        let id = self.world.request_id();
        let message = ClientMessage::Call {
            id,
            call: key.call,
            object: target,
            operation: name,
            args: text.as_bytes(),
            timeout,
        };
        let request = Request {
            call: key,
            object,
            kind,
            operation: name,
            items,
            is_at_once: timeout == Some(Duration::ZERO),
            is_timed: timeout.is_some_and(|timeout| !timeout.is_zero()),
            depth: 0,
        };
        self.account.requested(id, request);
        self.world.handle(key.client, message).unwrap();
        if let Some(outcome) = self.world.outcome(id) {
            self.account.replied(id, outcome);
        }
    }

    /// Takes all replies.
    fn replies(&mut self) {
        let waiting: Vec<RequestId> = self.account.waiting.keys().copied().collect();
        for id in waiting {
            if let Some(outcome) = self.world.outcome(id) {
                self.account.replied(id, outcome);
            }
        }
        assert_eq!(
            self.world.untaken_replies(),
            0,
            "a request that does not wait got a reply"
        );
    }

    /// What holds after each event.
    fn check(&mut self) {
        let waiting = self.account.waiting.len();
        assert_eq!(
            self.world.status(self.world.owner).waiting.len(),
            waiting,
            "a request is lost"
        );
        if let Some(deadline) = self.world.objects.next_deadline() {
            assert!(deadline > self.world.now, "a timeout has passed");
        }
        self.account.check();
        for (object, (_, kind)) in OBJECTS.iter().enumerate() {
            let waits = |operation: &str| {
                let mut waiting = self.account.waiting.values();
                waiting.any(|request| request.object == object && request.operation.starts_with(operation))
            };
            let (gets, puts, joins, meets) = (waits("get"), waits("put"), waits("join"), waits("wait"));
            let mut ask = |name: &str| self.world.now(self.world.owner, self.objects[object], name, "[]");
            match *kind {
                "queue:3" | "joinable-queue:4" => {
                    assert!(
                        !gets || ask("empty") == Ok("true".to_owned()),
                        "{kind}: an item is there"
                    );
                    assert!(
                        !puts || ask("full") == Ok("true".to_owned()),
                        "{kind}: there is room"
                    );
                    assert!(!joins || ask("join") == Err(Timeout), "{kind}: all is done");
                }
                "barrier:3" if meets => {
                    assert_eq!(ask("broken"), Ok("false".to_owned()));
                    assert!(ask("waiting").unwrap().parse::<usize>().unwrap() < 3);
                }
                _ => {}
            }
        }
    }

    /// Ends all clients, and counts what is left.
    fn end(mut self) {
        for slot in 0..CLIENTS {
            for call in slot * CALLS..(slot + 1) * CALLS {
                self.account.ended(self.key(call), false, true);
            }
            self.world.disconnect(self.clients[slot]);
            self.replies();
        }
        assert!(self.account.waiting.is_empty());
        let status = self.world.status(self.world.owner);
        assert_eq!(status.holders, [], "something is held by nobody");
        let owner = self.world.owner;
        let mut left = BTreeSet::new();
        for (object, (_, kind)) in OBJECTS.iter().enumerate() {
            let ends =
                (0..self.tokens[object].len() as u64).map(|side| ObjectId(self.objects[object].0 + side));
            for end in ends {
                let take = if *kind == "pipe" { "recv" } else { "get" };
                if matches!(*kind, "queue:3" | "joinable-queue:4" | "pipe") {
                    while let Ok(item) = self.world.now(owner, end, take, "[]") {
                        assert!(left.insert(number(&item)), "item {item} is there twice");
                    }
                } else if matches!(*kind, "dict" | "list") {
                    self.world.now(owner, end, "clear", "[]").unwrap();
                }
            }
        }
        self.account.check_items(&left);
        // What the owner has leased is done, and it holds nothing.
        self.world.end(owner, true);
        self.world.start(owner, CALL, CallSource::Program);
        assert_eq!(
            self.world.objects.memory(),
            self.empty,
            "bytes are counted for nothing"
        );
    }
}

/// How many cases there are: this many, or as many as the environment says.
fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(default),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_rules_hold_whatever_happens(events in vec(event(), 0..300)) {
        let mut run = Run::new();
        for event in events {
            run.happen(event);
            run.check();
        }
        run.end();
    }
}
