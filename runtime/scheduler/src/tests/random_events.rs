//! All rules under random events: workers that stop, die, lie and hang, and random requests of users.
//!
//! The simulator checks every action of the scheduler. Here are the invariants after each step and at the end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::simulator::Page;
use super::*;
use mpwasm_types::retry::Backoff;
use mpwasm_types::retry::MAX_WORKER_DEATHS;
use mpwasm_types::settings::MAX_LOADED_GUESTS;

/// When tasks are tried again.
#[derive(Clone, Debug)]
struct Policy {
    times: u32,
    on_trap: bool,
    on_timeout: bool,
    pause: Duration,
    crash_limit: u32,
}

impl Policy {
    fn retry(&self) -> Retry {
        let mut retry = Retry::times(self.times).crash_limit(self.crash_limit);
        for (kind, covered) in [(Kind::Trap, self.on_trap), (Kind::Timeout, self.on_timeout)] {
            if covered {
                retry = retry.also_on(kind);
            }
        }
        retry.backoff(Backoff::exponential(self.pause, Duration::from_secs(1)).jitter(50))
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    (0..5u32, any::<bool>(), any::<bool>(), duration(), 1..6u32).prop_map(
        |(times, on_trap, on_timeout, pause, crash_limit)| Policy {
            times,
            on_trap,
            on_timeout,
            pause,
            crash_limit,
        },
    )
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Push {
        behaviour: Behaviour,
        timeout: Duration,
        bytes: usize,
        count: usize,
        guest: prop::sample::Index,
        bad: u32,
        policy: Option<Policy>,
    },
    Cancel(prop::sample::Index),
    Load,
    Hold(bool),
    Await(bool),
    Drain,
    Interrupt,
    Terminate,
    Pass(Duration),
    /// The worker does `steps` steps and reports them now or later.
    Work {
        worker: u32,
        steps: usize,
        deliver: bool,
    },
    Stop(u32),
    Resume(u32),
    Wedge(u32),
    /// The worker takes `pace` to read a full socket.
    SlowDown {
        worker: u32,
        pace: Duration,
    },
    Die {
        worker: u32,
        exit: WorkerExit,
    },
    /// The worker claims all its offers in the page and sends a wrong frame.
    Lie {
        worker: u32,
        offer: prop::sample::Index,
        frame: u32,
        claim: bool,
    },
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => Just(Duration::ZERO),
        3 => (1..3000u64).prop_map(Duration::from_micros),
        1 => (1..3000u64).prop_map(Duration::from_millis),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let behaviour = prop_oneof![
        20 => duration().prop_map(Runs),
        4 => duration().prop_map(Behaviour::Waits),
        1 => Just(Behaviour::Hangs),
        1 => Just(Behaviour::Kills),
        2 => Just(Behaviour::Fails),
    ];
    let timeout = duration().prop_map(|time| time + Duration::from_millis(1));
    let bytes = prop_oneof![9 => 0..100usize, 1 => 0..400_000usize];
    let bad = prop_oneof![1 => Just(u32::MAX), 2 => 0..4u32];
    let retried = (bad, proptest::option::of(policy()));
    let push = (
        behaviour,
        timeout,
        bytes,
        1..20usize,
        any::<prop::sample::Index>(),
        retried,
    );
    // Whatever number of slots there is, each is as likely as the others.
    let worker = || 0..24u32;
    prop_oneof![
        20 => push.prop_map(|(behaviour, timeout, bytes, count, guest, (bad, policy))| {
            Event::Push { behaviour, timeout, bytes, count, guest, bad, policy }
        }),
        40 => (worker(), 1..20usize, prop::bool::weighted(0.8))
            .prop_map(|(worker, steps, deliver)| Event::Work { worker, steps, deliver }),
        10 => duration().prop_map(Event::Pass),
        3 => any::<prop::sample::Index>().prop_map(Event::Cancel),
        2 => Just(Event::Load),
        3 => any::<bool>().prop_map(Event::Hold),
        3 => any::<bool>().prop_map(Event::Await),
        3 => worker().prop_map(Event::Stop),
        2 => worker().prop_map(Event::Resume),
        1 => worker().prop_map(Event::Wedge),
        3 => (worker(), duration()).prop_map(|(worker, pace)| Event::SlowDown { worker, pace }),
        3 => (worker(), prop_oneof![Just(WorkerExit::Signal(9)), Just(WorkerExit::Code(1))])
            .prop_map(|(worker, exit)| Event::Die { worker, exit }),
        1 => (worker(), any::<prop::sample::Index>(), 0..4u32, any::<bool>())
            .prop_map(|(worker, offer, frame, claim)| Event::Lie { worker, offer, frame, claim }),
        1 => prop_oneof![5 => Just(Event::Drain), 1 => Just(Event::Interrupt), 1 => Just(Event::Terminate)],
    ]
}

impl Pool {
    #[expect(clippy::too_many_lines, reason = "to be divided")]
    fn happen(&mut self, event: Event) {
        let worker = |index: u32| WorkerId(index % self.simulator.processes.len() as u32);
        match event {
            Event::Push {
                behaviour,
                timeout,
                bytes,
                count,
                guest,
                bad,
                policy,
            } => {
                if self.simulator.guests > 0 && self.scheduler.phase != PoolPhase::Draining {
                    let all = self.simulator.guests as usize;
                    let first = guest.index(all);
                    (0..count).for_each(|number| {
                        // Some pushes are of one guest, others of one after the other.
                        let guest = (first + if count % 2 == 0 { 0 } else { number }) % all;
                        let retries = policy.as_ref().map_or(0, |policy| policy.times);
                        let retry = policy.as_ref().map(|policy| policy.retry());
                        let task = task(guest as u32, timeout, retry, bytes);
                        self.accept(task, behaviour, bad, retries);
                    });
                }
            }
            Event::Cancel(index) => {
                if !self.simulator.truth.is_empty() {
                    let id = index.index(self.simulator.truth.len());
                    let open = self.simulator.truth[id].ended.is_none();
                    assert_eq!(self.cancel(id as u64), open);
                }
            }
            Event::Load => self.load(),
            Event::Hold(held) => self.set_backpressure(held),
            Event::Await(unconfirmed) => self.scheduler.await_confirmation(unconfirmed),
            Event::Drain => self.scheduler.drain(),
            Event::Interrupt => self.interrupt(),
            Event::Terminate => self.terminate(),
            Event::Pass(time) => self.advance(time),
            Event::Work {
                worker: index,
                steps,
                deliver,
            } => {
                let worker = worker(index);
                for _ in 0..steps {
                    if deliver {
                        self.step(worker)
                    } else {
                        self.simulator.step(worker)
                    };
                }
            }
            Event::Stop(index) => self.change(worker(index), |process| process.stopped = true),
            Event::Resume(index) => self.change(worker(index), |process| process.stopped = false),
            Event::Wedge(index) => self.change(worker(index), |process| {
                process.stopped = true;
                process.unkillable = true;
            }),
            Event::SlowDown { worker: index, pace } => {
                self.change(worker(index), |process| process.pace = pace);
            }
            Event::Die { worker: index, exit } => self.exit(worker(index), exit),
            Event::Lie {
                worker: index,
                offer,
                frame,
                claim,
            } => self.lie(worker(index), offer, frame, claim),
        }
    }

