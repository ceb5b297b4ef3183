//! The simplest account of who waits for what, who holds what, and where each item is.

use std::collections::{BTreeMap, BTreeSet};

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::ObjectErrorKind::{
    Broken, Closed, Deadlock, Empty, Full, Missing, NotOwner, OutOfMemory, Timeout,
};

use super::world::Outcome;
use crate::keys::CallKey;

/// Returns the number of an item, which may have zeros behind its point.
pub fn number(item: &str) -> u64 {
    let (number, _) = item.split_once('.').unwrap_or((item, ""));
    number.parse().expect("an item is a number")
}

/// A request for an operation.
#[derive(Clone, Debug)]
pub struct Request {
    pub call: CallKey,
    /// Index of the object.
    pub object: usize,
    pub kind: &'static str,
    pub operation: &'static str,
    /// The numbers in its arguments.
    pub items: Vec<u64>,
    /// Whether it does not wait.
    pub is_at_once: bool,
    /// Whether the wait ends by itself.
    pub is_timed: bool,
    /// How often the call had acquired the lock of the condition for which it waits.
    pub depth: u32,
}

/// What is known from the replies.
#[derive(Debug, Default)]
pub struct Account {
    pub waiting: BTreeMap<RequestId, Request>,
    /// Locks, conditions and permits by object and call: how often they were acquired.
    held: BTreeMap<(usize, CallKey), u32>,
    is_set: BTreeSet<usize>,
    /// Items that were put, those that were taken for good, and those that are leased, the oldest first.
    put: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    leased: Vec<(usize, CallKey, u64)>,
    /// Items of requests whose client was gone before their reply: some may be there.
    unknown: BTreeSet<u64>,
}

impl Account {
    /// Takes note of a request before its reply.
    pub fn requested(&mut self, id: RequestId, mut request: Request) {
        if (request.kind, request.operation) == ("condition", "wait") {
            request.depth = self.held.remove(&(request.object, request.call)).unwrap_or(0);
        }
        self.waiting.insert(id, request);
    }

    /// Takes note of a reply.
    pub fn replied(&mut self, id: RequestId, outcome: Outcome) {
        let request = self.waiting.remove(&id).expect("a reply is to a request");
        let Request { object, call, .. } = request;
        match (request.kind, request.operation, outcome) {
            ("condition", "wait", Ok(_)) => {
                assert_ne!(request.depth, 0, "it had the lock");
                self.acquired(&request, request.depth);
            }
            ("condition", "wait", Err(OutOfMemory)) if request.depth > 0 => {
                self.held.insert((object, call), request.depth);
            }
            ("condition", "wait", Err(NotOwner)) => assert_eq!(request.depth, 0, "it has the lock"),
            ("condition", "notify" | "notify_all", outcome) => {
                let is_held = self.held.contains_key(&(object, call));
                assert_eq!(outcome.is_ok(), is_held, "only the holder may notify");
            }
            (_, "acquire", Ok(_)) => self.acquired(&request, 1),
            (_, "release", Ok(_)) => self.released(&request),
            (_, "release", Err(NotOwner)) => {
                assert!(
                    !self.held.contains_key(&(object, call)),
                    "its holder may release it"
                );
            }
            (_, _, Err(Deadlock)) => assert!(!request.is_timed, "a wait with a timeout ends by itself"),
            ("event", "set", Ok(_)) => _ = self.is_set.insert(object),
            ("event", "clear", Ok(_)) => _ = self.is_set.remove(&object),
            (_, "put" | "send", Ok(_)) => self.put.extend(&request.items),
            (_, "put_many", Ok(count)) => {
                let count = count.parse().unwrap();
                self.put.extend(&request.items[..count]);
            }
            (_, "get" | "get_many" | "recv", Ok(items)) => self.got(&request, &items),
            (_, "task_done", outcome) => self.done(&request, outcome.is_ok()),
            ("dict" | "list", _, Err(Missing)) | (_, _, Ok(_)) => {}
            (_, _, Err(Timeout | Full | Empty | Broken | Closed | OutOfMemory)) => {}
            (kind, operation, outcome) => panic!("{kind}: {operation}: {outcome:?}"),
        }
    }

    fn acquired(&mut self, request: &Request, depth: u32) {
        let (object, call) = (request.object, request.call);
        let others = self
            .held
            .iter()
            .filter(|((held, by), _)| *held == object && *by != call);
        let others: u32 = others.map(|(_, count)| *count).sum();
        let own = self.held.entry((object, call)).or_default();
        match request.kind {
            "semaphore:1" => {}
            "bounded-semaphore:2" => assert!(*own + others < 2, "more permits than there are"),
            kind => {
                assert_eq!(others, 0, "{kind} {object} has two holders");
                assert!(*own == 0 || kind != "lock", "a lock is acquired twice");
            }
        }
        *own += depth;
    }

