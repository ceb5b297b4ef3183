//! Simulates workers, their sockets and the shared page without processes.
//!
//! The simulator records which attempts really started and ended, and panics when the scheduler breaks a rule. Nothing happens by
//! itself: a test makes a worker take a step, stop, exit or send a wrong report.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::{Claim, Io, KillReason, MAX_UNREAD, RetireReason, ScheduledTask, SpawnReason, WorkerExit};
use super::truth::{Behaviour, Truth};
use mpwasm_types::ids::{GuestId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::MAX_LOADED_GUESTS;
use mpwasm_types::time::Time;

/// An action of the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn(u32),
    Offer(u32, u64),
    Revoke(u32, u64),
    Cancel(u32, u64),
    Retire(u32, RetireReason),
    Kill(u32, KillReason),
    Abandon(u32),
    Try(u64, Kind),
    Fail(u64, Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Offered,
    Revoked,
    Claimed(Time),
    Done(Time),
    /// What no honest worker writes.
    Nonsense,
}

#[derive(Debug)]
pub struct Slot {
    pub task: u64,
    pub page: Page,
    /// Bytes that the worker has not read.
    pub unread: usize,
}

/// Bytes that a worker reads at once: the capacity of its socket.
pub const SOCKET: usize = 100 << 10;

#[derive(Clone, Copy, Debug)]
pub enum Frame {
    Ready,
    Ended(OfferId, Duration),
    Skipped(OfferId),
    Waiting(OfferId),
    Resumed(OfferId),
}

/// How far the wait of a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    #[default]
    NotBegun,
    Waits,
    Over,
}

#[derive(Debug, Default)]
pub struct SimulatedProcess {
    pub ready: bool,
    pub guests: Vec<u32>,
    /// Tasks that it has claimed.
    pub claims: u32,
    pub inbox: VecDeque<OfferId>,
    /// Time that it takes to read a full socket.
    pub pace: Duration,
    /// When it will have read its socket.
    pub reads_until: Option<Time>,
    /// Whether it has made room in a socket that was full.
    pub note_read: bool,
    pub running: Option<OfferId>,
    /// How far the wait of the running task is.
    pub wait: Wait,
    /// Whether the scheduler was told that the running task waits.
    pub known_to_wait: bool,
    pub sent: VecDeque<Frame>,
    /// Whether SIGSTOP has stopped it: it does nothing, and can still be killed.
    pub stopped: bool,
    /// Whether it has sent a wrong report. It does nothing else then.
    pub lying: bool,
    /// Whether it is in an uninterruptible sleep (state D), so that SIGKILL has no effect.
    pub unkillable: bool,
    pub retiring: bool,
    pub killed: bool,
    pub exit: Option<WorkerExit>,
}

#[derive(Debug)]
pub struct Simulator {
    pub now: Time,
    /// Largest number of tasks of a process.
    pub most: Option<u32>,
    pub size: u32,
    /// Most further workers while tasks wait.
    pub max_waiting: u32,
    /// Whether no task may be started any more.
    pub over: bool,
    pub guests: u32,
    /// Most guests that a process may load.
    pub most_guests: usize,
    /// Processes that were started.
    pub starts: u32,
    /// Time that new processes take to read a full socket.
    pub pace: Duration,
    pub processes: Vec<Option<SimulatedProcess>>,
    /// By [`OfferId`]: the shared pages of all workers.
    pub slots: Vec<Slot>,
    /// By task id.
    pub truth: Vec<Truth>,
    pub log: Vec<Action>,
    /// The rules for offers in this turn.
    pub rules: Rules,
}

/// When a worker may be offered something.
#[derive(Debug, Default)]
pub struct Rules {
    pub held: bool,
    pub window: usize,
    /// By worker: whether it is stalled, retired or dead.
    pub barred: Vec<bool>,
}

