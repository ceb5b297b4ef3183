//! Tests of the scheduler: its rules one by one, and all of them against random events.

mod assignment;
mod cancellation;
mod chunks;
mod guests;
mod process_replacement;
mod protocol_faults;
mod random_events;
mod retry;
mod simulator;
mod stalls;
mod status;
mod timeouts;
mod truth;
mod waiting;
mod worker_exits;

use std::time::Duration;

use super::scheduler::PoolPhase;
use super::slot::{Lifecycle, ProcessState};
use super::{ProtocolFault, ScheduledTask, Scheduler, WorkerExit};
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, OfferId, WorkerId};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::retry::Retry;
use mpwasm_types::task::{TaskInput, TaskSpec};
use mpwasm_types::time::Time;
use simulator::{Action, Frame, Rules, Simulator};
use truth::{
    Behaviour::{self, Runs},
    Truth,
};

const W0: WorkerId = WorkerId(0);
const W1: WorkerId = WorkerId(1);
const SHORT: Behaviour = Runs(Duration::ZERO);
const LONG: Behaviour = Runs(Duration::from_secs(1000));
const MS: Duration = Duration::from_millis(1);

/// A task with args of this size. [`Pool::accept`] sets its id.
fn task(guest: u32, timeout: Duration, retry: Option<Retry>, bytes: usize) -> ScheduledTask {
    let spec = TaskSpec {
        guest: GuestId(guest),
        model: ModelId(0),
        timeout,
        input: TaskInput::Json(vec![0; bytes].into()),
    };
    ScheduledTask::new(DispatchId(0), spec, retry)
}

/// A scheduler with its simulator, and the part of the event loop between them.
struct Pool {
    scheduler: Scheduler,
    simulator: Simulator,
    /// In the order in which workers reported them.
    ended: Vec<u64>,
}

impl Pool {
    fn new(size: u32) -> Self {
        Self::replaced(size, None)
    }

    /// A pool whose processes are replaced after `most` tasks.
    fn replaced(size: u32, most: Option<u32>) -> Self {
        Self::with(size, most, false)
    }

    /// A pool whose tasks begin when all outcomes so far are confirmed.
    fn confirming(size: u32, most: Option<u32>) -> Self {
        Self::with(size, most, true)
    }

    fn with(size: u32, most: Option<u32>, confirms: bool) -> Self {
        Self::lending(size, 0, most, confirms)
    }

    /// A pool with up to `max_waiting` further workers while tasks wait.
    fn lending(size: u32, max_waiting: u32, most: Option<u32>, confirms: bool) -> Self {
        Self {
            scheduler: Scheduler::new(size, most, confirms).lending(max_waiting),
            simulator: Simulator::new(size, most, max_waiting),
            ended: Vec::new(),
        }
    }

    /// A pool whose workers are ready, with one guest.
    fn ready(size: u32) -> Self {
        Self::new(size).made_ready()
    }

    fn made_ready(mut self) -> Self {
        self.load();
        self.turn();
        self.work_all();
        self.simulator.log.clear();
        self
    }