    fn change(&mut self, worker: WorkerId, change: impl FnOnce(&mut simulator::SimulatedProcess)) {
        self.simulator.process(worker).as_mut().map(change);
    }

    fn lie(&mut self, worker: WorkerId, offer: prop::sample::Index, frame: u32, claim: bool) {
        let now = self.simulator.now;
        let Some(process) = &mut self.simulator.processes[worker.0 as usize] else {
            return;
        };
        if claim {
            for offer in &process.inbox {
                let slot = &mut self.simulator.slots[offer.0 as usize];
                if slot.page == Page::Offered {
                    slot.page = Page::Claimed(now + Duration::from_secs(9));
                    process.claims += 1;
                    self.simulator.truth[slot.task as usize].claims += 1;
                }
            }
        }
        let has_room = self.simulator.most.is_none_or(|most| process.claims <= most);
        assert!(has_room, "not even a liar gets at more tasks than it is for");
        process.lying = true;
        let offer = OfferId(offer.index(self.simulator.slots.len() + 1) as u64);
        let frame = match frame {
            0 => Frame::Skipped(offer),
            1 => Frame::Waiting(offer),
            2 => Frame::Resumed(offer),
            _ => Frame::Ended(offer, Duration::MAX),
        };
        process.sent.push_back(frame);
        self.deliver(worker);
    }