impl Io for Simulator {
    fn spawn(&mut self, worker: WorkerId, guests: &[GuestId], reason: SpawnReason) {
        let pace = self.pace;
        let others = || {
            self.processes
                .iter()
                .flatten()
                .filter(|process| !process.retiring || process.killed)
        };
        let waiting = others()
            .filter(|process| process.known_to_wait && !process.killed)
            .count() as u32;
        let (others, most) = (others().count() as u32, self.size + waiting.min(self.max_waiting));
        assert!(others < most, "{others} processes, while {most} are allowed");
        assert!(reason == SpawnReason::Missing || waiting > 0, "nothing waits");
        assert!(self.guests > 0, "workers make sense only with a guest");
        assert!(guests.iter().all(|&guest| guest.0 < self.guests), "{guests:?}");
        assert!(guests.len() <= self.most_guests, "it loads too many guests");
        self.starts += 1;
        let slot = self.process(worker);
        assert!(slot.is_none(), "{worker:?} has a process");
        *slot = Some(SimulatedProcess {
            guests: guests.iter().map(|guest| guest.0).collect(),
            pace,
            ..SimulatedProcess::default()
        });
        self.log.push(Action::Spawn(worker.0));
    }

    fn offer(&mut self, worker: WorkerId, task: &ScheduledTask) -> OfferId {
        let offer = OfferId(self.slots.len() as u64);
        let truth = &self.truth[task.id.0 as usize];
        assert!(
            truth.ended.is_none() && truth.claims == truth.tried,
            "task {} is offered too often",
            task.id
        );
        assert!(!self.rules.held, "an offer while they are held back");
        assert!(
            !self.rules.barred[worker.0 as usize],
            "{worker:?} must not get offers"
        );
        let in_flight = self.in_flight(worker);
        let waiting = self.unclaimed(worker).len() as u32;
        let (window, most) = (self.rules.window, self.most);
        let process = self.process(worker).as_mut().expect("an offer needs a process");
        assert!(!process.known_to_wait, "it waits");
        assert!(
            in_flight < window || process.lying,
            "{in_flight} in flight, window {window}"
        );
        assert!(process.ready && !process.killed && !process.retiring);
        assert!(process.guests.contains(&task.spec.guest.0), "it lacks the guest");
        if let Some(most) = most {
            assert!(process.claims + waiting < most, "a process is for {most} tasks");
        }
        assert!(process.inbox.len() < MAX_UNREAD);
        process.inbox.push_back(offer);
        self.slots.push(Slot {
            task: task.id.0,
            page: Page::Offered,
            unread: task.size(),
        });
        self.log.push(Action::Offer(worker.0, task.id.0));
        offer
    }

    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        let slot = &mut self.slots[offer.0 as usize];
        assert_ne!(slot.page, Page::Revoked, "revoked twice");
        let revoked = slot.page == Page::Offered;
        if revoked {
            slot.page = Page::Revoked;
            self.log.push(Action::Revoke(worker.0, slot.task));
        }
        revoked
    }

    fn claimed_at(&mut self, _: WorkerId, offer: OfferId) -> Option<Time> {
        match self.slots[offer.0 as usize].page {
            Page::Claimed(at) | Page::Done(at) => Some(at),
            Page::Offered | Page::Revoked | Page::Nonsense => None,
        }
    }

    fn last_begun(&mut self, _: WorkerId, _: OfferId) -> TaskId {
        TaskId(0) // none of its tasks is a chunk
    }

    fn cancel(&mut self, worker: WorkerId, offer: OfferId) {
        let task = self.slots[offer.0 as usize].task;
        self.log.push(Action::Cancel(worker.0, task));
    }

    fn retire(&mut self, worker: WorkerId, reason: RetireReason) {
        let in_flight = self.in_flight(worker);
        let process = self.process(worker).as_mut().expect("only a process is retired");
        assert!(in_flight == 0 || process.lying, "{worker:?} has work");
        assert!(process.ready && !process.killed && !process.retiring);
        process.retiring = true;
        self.log.push(Action::Retire(worker.0, reason));
    }

    fn kill(&mut self, worker: WorkerId, reason: &KillReason) {
        let process = self.process(worker).as_mut().expect("only a process is killed");
        assert!(!process.killed, "killed twice");
        process.killed = true;
        self.log.push(Action::Kill(worker.0, reason.clone()));
    }

    fn abandon(&mut self, worker: WorkerId) {
        self.note_death(worker);
        let process = self.process(worker).take().expect("only a process is abandoned");
        assert!(process.killed, "abandoned without a kill");
        self.log.push(Action::Abandon(worker.0));
    }

    fn attempt_failed(&mut self, task: &ScheduledTask, run: Claim, failure: Failure) {
        self.log.push(Action::Try(task.id.0, failure.kind));
        assert!(!self.over, "nothing is started any more");
        assert!(run.claimed <= self.now);
        self.truth[task.id.0 as usize].try_again(failure.kind);
    }

    fn task_failed(&mut self, task: ScheduledTask, run: Option<Claim>, failure: Failure) {
        self.log.push(Action::Fail(task.id.0, failure.kind));
        let truth = &mut self.truth[task.id.0 as usize];
        assert!(truth.ended.is_none(), "task {} ended twice", task.id);
        assert_eq!(
            run.is_some(),
            truth.claims > truth.tried,
            "task {}: whether it ran",
            task.id
        );
        match failure.kind {
            Kind::Cancelled => assert!(truth.cancelled, "task {} was not cancelled", task.id),
            Kind::Timeout => assert!(run.is_some_and(|run| run.claimed + task.spec.timeout <= self.now)),
            kind => assert_eq!(kind, Kind::Crash),
        }
        truth.ended = Some(Some(failure));
    }
}