    fn workers(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.simulator.processes.len() as u32).map(WorkerId)
    }

    /// Adds guests, of which each process loads at most `most`.
    fn with_guests(mut self, guests: u32, most: usize) -> Self {
        (self.simulator.most_guests, self.scheduler.guests_per_process) = (most, most);
        (0..guests).for_each(|_| self.load());
        self
    }

    fn load(&mut self) {
        self.simulator.guests += 1;
        self.scheduler.guests_loaded(self.simulator.guests);
    }

    fn push(&mut self, behaviour: Behaviour) -> u64 {
        self.push_task(0, behaviour, Duration::from_secs(1), 10)
    }

    fn push_task(&mut self, guest: u32, behaviour: Behaviour, timeout: Duration, bytes: usize) -> u64 {
        let task = task(guest, timeout, None, bytes);
        self.accept(task, behaviour, u32::MAX, 0)
    }

    /// Pushes a task with this behaviour in its first `bad` attempts, after which it ends at once.
    fn push_retried(&mut self, behaviour: Behaviour, bad: u32, retry: Retry, retries: u32) -> u64 {
        let task = task(0, Duration::from_secs(1), Some(retry), 10);
        self.accept(task, behaviour, bad, retries)
    }

    fn accept(&mut self, task: ScheduledTask, behaviour: Behaviour, bad: u32, retries: u32) -> u64 {
        let id = self.simulator.truth.len() as u64;
        self.simulator.truth.push(Truth {
            behaviour,
            bad,
            retries,
            timeout: task.spec.timeout,
            claims: 0,
            tried: 0,
            crashes: 0,
            deaths: 0,
            cancelled: self.scheduler.phase >= PoolPhase::Interrupted,
            ended: None,
        });
        let task = ScheduledTask::new(DispatchId(id), task.spec, task.retry);
        self.scheduler.accept(task, &mut self.simulator);
        id
    }

    /// Pushes `count` tasks that end at once.
    fn push_many(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.push(Runs(Duration::ZERO));
        });
    }

    fn advance(&mut self, time: Duration) {
        self.simulator.now = self.simulator.now + time;
    }

    /// The end of a turn of the event loop.
    fn turn(&mut self) {
        let now = self.simulator.now;
        self.scheduler.tick(now, now, &mut self.simulator);
        let serves = |process: &ProcessState| process.lifecycle == Lifecycle::Serving;
        self.simulator.rules = Rules {
            held: self.scheduler.backpressure || self.scheduler.unconfirmed,
            window: self.scheduler.window.tasks(),
            barred: self
                .scheduler
                .workers
                .iter()
                .map(|worker| !worker.process().is_some_and(serves))
                .collect(),
        };
        self.scheduler.assign(now, &mut self.simulator);
    }

    /// Advances the time, step by step, and turns whenever the scheduler asked for it.
    fn sleep(&mut self, time: Duration) {
        let end = self.simulator.now + time;
        while let Some(wakeup) = self.scheduler.next_wakeup().filter(|&wakeup| wakeup <= end) {
            self.simulator.now = self.simulator.now.max(wakeup);
            self.turn();
        }
        self.simulator.now = end;
        self.turn();
    }

    /// Brings what the worker has reported to the scheduler. Returns whether there was anything.
    fn deliver(&mut self, worker: WorkerId) -> bool {
        if let Some(process) = self.simulator.process(worker)
            && std::mem::take(&mut process.note_read)
        {
            self.scheduler.note_read(worker, self.simulator.now);
        }
        let sent = self
            .simulator
            .process(worker)
            .as_mut()
            .map(|process| std::mem::take(&mut process.sent));
        let frames = sent.unwrap_or_default();
        for &frame in &frames {
            if let Err(fault) = self.report(worker, frame) {
                let now = self.simulator.now;
                self.scheduler
                    .protocol_broken(worker, fault.to_string(), now, &mut self.simulator);
            }
        }
        !frames.is_empty()
    }

    fn report(&mut self, worker: WorkerId, frame: Frame) -> Result<(), ProtocolFault> {
        let now = self.simulator.now;
        match frame {
            Frame::Ready => self.scheduler.worker_ready(worker, now),
            Frame::Skipped(offer) => self.scheduler.skipped(worker, offer, now),
            Frame::Waiting(offer) => {
                self.scheduler.waiting(worker, offer, now, &mut self.simulator)?;
                self.note_wait(worker, true);
                Ok(())
            }
            Frame::Resumed(offer) => {
                self.scheduler.resumed(worker, offer, now, &mut self.simulator)?;
                self.note_wait(worker, false);
                Ok(())
            }
            Frame::Ended(offer, run) => {
                let ended = self
                    .scheduler
                    .ended(worker, offer, run, now, &mut self.simulator)?;
                self.note_wait(worker, false);
                let (task, run) = (ended.task, ended.run);
                assert_eq!(run.worker, worker);
                assert!(run.claimed <= now);
                let truth = &mut self.simulator.truth[task.id.0 as usize];
                assert!(truth.ended.is_none(), "task {} ended twice", task.id);
                let failed = matches!(truth.behaviour(), Behaviour::Fails);
                if failed && self.scheduler.tries_again(&task, Kind::Trap) {
                    truth.try_again(Kind::Trap);
                    assert!(!self.simulator.over, "nothing is started any more");
                    self.scheduler.try_again(task, Kind::Trap, now);
                    return Ok(());
                }
                truth.ended = Some(failed.then(|| Failure::new(Kind::Trap, "it fails")));
                self.ended.push(task.id.0);
                Ok(())
            }
        }
    }

    fn note_wait(&mut self, worker: WorkerId, waits: bool) {
        if let Some(process) = self.simulator.process(worker) {
            process.known_to_wait = waits;
        }
    }

    /// The process is reaped, after what it sent has arrived.
    fn exit(&mut self, worker: WorkerId, exit: WorkerExit) {
        self.deliver(worker);
        self.simulator.note_death(worker);
        if self.simulator.process(worker).take().is_some() {
            let now = self.simulator.now;
            self.scheduler
                .worker_exited(worker, exit, now, &mut self.simulator);
        }
    }

    /// Lets a worker do one thing, and what follows from it.
    fn step(&mut self, worker: WorkerId) -> bool {
        let stepped = self.simulator.step(worker);
        let stepped = self.deliver(worker) || stepped;
        if let Some(process) = self.simulator.process(worker)
            && let Some(exit) = process
                .exit
                .clone()
                .or((process.killed && !process.unkillable).then_some(WorkerExit::Signal(9)))
        {
            self.exit(worker, exit);
            return true;
        }
        stepped
    }

    /// Lets all workers do whatever they can do without the clock.
    fn work_all(&mut self) {
        loop {
            self.turn();
            let stepped = self.workers().filter(|&worker| self.step(worker)).count();
            if stepped == 0 {
                return;
            }
        }
    }

    fn cancel(&mut self, id: u64) -> bool {
        let truth = &mut self.simulator.truth[id as usize];
        truth.cancelled = truth.cancelled || truth.ended.is_none();
        self.scheduler
            .cancel(DispatchId(id), self.simulator.now, &mut self.simulator)
    }

    fn set_backpressure(&mut self, held: bool) {
        self.scheduler
            .set_backpressure(held, self.simulator.now, &mut self.simulator);
    }

    fn interrupt(&mut self) {
        self.simulator
            .truth
            .iter_mut()
            .for_each(|truth| truth.cancelled |= truth.claims == truth.tried);
        self.simulator.over = true;
        self.scheduler.interrupt(self.simulator.now, &mut self.simulator);
    }

    fn terminate(&mut self) {
        self.simulator
            .truth
            .iter_mut()
            .for_each(|truth| truth.cancelled = true);
        self.simulator.over = true;
        self.scheduler.terminate(self.simulator.now, &mut self.simulator);
    }

    /// What the scheduler did since this was last asked.
    fn log(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.simulator.log)
    }

    fn lifecycle(&self, worker: u32) -> Option<&Lifecycle> {
        Some(&self.scheduler.workers[worker as usize].process()?.lifecycle)
    }

    /// Lets time pass until the pool is finished. Fails if the pool waits forever.
    fn finish(&mut self) {
        for _ in 0..1_000_000 {
            self.work_all();
            if self.scheduler.is_finished() {
                return;
            }
            let steps = self
                .workers()
                .filter_map(|worker| self.simulator.next_step(worker));
            let next = steps
                .chain(self.scheduler.next_wakeup())
                .min()
                .expect("the pool waits for nothing");
            assert!(next > self.simulator.now, "the pool spins");
            self.simulator.now = next;
        }
        panic!("the pool does not come to its end");
    }

    /// Lets a worker get to know tasks of this length: the window is set by them.
    fn accustom(&mut self, run: Duration) {
        for _ in 0..100 {
            self.scheduler.window.observe(run);
        }
    }

    fn offered(&mut self) -> Vec<(u32, u64)> {
        let offers = self.log().into_iter().filter_map(|did| match did {
            Action::Offer(worker, task) => Some((worker, task)),
            _ => None,
        });
        offers.collect()
    }

    fn failure(&self, id: u64) -> &Failure {
        let ended = self.simulator.truth[id as usize]
            .ended
            .as_ref()
            .expect("it has ended");
        ended.as_ref().expect("it has failed")
    }

    fn succeeded(&self, id: u64) -> bool {
        matches!(self.simulator.truth[id as usize].ended, Some(None))
    }

    fn stop(&mut self, worker: WorkerId) {
        self.simulator
            .process(worker)
            .as_mut()
            .expect("a process")
            .stopped = true;
    }

    /// Makes the worker take `pace` to read a full socket.
    fn slow_down(&mut self, worker: WorkerId, pace: Duration) {
        self.simulator.process(worker).as_mut().expect("a process").pace = pace;
    }

    /// Lets time pass until the pool is finished, at most `limit`.
    fn finish_within(&mut self, limit: Duration) {
        let end = self.simulator.now + limit;
        self.finish();
        assert!(
            self.simulator.now <= end,
            "{:?} too late",
            self.simulator.now.since(end)
        );
    }

    fn resume(&mut self, worker: WorkerId) {
        self.simulator
            .process(worker)
            .as_mut()
            .expect("a process")
            .stopped = false;
    }

    fn die(&mut self, worker: WorkerId) {
        self.exit(worker, WorkerExit::Signal(9));
    }
}
