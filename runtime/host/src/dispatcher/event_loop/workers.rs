//! Handles the messages of workers and their exits.

use std::io;

use super::{EventLoop, ReadyWorker};
use crate::dispatcher::finished::Finished;
use crate::dispatcher::worker_messages::{self, EndedCall, WaitTarget, WorkerFault, WorkerMessage};
use crate::dispatcher::worker_set::{self, RunningWait, WorkerPhase};
use mpwasm_protocol::channel::Filled;
use mpwasm_protocol::messages::{Execution, FromDispatcher, Source};
use mpwasm_protocol::receive_buffer::{Frame, ReceiveBuffer};
use mpwasm_scheduler::{ScheduledTask, counted_length};
use mpwasm_types::ids::{OfferId, WorkerId};
use mpwasm_types::outcome::Failure;
use mpwasm_types::time::Time;

/// Most reads of one worker's socket in one turn. Each takes up to 64 KiB, and a socket holds about 200 KiB.
const MAX_READS: u32 = 8;

/// Most characters of the reason that a worker gives why it can't start.
const MAX_REASON: usize = 1000;

impl EventLoop {
    /// Handles the messages of a worker, and then its exit. Messages that it sent before its exit count.
    ///
    /// # Errors
    /// As [`Watched::set`](mpwasm_system::epoll::Watched::set).
    pub(super) fn handle_worker(&mut self, ready: ReadyWorker, now: Time) -> io::Result<()> {
        let ReadyWorker { worker, ended } = ready;
        let mut reads = 0;
        while let Some(process) = self.workers.process(worker).filter(|process| process.is_open()) {
            match process.channel.fill() {
                Ok(Filled::Some) => {}
                Ok(Filled::Nothing) => break,
                Ok(Filled::Closed) | Err(_) => self.workers.stop_reading(worker)?,
            }
            if let Err(why) = self.handle_frames(worker, now) {
                self.scheduler
                    .protocol_broken(worker, why.to_string(), now, &mut self.workers);
                self.workers.stop_reading(worker)?;
            }
            // All that had arrived when the wait began is read, as a later message may be overdue by then. The number of
            // reads is bounded, so that one worker does not keep the others waiting.
            reads += 1;
            let is_drained = self
                .workers
                .process(worker)
                .is_none_or(|process| process.channel.is_drained());
            if !ended && (is_drained || reads == MAX_READS) {
                break;
            }
        }
        if ended && let Some((pid, exit)) = self.workers.reap(worker) {
            self.scheduler.worker_exited(worker, exit, now, &mut self.workers);
            self.workers.remove(worker, pid);
        }
        Ok(())
    }

    /// Handles all complete frames of a worker.
    ///
    /// # Errors
    /// Returns how the worker broke the protocol.
    fn handle_frames(&mut self, worker: WorkerId, now: Time) -> Result<(), WorkerFault> {
        let Some(process) = self.workers.process(worker) else {
            return Ok(());
        };
        // The buffer is taken out during the call: frames are handled in place, while the worker set is borrowed, too.
        let mut inbox = process.channel.inbox().lend();
        let handled = self.handle_inbox(&mut inbox, worker, now);
        if let Some(process) = self.workers.process(worker) {
            *process.channel.inbox() = inbox;
        }
        handled
    }