impl Simulator {
    pub fn new(size: u32, most: Option<u32>, max_waiting: u32) -> Self {
        Self {
            now: Time(1_000_000_000),
            most,
            size,
            max_waiting,
            over: false,
            guests: 0,
            most_guests: MAX_LOADED_GUESTS,
            starts: 0,
            pace: Duration::ZERO,
            processes: (0..WorkerId::slots(size + max_waiting, most))
                .map(|_| None)
                .collect(),
            slots: Vec::new(),
            truth: Vec::new(),
            log: Vec::new(),
            rules: Rules::default(),
        }
    }

    pub fn process(&mut self, worker: WorkerId) -> &mut Option<SimulatedProcess> {
        &mut self.processes[worker.0 as usize]
    }

    /// Lets a worker take its next step, if that is due. Returns whether it was.
    pub fn step(&mut self, worker: WorkerId) -> bool {
        let Some(process) = &mut self.processes[worker.0 as usize] else {
            return false;
        };
        if process.stopped || process.killed || process.lying || process.exit.is_some() {
            return false;
        }
        if !process.ready {
            process.ready = true;
            process.sent.push_back(Frame::Ready);
            return true;
        }
        if let Some(offer) = process.running {
            return self.end_running(worker, offer);
        }
        match process.inbox.front() {
            Some(&offer) => self.read(worker, offer),
            None => {
                if process.retiring {
                    process.exit = Some(WorkerExit::Code(0));
                }
                process.retiring
            }
        }
    }

    /// Ends the running task, if that is due. Returns whether it was.
    fn end_running(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        let now = self.now;
        let slot = &mut self.slots[offer.0 as usize];
        let Page::Claimed(claimed) = slot.page else {
            panic!("it runs what it has not claimed")
        };
        let truth = &self.truth[slot.task as usize];
        let process = self.processes[worker.0 as usize].as_mut();
        let process = process.expect("only a process runs a task");
        let waits = matches!(truth.behaviour(), Behaviour::Waits(_));
        if waits && process.wait == Wait::NotBegun {
            process.wait = Wait::Waits;
            process.sent.push_back(Frame::Waiting(offer));
            return true;
        }
        if truth.ends_at(claimed).is_none_or(|end| end > now) {
            return false;
        }
        // A cancelled task ends without the report that it waits no more.
        if process.wait == Wait::Waits && !truth.cancelled {
            process.wait = Wait::Over;
            process.sent.push_back(Frame::Resumed(offer));
            return true;
        }
        if matches!(truth.behaviour(), Behaviour::Kills) {
            process.exit = Some(WorkerExit::Signal(11));
            return true;
        }
        slot.page = Page::Done(claimed);
        process.running = None;
        process.sent.push_back(Frame::Ended(offer, now.since(claimed)));
        true
    }

