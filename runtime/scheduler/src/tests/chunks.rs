//! Chunks: each item ends once, and a death in the middle costs those that may have run.

use std::time::Duration;

use bytes::Bytes;

use super::super::{
    Claim, Io, KillReason, ProtocolFault, RetireReason, ScheduledTask, Scheduler, SpawnReason, WorkerExit,
};
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, OfferId, TaskId, WorkerId};
use mpwasm_types::items;
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::task::{TaskInput, TaskSpec};
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::DISPATCHER_GRACE;

const W0: WorkerId = WorkerId(0);
const TIMEOUT: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_micros(1);

/// One worker that claims what it is offered at once, and has begun what the test says.
struct OneWorker {
    now: Time,
    /// What it was offered: the id of the first item, and how many there are.
    offers: Vec<(u64, u32)>,
    /// What was sent with the last of them.
    args: Bytes,
    begun: u64,
    killed: Vec<KillReason>,
    failed: Vec<(u64, Kind, bool)>,
}

impl OneWorker {
    fn new() -> Self {
        Self {
            now: Time(0),
            offers: Vec::new(),
            args: Bytes::new(),
            begun: 0,
            killed: Vec::new(),
            failed: Vec::new(),
        }
    }
}

impl Io for OneWorker {
    fn spawn(&mut self, _: WorkerId, _: &[GuestId], _: SpawnReason) {}

    fn offer(&mut self, _: WorkerId, task: &ScheduledTask) -> OfferId {
        let count = task.spec.input.count();
        self.offers.push((task.task_id().0, count));
        self.args = task.spec.input.bytes().clone();
        OfferId(self.offers.len() as u64)
    }

    fn revoke(&mut self, _: WorkerId, _: OfferId) -> bool {
        false
    }

    fn claimed_at(&mut self, _: WorkerId, _: OfferId) -> Option<Time> {
        Some(self.now)
    }

    fn last_begun(&mut self, _: WorkerId, _: OfferId) -> TaskId {
        TaskId(self.begun)
    }

    fn cancel(&mut self, _: WorkerId, _: OfferId) {}

    fn retire(&mut self, _: WorkerId, _: RetireReason) {}

    fn kill(&mut self, _: WorkerId, reason: &KillReason) {
        self.killed.push(reason.clone());
    }

    fn abandon(&mut self, _: WorkerId) {}

    fn attempt_failed(&mut self, task: &ScheduledTask, _: Claim, _: Failure) {
        panic!("task {} has no policy", task.id)
    }

    fn task_failed(&mut self, task: ScheduledTask, run: Option<Claim>, failure: Failure) {
        let ends = task
            .into_items()
            .map(|item| (item.id.0, failure.kind, run.is_some()));
        self.failed.extend(ends);
    }
}

/// A chunk of this many items.
fn chunk(id: u64, items: u32, args: Vec<u8>) -> ScheduledTask {
    let input = TaskInput::Chunk {
        items,
        args: args.into(),
    };
    assert!(input.is_well_formed());
    let spec = TaskSpec {
        guest: GuestId(0),
        model: ModelId(0),
        timeout: TIMEOUT,
        input,
    };
    ScheduledTask::new(DispatchId(id), spec, None)
}

/// A pool whose worker has a chunk of six items, with ids from 10 on, of which `ended` have ended.
fn with_chunk(ended: u64) -> (Scheduler, OneWorker) {
    let (mut scheduler, mut io) = (Scheduler::new(1, None, false), OneWorker::new());
    scheduler.guests_loaded(1);
    start(&mut scheduler, &mut io);
    let mut args = Vec::new();
    (10..16).for_each(|id: u64| items::put(&mut args, format!("[{id}]").as_bytes()));
    let chunk = chunk(10, 6, args);
    scheduler.accept(chunk, &mut io);
    scheduler.assign(io.now, &mut io);
    assert_eq!(io.offers, [(10, 6)]);
    for id in 10..10 + ended {
        assert_eq!(end(&mut scheduler, &mut io, 1), Ok((id, format!("[{id}]"))));
    }
    (scheduler, io)
}