    /// Handles all complete frames in `inbox`.
    fn handle_inbox(
        &mut self,
        inbox: &mut ReceiveBuffer,
        worker: WorkerId,
        now: Time,
    ) -> Result<(), WorkerFault> {
        while let Some(frame) = inbox.next_frame()? {
            let Some(process) = self.workers.process(worker) else {
                return Ok(());
            };
            let message =
                worker_messages::parse(frame.bytes, process.phase, &mut process.printed, &self.settings)?;
            match message {
                WorkerMessage::Hello => process.phase = WorkerPhase::Loading,
                WorkerMessage::Unable(why) => process.unable = Some(why.chars().take(MAX_REASON).collect()),
                WorkerMessage::Ready => {
                    process.phase = WorkerPhase::Ready;
                    self.worker_ready(worker, now)?;
                }
                WorkerMessage::Output(output) => {
                    let (id, attempt) = self.scheduler.running(worker).ok_or(WorkerFault::NoTask)?;
                    let source = Source::Task(id);
                    let at = Some((self.workers.worker_number(worker), attempt));
                    self.uplink.put(&FromDispatcher::Output { source, at, output });
                }
                WorkerMessage::Waiting(offer, target) => self.task_waits(worker, offer, target, now)?,
                WorkerMessage::Resumed(offer) => {
                    self.scheduler.resumed(worker, offer, now, &mut self.workers)?;
                    self.end_wait(worker);
                }
                WorkerMessage::Skipped(offer) => self.scheduler.skipped(worker, offer, now)?,
                WorkerMessage::Ended(ended) => self.task_ended(worker, frame, ended, now)?,
            }
        }
        Ok(())
    }

    /// Marks a worker as ready.
    fn worker_ready(&mut self, worker: WorkerId, now: Time) -> Result<(), WorkerFault> {
        let number = self.workers.worker_number(worker);
        if let Some(pid) = self.workers.process(worker).map(|process| process.child.pid()) {
            self.workers
                .report_event(number, pid, None, || "ready: it has loaded its guests".to_owned());
        }
        Ok(self.scheduler.worker_ready(worker, now)?)
    }

    /// Handles the report that a task waits for a shared object.
    fn task_waits(
        &mut self,
        worker: WorkerId,
        offer: OfferId,
        target: WaitTarget<'_>,
        now: Time,
    ) -> Result<(), WorkerFault> {
        if self.workers.lent_workers().is_none() {
            return Err(WorkerFault::NoObjects);
        }
        self.scheduler.waiting(worker, offer, now, &mut self.workers)?;
        if let Some(process) = self.workers.process(worker) {
            process.wait = Some(RunningWait {
                kind: target.kind,
                object: target.object.to_owned(),
                operation: target.operation.to_owned(),
                since: now,
            });
        }
        Ok(())
    }

    fn end_wait(&mut self, worker: WorkerId) {
        if let Some(process) = self.workers.process(worker) {
            process.wait = None;
        }
    }

    /// Handles the end of a task, whose result is a part of `frame`.
    fn task_ended(
        &mut self,
        worker: WorkerId,
        frame: Frame<'_>,
        reported: EndedCall<'_>,
        now: Time,
    ) -> Result<(), WorkerFault> {
        let EndedCall {
            offer,
            ending,
            run,
            measured,
        } = reported;
        let Some(pid) = self.workers.process(worker).map(|process| process.child.pid()) else {
            return Ok(());
        };
        let length = counted_length(run, measured.cpu);
        let ended = self
            .scheduler
            .ended(worker, offer, length, now, &mut self.workers)?;
        self.end_wait(worker);
        if ended.offer_length.is_some() {
            self.workers.release(worker, offer);
        }
        let claimed = ended.run.claimed;
        let ran = Execution {
            worker: self.workers.worker_number(worker),
            pid,
            claimed: self.workers.for_parent(claimed),
            run: run.min(now.since(claimed)),
            measured: Some(measured),
        };
        match ending {
            Ok(json) => self
                .callbacks
                .succeed(ended.task, (frame, json), ran, &mut self.uplink),
            Err(failure) => self.failed(ended.task, failure, ran, now),
        }
        Ok(())
    }

    /// Handles a failed attempt: the task is retried, or ends with this failure.
    fn failed(&mut self, task: ScheduledTask, failure: Failure, ran: Execution, now: Time) {
        if self.scheduler.tries_again(&task, failure.kind) {
            let attempt = worker_set::attempt(&task, &ran, &failure);
            self.uplink.put(&FromDispatcher::AttemptFailed {
                id: task.task_id(),
                attempt,
            });
            self.scheduler.try_again(task, failure.kind, now);
            return;
        }
        let (ending, ran) = (Err(failure), Some(ran));
        self.callbacks
            .finish(Finished { task, ending, ran }, &mut self.uplink);
    }
}
