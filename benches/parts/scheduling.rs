//! Measures the scheduler's decisions for a task, from its acceptance to its end, with workers that reply immediately.

use std::collections::VecDeque;
use std::time::Duration;

use divan::Bencher;

use mpwasm_scheduler::{Claim, Io, KillReason, RetireReason, ScheduledTask, Scheduler, SpawnReason};
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::Failure;
use mpwasm_types::task::{TaskInput, TaskSpec};
use mpwasm_types::time::Time;

/// Tasks in flight, by worker and in order.
#[derive(Default)]
struct FakeWorkers {
    offers: VecDeque<(WorkerId, OfferId)>,
    spawned: Vec<WorkerId>,
    next: u64,
}

impl Io for FakeWorkers {
    fn spawn(&mut self, worker: WorkerId, _: &[GuestId], _: SpawnReason) {
        self.spawned.push(worker);
    }

    fn offer(&mut self, worker: WorkerId, _: &ScheduledTask) -> OfferId {
        self.next += 1;
        self.offers.push_back((worker, OfferId(self.next)));
        OfferId(self.next)
    }

    fn revoke(&mut self, _: WorkerId, _: OfferId) -> bool {
        false
    }

    fn claimed_at(&mut self, _: WorkerId, _: OfferId) -> Option<Time> {
        Some(Time(0))
    }

    fn last_begun(&mut self, _: WorkerId, _: OfferId) -> TaskId {
        TaskId(0)
    }

    fn cancel(&mut self, _: WorkerId, _: OfferId) {}
    fn retire(&mut self, _: WorkerId, _: RetireReason) {}
    fn kill(&mut self, _: WorkerId, _: &KillReason) {}
    fn abandon(&mut self, _: WorkerId) {}
    fn attempt_failed(&mut self, _: &ScheduledTask, _: Claim, _: Failure) {}
    fn task_failed(&mut self, _: ScheduledTask, _: Option<Claim>, _: Failure) {}
}

/// Measures 128 tasks with this number of workers.
#[divan::bench(args = [1, 2, 16, 64])]
fn schedule_128_tasks(bencher: Bencher<'_, '_>, workers: u32) {
    const TASKS: u64 = 128;
    let mut scheduler = Scheduler::new(workers, None, false);
    let mut workers = FakeWorkers::default();
    let mut now = Time(1_000_000_000);
    scheduler.guests_loaded(1);
    scheduler.assign(now, &mut workers);
    for worker in std::mem::take(&mut workers.spawned) {
        scheduler.worker_ready(worker, now).expect("it is ready once");
    }
    let mut id = 0;
    bencher.bench_local(|| {
        for _ in 0..TASKS {
            let args: Box<[u8]> = Box::from(*b"[]");
            let spec = TaskSpec {
                guest: GuestId(0),
                model: ModelId(0),
                timeout: Duration::from_secs(30),
                input: TaskInput::Json(args.into()),
            };
            scheduler.accept(ScheduledTask::new(DispatchId(id), spec, None), &mut workers);
            id += 1;
        }
        let mut ended = 0;
        while ended < TASKS {
            now = now + Duration::from_micros(50);
            scheduler.tick(now, now, &mut workers);
            scheduler.assign(now, &mut workers);
            for (worker, offer) in std::mem::take(&mut workers.offers) {
                let run = Duration::from_micros(6);
                let end = scheduler
                    .ended(worker, offer, run, now, &mut workers)
                    .expect("it was offered and claimed");
                drop(end);
                ended += 1;
            }
        }
    });
}