fn start(scheduler: &mut Scheduler, io: &mut OneWorker) {
    io.now = io.now + Duration::from_secs(10);
    scheduler.assign(io.now, io);
    scheduler.worker_ready(W0, io.now).expect("it was started");
}

/// The worker tells the end of the next item: its id and args.
fn end(scheduler: &mut Scheduler, io: &mut OneWorker, offer: u64) -> Result<(u64, String), ProtocolFault> {
    let ended = scheduler.ended(W0, OfferId(offer), RUN, io.now, io)?;
    let args = String::from_utf8(ended.task.spec.input.bytes().to_vec()).expect("as they were given");
    Ok((ended.task.id.0, args))
}

#[test]
fn each_item_of_a_chunk_ends_once_with_its_own_args() {
    let (mut scheduler, mut io) = with_chunk(6);
    assert_eq!(end(&mut scheduler, &mut io, 1), Err(ProtocolFault::NotNext));
    assert_eq!(scheduler.open_tasks(), 0);
}

#[test]
fn a_worker_that_dies_costs_what_had_begun_and_was_not_reported() {
    let (mut scheduler, mut io) = with_chunk(2);
    // Items 12 and 13 have ended, untold, and 14 runs.
    io.begun = 14;
    let now = io.now;
    scheduler.worker_exited(W0, WorkerExit::Signal(9), now, &mut io);
    assert_eq!(io.failed, [12, 13, 14].map(|id| (id, Kind::Crash, true)));
    start(&mut scheduler, &mut io);
    let now = io.now;
    scheduler.assign(now, &mut io);
    assert_eq!(io.offers[1..], [(15, 1)]);
    assert_eq!(end(&mut scheduler, &mut io, 2), Ok((15, "[15]".to_owned())));
    assert_eq!(scheduler.open_tasks(), 0);
}

#[test]
fn what_is_left_of_a_chunk_is_offered_again_with_its_own_args() {
    let (mut scheduler, mut io) = (Scheduler::new(1, None, false), OneWorker::new());
    scheduler.guests_loaded(1);
    start(&mut scheduler, &mut io);
    let large = vec![b'x'; 3 * LARGE_PAYLOAD];
    let each: [&[u8]; 5] = [b"[0]", b"[1]", b"[2]", b"[3]", &large];
    let mut args = Vec::new();
    each.iter().for_each(|item| items::put(&mut args, item));
    let chunk = chunk(0, 5, args);
    scheduler.accept(chunk, &mut io);
    let now = io.now;
    scheduler.assign(now, &mut io);
    let assert_offered = |io: &OneWorker, first: usize| {
        assert_eq!(
            io.offers.last(),
            Some(&(first as u64, (each.len() - first) as u32))
        );
        assert!(items::iter(&io.args).eq(each[first..].iter().copied()));
    };
    assert_offered(&io, 0);
    for (begun, next) in [(0, 1), (2, 3)] {
        io.begun = begun;
        let now = io.now;
        scheduler.worker_exited(W0, WorkerExit::Signal(9), now, &mut io);
        start(&mut scheduler, &mut io);
        let now = io.now;
        scheduler.assign(now, &mut io);
        assert_offered(&io, next);
    }
    assert_eq!(end(&mut scheduler, &mut io, 3), Ok((3, "[3]".to_owned())));
    let (id, args) = end(&mut scheduler, &mut io, 3).expect("it is the last");
    assert!(id == 4 && args.as_bytes() == large);
    assert_eq!(io.failed, [0, 1, 2].map(|id| (id, Kind::Crash, true)));
    assert_eq!(scheduler.open_tasks(), 0);
}

#[test]
fn lies_about_what_has_begun_end_no_item_that_was_reported_and_none_twice() {
    for (begun, crashed) in [(0, 12..13), (10, 12..13), (15, 12..16), (u64::MAX, 12..16)] {
        let (mut scheduler, mut io) = with_chunk(2);
        io.begun = begun;
        let now = io.now;
        scheduler.worker_exited(W0, WorkerExit::Code(1), now, &mut io);
        let expected: Vec<_> = crashed.map(|id| (id, Kind::Crash, true)).collect();
        assert_eq!(io.failed, expected);
    }
}