    /// What holds after each turn.
    fn check(&self) {
        let open = self
            .simulator
            .truth
            .iter()
            .filter(|truth| truth.ended.is_none())
            .count();
        assert_eq!(self.scheduler.open_tasks(), open, "every task is somewhere, once");
        let could_run = |process: &ProcessState| {
            let mut queued = self.scheduler.queue.iter();
            process.is_idle() && queued.any(|task| process.guests.contains(task.spec.guest))
        };
        let mut processes = self
            .scheduler
            .workers
            .iter()
            .filter_map(|worker| worker.process());
        assert!(
            self.scheduler.is_withholding()
                || !self.scheduler.has_room_to_compute()
                || !processes.any(could_run),
            "a worker idles while a task waits that it could run"
        );
        self.check_first();
        self.check_waits();
        if let Some(wakeup) = self.scheduler.next_wakeup() {
            assert!(wakeup > self.simulator.now, "the pool spins");
        }
    }

    /// Checks how many tasks run, and that nothing is in flight behind one that waits.
    fn check_waits(&self) {
        let simulator = &self.simulator;
        let runs = |process: &&simulator::SimulatedProcess| process.running.is_some() && !process.lying;
        let running = simulator.processes.iter().flatten().filter(runs).count();
        let most = simulator.size + simulator.max_waiting;
        assert!(running <= most as usize, "{running} tasks run at once");
        for worker in self.workers() {
            let process = simulator.processes[worker.index()].as_ref();
            let waits = process.is_some_and(|process| process.known_to_wait && !process.killed);
            assert!(
                !waits || simulator.unclaimed(worker).is_empty(),
                "tasks wait behind a waiting one"
            );
        }
    }

    /// Checks that a worker can take the first task, or that no worker gets a later one before it.
    fn check_first(&self) {
        let scheduler = &self.scheduler;
        let Some(first) = scheduler
            .queue
            .iter()
            .next()
            .filter(|_| !scheduler.is_withholding() && scheduler.has_room_to_compute())
        else {
            return;
        };
        let has_guest = |process: &&ProcessState| process.guests.contains(first.spec.guest);
        let processes = || scheduler.workers.iter().filter_map(|worker| worker.process());
        let idle = processes().any(|process| process.is_idle());
        let missing = processes()
            .filter(|process| matches!(process.lifecycle, Lifecycle::Starting | Lifecycle::Serving));
        assert!(
            !idle
                || missing.count() < scheduler.size as usize
                || scheduler.missing() > 0
                || processes().any(|process| has_guest(&process)),
            "the first task waits for a guest that no worker gets"
        );
    }

