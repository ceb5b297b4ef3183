//! The actions of the scheduler on the worker processes.

use std::io::Write;

use super::{Notice, WorkerSet, attempt};
use crate::dispatcher::finished::Finished;
use mpwasm_protocol::messages::{ToWorker, control};
use mpwasm_scheduler::{Claim, Io, KillReason, RetireReason, ScheduledTask, SpawnReason};
use mpwasm_system::inherited::explained;
use mpwasm_types::ids::{GuestId, OfferId, TaskId, WorkerId};
use mpwasm_types::outcome::Failure;
use mpwasm_types::time::Time;

impl Io for WorkerSet {
    fn spawn(&mut self, worker: WorkerId, guests: &[GuestId], reason: SpawnReason) {
        match self.start(worker, guests, reason) {
            Ok(process) => self.processes[worker.index()] = Some(process),
            Err(error) => self.failed_spawns.push((worker, explained(error).to_string())),
        }
    }

    fn offer(&mut self, worker: WorkerId, task: &ScheduledTask) -> OfferId {
        let number = self.worker_number(worker);
        let process = self.processes[worker.index()]
            .as_mut()
            .expect("the scheduler offers to live workers");
        let offer = process.slots.offer();
        let message = |input| ToWorker {
            offer,
            id: task.task_id(),
            attempt: task.attempt,
            spec: task.spec.map(|_| input),
        };
        process.outgoing.put_shared(task.spec.input.bytes(), message);
        let pid = process.child.pid();
        self.report_event(number, pid, Some((task.task_id(), task.attempt)), || {
            "assigned: it had the fewest tasks".to_owned()
        });
        offer
    }

    fn revoke(&mut self, worker: WorkerId, offer: OfferId) -> bool {
        // Without a process no task can start.
        self.process(worker)
            .is_none_or(|process| process.slots.revoke(offer))
    }

    fn claimed_at(&mut self, worker: WorkerId, offer: OfferId) -> Option<Time> {
        self.process(worker)?.slots.claimed(offer)
    }

    fn last_begun(&mut self, worker: WorkerId, offer: OfferId) -> TaskId {
        self.process(worker)
            .map_or(TaskId(0), |process| process.slots.begun(offer))
    }

    fn cancel(&mut self, worker: WorkerId, offer: OfferId) {
        if let Some(control) = self.process(worker).and_then(|process| process.control.as_mut()) {
            // The pipe is full only if the worker does not read. Its timeout ends it then.
            let _ = control.write(&control::cancel(offer));
        }
    }

    fn retire(&mut self, worker: WorkerId, reason: RetireReason) {
        let number = self.worker_number(worker);
        if let Some(process) = self.process(worker) {
            process.control = None;
            let pid = process.child.pid();
            self.report_event(number, pid, None, || format!("told to exit: {reason}"));
        }
    }

    fn kill(&mut self, worker: WorkerId, reason: &KillReason) {
        let number = self.worker_number(worker);
        if let Some(process) = self.process(worker) {
            process.child.kill();
            let pid = process.child.pid();
            self.report_event(number, pid, None, || format!("killed: {reason}"));
        }
    }

    fn abandon(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes[worker.index()].take() {
            let text = format!(
                "worker {} (pid {}) did not end after SIGKILL",
                self.worker_number(worker),
                process.child.pid()
            );
            self.notices
                .push(Notice::Warning(format!("{text}: it is given up")));
            self.abandon_process(process.child);
        }
    }

    fn attempt_failed(&mut self, task: &ScheduledTask, run: Claim, failure: Failure) {
        let ran = self.ran(&run).expect("a worker is removed after its tasks");
        self.failed_attempts
            .push((task.task_id(), attempt(task, &ran, &failure)));
    }

    fn task_failed(&mut self, task: ScheduledTask, run: Option<Claim>, failure: Failure) {
        let ran = run.and_then(|run| self.ran(&run));
        self.finished.extend(task.into_items().map(|task| Finished {
            task,
            ending: Err(failure.clone()),
            ran,
        }));
    }
}