#[test]
fn the_clock_begins_anew_with_each_item() {
    let (mut scheduler, mut io) = with_chunk(0);
    for _ in 0..4 {
        io.now = io.now + TIMEOUT / 2;
        let now = io.now;
        scheduler.tick(now, now, &mut io);
        assert!(end(&mut scheduler, &mut io, 1).is_ok());
    }
    assert_eq!(io.killed, []);
    io.begun = 14;
    io.now = io.now + TIMEOUT + DISPATCHER_GRACE;
    let now = io.now;
    scheduler.tick(now, now, &mut io);
    assert_eq!(io.killed, [KillReason::Overdue]);
    scheduler.worker_exited(W0, WorkerExit::Signal(9), now, &mut io);
    assert_eq!(io.failed, [(14, Kind::Timeout, true)]);
    assert_eq!(scheduler.open_tasks(), 1, "the last one had not begun");
}

/// The worker's clock of an item starts earlier than the dispatcher's.
#[test]
fn an_item_whose_worker_ends_by_its_watchdog_is_a_timeout_even_before_its_deadline_here() {
    for (exit, kind) in [
        (WorkerExit::Watchdog, Kind::Timeout),
        (WorkerExit::Code(1), Kind::Crash),
    ] {
        let (mut scheduler, mut io) = with_chunk(2);
        io.begun = 12;
        io.now = io.now + TIMEOUT / 2;
        let now = io.now;
        scheduler.worker_exited(W0, exit, now, &mut io);
        assert_eq!(io.failed, [(12, kind, true)]);
        assert_eq!(scheduler.open_tasks(), 1, "the others had not begun");
    }
}

/// Whoever was not run may be the dispatcher: what came in the meantime is unread, and may be the end that it waits for.
#[test]
fn no_task_is_late_before_the_time_up_to_which_events_were_handled() {
    let (mut scheduler, mut io) = with_chunk(0);
    let heard = io.now;
    io.now = io.now + 2 * (TIMEOUT + DISPATCHER_GRACE);
    let now = io.now;
    scheduler.tick(heard, now, &mut io);
    assert_eq!(io.killed, []);
    assert!(
        scheduler.next_wakeup().is_some_and(|at| at <= now),
        "it looks again at once"
    );
    assert!(end(&mut scheduler, &mut io, 1).is_ok());
    scheduler.tick(now, now, &mut io);
    assert_eq!(io.killed, []);
    // The next item's time began with that.
    io.now = io.now + TIMEOUT + DISPATCHER_GRACE;
    let now = io.now;
    scheduler.tick(now, now, &mut io);
    assert_eq!(io.killed, [KillReason::Overdue]);
}

#[test]
fn what_is_left_of_a_cancelled_chunk_does_not_run() {
    let (mut scheduler, mut io) = with_chunk(2);
    let now = io.now;
    assert!(scheduler.cancel(DispatchId(10), now, &mut io));
    io.begun = 12;
    scheduler.worker_exited(W0, WorkerExit::Signal(9), now, &mut io);
    let cancelled = |id| (id, Kind::Cancelled, id == 12);
    assert_eq!(io.failed, [12, 13, 14, 15].map(cancelled));
    assert_eq!(scheduler.open_tasks(), 0);
}

#[test]
fn a_chunk_that_was_not_started_ends_item_by_item() {
    let (mut scheduler, mut io) = (Scheduler::new(1, None, false), OneWorker::new());
    scheduler.guests_loaded(1);
    let mut args = Vec::new();
    (0..3).for_each(|_| items::put(&mut args, b"[]"));
    scheduler.accept(chunk(5, 3, args), &mut io);
    assert!(scheduler.cancel(DispatchId(5), io.now, &mut io));
    assert_eq!(io.failed, [5, 6, 7].map(|id| (id, Kind::Cancelled, false)));
}