    fn check_end(&self) {
        let pool_failed = self.scheduler.pool_failure().is_some();
        for (id, truth) in self.simulator.truth.iter().enumerate() {
            let ended = truth.ended.as_ref().expect("every task ends");
            if let Some(failure) = ended
                && failure.kind == Kind::Crash
                && truth.claims == truth.tried
                && !pool_failed
            {
                if failure.message.contains("were to load its guest") {
                    continue;
                }
                let deaths = truth.deaths + truth.crashes;
                assert!(deaths >= MAX_WORKER_DEATHS, "task {id} was lost: {failure:?}");
            }
        }
    }
}

/// After how many tasks processes are replaced.
fn most() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![Just(None), Just(Some(1)), (2..20u32).prop_map(Some)]
}

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
    #![proptest_config(cases(6000))]

    /// Every accepted task ends exactly once, no attempt runs twice or in a process without its guest, and the pool ends.
    #[test]
    fn every_task_ends_once_under_random_events(
        most in most(),
        size in 1..5u32,
        max_waiting in prop_oneof![Just(0), 1..5u32],
        confirms in prop::bool::weighted(0.2),
        loaded in prop::bool::weighted(0.9),
        guests in prop_oneof![Just((0, MAX_LOADED_GUESTS)), (0..12u32, 1..6usize)],
        events in vec(event(), 0..150),
    ) {
        let pool = Pool::lending(size, max_waiting, most, confirms).with_guests(guests.0, guests.1);
        let mut pool = if loaded { pool.made_ready() } else { pool };
        for event in events {
            pool.happen(event);
            pool.turn();
            pool.check();
        }
        pool.set_backpressure(false);
        pool.scheduler.await_confirmation(false);
        pool.scheduler.drain();
        pool.finish();
        pool.check_end();
    }

    /// Where outcomes are confirmed, nothing begins after a task that ended before that is confirmed, but for what the other
    /// workers have in flight.
    #[test]
    fn no_task_begins_before_the_outcomes_so_far_are_confirmed(
        most in most(),
        size in 1..5u32,
        runs in vec(duration(), 1..60),
        decides in 1..40usize,
        order in vec(0..8u32, 0..400),
    ) {
        let mut pool = Pool::confirming(size, most).made_ready();
        for &run in &runs {
            pool.push_task(0, Runs(run), Duration::from_secs(9), 100);
        }
        for worker in order {
            let ended = pool.ended.len();
            pool.step(WorkerId(worker % pool.simulator.processes.len() as u32));
            pool.scheduler.await_confirmation(pool.ended.len() > ended);
            pool.turn();
            if pool.ended.len() >= decides {
                break;
            }
            // The parent has heard of it, and goes on.
            pool.scheduler.await_confirmation(false);
            pool.advance(Duration::from_micros(100));
            pool.turn();
        }
        let ended = pool.ended.len();
        pool.scheduler.await_confirmation(true);
        // Whatever happens until the order to end the pool arrives.
        for worker in pool.workers().chain(pool.workers()) {
            while pool.step(worker) {
                pool.turn();
            }
        }
        pool.interrupt();
        pool.scheduler.drain();
        pool.finish();
        let begun = pool.simulator.truth.iter().filter(|truth| truth.claims > 0).count();
        let others = size as usize - usize::from(ended >= decides);
        prop_assert!(begun <= ended + others, "{} began, {} had ended", begun, ended);
    }

    #[test]
    fn every_task_runs_however_slowly_workers_read(
        size in 1..5u32,
        pace in (1..4000u64).prop_map(Duration::from_millis),
        tasks in vec((duration(), prop_oneof![0..100usize, 0..2_000_000usize]), 1..20),
    ) {
        let mut pool = Pool::new(size);
        pool.simulator.pace = pace;
        pool.load();
        for &(run, bytes) in &tasks {
            pool.push_task(0, Runs(run), Duration::from_secs(9), bytes);
        }
        pool.scheduler.drain();
        pool.finish();
        prop_assert_eq!(pool.ended.len(), tasks.len());
    }

    /// A worker that no harm comes to runs its tasks in the order in which they were accepted.
    #[test]
    fn one_worker_runs_its_tasks_in_order(
        most in most(),
        runs in vec(duration(), 0..300),
        holds in vec(0..300usize, 0..10),
    ) {
        let mut pool = Pool::replaced(1, most).made_ready();
        for (id, &run) in runs.iter().enumerate() {
            pool.push_task(0, Runs(run), Duration::from_secs(9), 100);
            if holds.contains(&id) {
                pool.set_backpressure(true);
            }
            pool.step(WorkerId(0));
            pool.turn();
            pool.set_backpressure(false);
        }
        pool.scheduler.drain();
        pool.finish();
        prop_assert_eq!(pool.ended, Vec::from_iter(0..runs.len() as u64));
    }
}