    fn released(&mut self, request: &Request) {
        let key = (request.object, request.call);
        match self.held.get_mut(&key) {
            Some(count) => {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(&key);
                }
            }
            None => assert_eq!(request.kind, "semaphore:1", "only its holder releases it"),
        }
    }

    fn got(&mut self, request: &Request, items: &str) {
        for item in items.trim_matches(['[', ']']).split(',') {
            let item = number(item);
            assert!(!self.taken.contains(&item), "item {item} is taken twice");
            assert!(
                self.leased.iter().all(|(_, _, leased)| *leased != item),
                "item {item} is leased"
            );
            match request.kind {
                "joinable-queue:4" => self.leased.push((request.object, request.call, item)),
                _ => _ = self.taken.insert(item),
            }
        }
    }

    fn done(&mut self, request: &Request, succeeded: bool) {
        let mut leased = self.leased.iter();
        let at = leased.position(|(object, call, _)| (*object, *call) == (request.object, request.call));
        assert_eq!(at.is_some(), succeeded, "only what is leased is done");
        if let Some(at) = at {
            self.taken.insert(self.leased.remove(at).2);
        }
    }

    /// Takes note of the end of a call. Its requests get their replies nevertheless, unless its client is gone.
    pub fn ended(&mut self, call: CallKey, succeeded: bool, is_gone: bool) {
        self.held.retain(|(_, by), _| *by != call);
        let (own, others) = self.leased.iter().partition(|(_, by, _)| *by == call);
        self.leased = others;
        if succeeded {
            let own: Vec<(usize, CallKey, u64)> = own;
            self.taken.extend(own.iter().map(|(_, _, item)| item));
        }
        if is_gone {
            let gone = self.waiting.values().filter(|request| request.call == call);
            self.unknown.extend(gone.flat_map(|request| &request.items));
            self.waiting.retain(|_, request| request.call != call);
        }
    }

    /// Returns whether a call has a request that waits.
    pub fn is_waiting(&self, call: CallKey) -> bool {
        self.waiting.values().any(|request| request.call == call)
    }

    /// Checks that nothing that is free is waited for, and that no waits form a cycle.
    pub fn check(&self) {
        for request in self.waiting.values() {
            let reacquires = (request.kind, request.operation) == ("condition", "wait");
            assert!(
                !request.is_at_once || reacquires,
                "it should not wait: {request:?}"
            );
            let holders = self
                .held
                .iter()
                .filter(|((object, _), _)| *object == request.object);
            let count: u32 = holders.map(|(_, count)| *count).sum();
            match (request.kind, request.operation) {
                ("bounded-semaphore:2", _) => assert_eq!(count, 2, "a permit is free: {request:?}"),
                ("semaphore:1", _) => {}
                (_, "acquire") => assert_ne!(count, 0, "a lock is free: {request:?}"),
                ("event", "wait") => {
                    assert!(!self.is_set.contains(&request.object), "it is set: {request:?}")
                }
                _ => {}
            }
            self.check_cycle(request);
        }
    }

    /// Follows the waits for locks from one of them.
    fn check_cycle(&self, first: &Request) {
        let mut next = first;
        for _ in 0..=self.waiting.len() {
            let is_lock = matches!(next.kind, "lock" | "rlock" | "value:i64" | "condition");
            if next.operation != "acquire" || next.is_timed || !is_lock {
                return;
            }
            let mut held = self.held.keys();
            let Some((_, holder)) = held.find(|(object, _)| *object == next.object) else {
                return;
            };
            let Some(waiting) = self.waiting.values().find(|request| request.call == *holder) else {
                return;
            };
            next = waiting;
        }
        panic!("a cycle of waits was not found: {first:?}");
    }

    /// Checks that these items, which are what is left in all objects, are those that were put and not taken.
    pub fn check_items(&self, left: &BTreeSet<u64>) {
        assert!(self.leased.is_empty());
        let known =
            |items: &BTreeSet<u64>| -> BTreeSet<u64> { items.difference(&self.unknown).copied().collect() };
        let expected: BTreeSet<u64> = self.put.difference(&self.taken).copied().collect();
        assert_eq!(known(left), expected, "items were lost or doubled");
        assert!(left.is_disjoint(&self.taken), "an item that was taken is there");
        assert!(
            known(&self.taken).is_subset(&self.put),
            "an item came from nowhere"
        );
    }
}