    /// Reads a part of the first offer, if that is due, and claims or skips it once it is read. Returns whether it was due.
    fn read(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        let now = self.now;
        let slot = &mut self.slots[offer.0 as usize];
        let process = self.processes[worker.0 as usize].as_mut();
        let process = process.expect("only a process reads its offers");
        if *process.reads_until.get_or_insert(now + process.pace) > now {
            return false;
        }
        process.reads_until = None;
        process.note_read = slot.unread > SOCKET;
        slot.unread = slot.unread.saturating_sub(SOCKET);
        if slot.unread > 0 {
            return true;
        }
        process.inbox.pop_front();
        if slot.page == Page::Revoked {
            process.sent.push_back(Frame::Skipped(offer));
        } else {
            assert_eq!(slot.page, Page::Offered);
            slot.page = Page::Claimed(now);
            process.running = Some(offer);
            process.wait = Wait::NotBegun;
            process.claims += 1;
            let has_room = self.most.is_none_or(|most| process.claims <= most);
            assert!(has_room, "a process runs more tasks than it is for");
            let truth = &mut self.truth[slot.task as usize];
            truth.claims += 1;
            assert_eq!(truth.claims, truth.tried + 1, "task {} runs twice", slot.task);
        }
        true
    }

    /// Returns when the next step of a worker is due, if it can take one.
    pub fn next_step(&self, worker: WorkerId) -> Option<Time> {
        let process = self.processes[worker.0 as usize].as_ref()?;
        if process.stopped || process.killed || process.lying || process.exit.is_some() {
            return None;
        }
        if let Some(offer) = process.running {
            let slot = &self.slots[offer.0 as usize];
            let Page::Claimed(claimed) = slot.page else {
                return None;
            };
            let truth = &self.truth[slot.task as usize];
            if process.wait == Wait::NotBegun && matches!(truth.behaviour(), Behaviour::Waits(_)) {
                return Some(self.now);
            }
            return truth.ends_at(claimed);
        }
        if process.ready && !process.inbox.is_empty() {
            return process.reads_until.or(Some(self.now));
        }
        (!process.ready || process.retiring).then_some(self.now)
    }

    /// Counts the death of a worker for the tasks that it had not started.
    pub fn note_death(&mut self, worker: WorkerId) {
        for id in self.unclaimed(worker) {
            self.truth[id as usize].deaths += 1;
        }
    }

    /// Returns the tasks that were offered to a worker and that it has not started.
    pub fn unclaimed(&self, worker: WorkerId) -> Vec<u64> {
        let inbox = self.processes[worker.0 as usize]
            .iter()
            .flat_map(|process| &process.inbox);
        let slots = inbox.map(|offer| &self.slots[offer.0 as usize]);
        slots
            .filter(|slot| slot.page == Page::Offered)
            .map(|slot| slot.task)
            .collect()
    }

    /// Returns the number of offers to a worker that were not revoked, and whose end it has not reported.
    pub fn in_flight(&self, worker: WorkerId) -> usize {
        let Some(process) = &self.processes[worker.0 as usize] else {
            return 0;
        };
        let is_offered = |offer: &&OfferId| self.slots[offer.0 as usize].page != Page::Revoked;
        let ended = process
            .sent
            .iter()
            .filter(|frame| matches!(frame, Frame::Ended(..)));
        ended.count()
            + usize::from(process.running.is_some())
            + process.inbox.iter().filter(is_offered).count()
    }
}
