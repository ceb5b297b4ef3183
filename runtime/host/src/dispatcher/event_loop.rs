//! The event loop: the one thread that owns the dispatcher's state.
//!
//! What to wait for follows from the state each time anew, so that no flag can go stale: tasks are only read while
//! there is room for them and for their outcomes, and nobody is ever waited for but in the one poll.

use mpwasm_system::clock;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags};

use super::GuestArtifact;
use super::callbacks::{Callbacks, Finished};
use super::status;
use super::worker_messages::WorkerMessage;
use super::worker_set::{Notice, WorkerPhase, WorkerSet};
use crate::dispatcher::worker_messages;
use crate::dispatcher::worker_set;
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{Execution, FromDispatcher, Source, Submission, ToDispatcher, task_frame};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::{OfferId, Scheduler, Task, WorkerExit, WorkerId, counted_length};
use mpwasm_system::poll::poll_until;
use mpwasm_types::bounded::cut;
use mpwasm_types::outcome::Failure;
use mpwasm_types::retry::Retry;
use mpwasm_types::settings::{MAX_NOTE, OUTCOME_HIGH_WATER, Settings};
use mpwasm_types::time::Time;

/// Tasks that may wait for a worker in here; the pipe holds the rest back.
const MAX_QUEUED: usize = 1024;
/// Bytes of args that may.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// What is read from the pipe at once, bytes: some hundred tasks. More of them would not stay in the cache until they are sent
/// on. What has begun to come is read in pieces that double, as payloads are worth it.
const READ_SIZE: usize = 16 << 10;

/// Looks for what one worker says in one turn. Each finds 64 KiB if they are there, and a socket holds some 200.
const MAX_READS: u32 = 8;

/// Characters of a worker's reason why it can't start.
const MAX_REASON: usize = 1000;

/// The pipe through which tasks come.
#[derive(Debug)]
struct TaskPipe {
    file: File,
    inbox: ReceiveBuffer,
    /// Until the exit message, or the end of the file.
    is_open: bool,
    /// Tasks with smaller ids have come: they come in order, though some ids are of no task.
    next_id: u64,
    /// Tasks that were cancelled before they came: orders overtake the pipe.
    cancelled: HashSet<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct EventLoop {
    settings: Settings,
    /// When tasks that do not say are tried again.
    retry: Option<Arc<Retry>>,
    parent: Channel,
    uplink: SendBuffer,
    pipe: TaskPipe,
    scheduler: Scheduler,
    workers: WorkerSet,
    callbacks: Callbacks,
    /// Outcomes that the parent has confirmed, where it does.
    confirmed: u64,
    /// What had been said by then was heard.
    polled_at: Time,
    /// The pool's failure has been told.
    failure_reported: bool,
}

/// The parent is gone, or talks nonsense: there is nobody left to work for.
struct ParentLost;

/// What poll found.
#[derive(Debug, Default)]
struct ReadyDescriptors {
    parent: bool,
    tasks: bool,
    /// Workers with something to read, and workers that have ended.
    workers: Vec<(WorkerId, bool, bool)>,
}

impl EventLoop {
    /// A pool without guests: its workers are started with the first one.
    pub fn new(parent: Channel, tasks: OwnedFd, settings: Settings, workers: WorkerSet) -> io::Result<Self> {
        Ok(Self {
            parent,
            uplink: SendBuffer::default(),
            pipe: TaskPipe {
                file: File::from(tasks),
                inbox: ReceiveBuffer::new(task_frame(settings.max_args)),
                is_open: true,
                next_id: 0,
                cancelled: HashSet::new(),
            },
            scheduler: Scheduler::new(
                settings.size,
                settings.tasks_per_process(),
                settings.confirm_outcomes,
            ),
            workers,
            callbacks: Callbacks::new(settings.clone()),
            retry: policy(settings.retry),
            confirmed: 0,
            polled_at: clock::now(),
            settings,
            failure_reported: false,
        })
    }

    /// Runs until the pool is over or the parent is gone; no worker is left then.
    pub fn run(mut self) {
        mpwasm_system::process::exact_timers();
        let mut found = ReadyDescriptors::default();
        while let Ok(false) = self.turn(&mut found) {}
        self.workers.end();
    }

    /// One turn. True when the pool is over and the parent knows it all.
    fn turn(&mut self, found: &mut ReadyDescriptors) -> Result<bool, ParentLost> {
        if self.workers.is_paused() {
            return self.turn_while_paused();
        }
        let now = clock::now();
        self.send(now);
        self.scheduler.tick(self.polled_at, now, &mut self.workers);
        for (worker, why) in std::mem::take(&mut self.workers.failed_spawns) {
            self.scheduler
                .worker_exited(worker, WorkerExit::NeverStarted(why), now, &mut self.workers);
        }
        let held = self.is_held();
        self.scheduler.set_backpressure(held, now, &mut self.workers);
        if self.settings.confirm_outcomes {
            let confirmed = self.callbacks.are_confirmed(self.confirmed);
            self.scheduler.await_confirmation(!confirmed);
        }
        self.scheduler.assign(now, &mut self.workers);
        self.forward_decisions();
        let over = self.scheduler.is_finished()
            && self.callbacks.is_idle()
            && self.callbacks.conclude(self.failure_reported, &mut self.uplink);
        if over {
            self.uplink.put(&FromDispatcher::Finished);
        }
        self.send(now);
        self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        if over {
            return self.flush_uplink();
        }
        if held && !self.is_held() {
            // What was held back may go on, and nothing that poll could tell will say so.
            return Ok(false);
        }
        self.wait(found);
        let now = clock::now();
        if found.parent {
            self.handle_parent()?;
        }
        for (worker, readable, ended) in std::mem::take(&mut found.workers) {
            self.handle_worker(worker, readable, ended, now);
        }
        if found.tasks {
            self.read_tasks()?;
        }
        if !self.uplink_is_full()
            && let Err(why) = self.callbacks.receive(&mut self.uplink)
        {
            self.fail(&format!("callbacks can't run: {why}"), now);
        }
        Ok(false)
    }

    /// One turn while the pool is paused: nothing is heard but the parent.
    fn turn_while_paused(&mut self) -> Result<bool, ParentLost> {
        self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        let interest = match self.uplink.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let mut fds = [PollFd::new(self.parent.as_fd(), interest)];
        poll_until(&mut fds, Time::NEVER).map_err(|_| ParentLost)?;
        let found = fds[0].revents().unwrap_or(PollFlags::empty());
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.handle_parent()?;
        }
        Ok(false)
    }

    /// Sends workers what waits for them.
    fn send(&mut self, now: Time) {
        for worker in self.workers.flush() {
            self.scheduler.note_read(worker, now);
        }
    }

    /// Back-pressure: no task is assigned while the parent has enough to read, or callbacks pile up.
    fn is_held(&self) -> bool {
        self.uplink_is_full() || self.callbacks.is_full()
    }

    fn uplink_is_full(&self) -> bool {
        self.uplink.len() >= OUTCOME_HIGH_WATER
    }

    fn wants_tasks(&self) -> bool {
        let (tasks, bytes) = self.scheduler.queued();
        self.pipe.is_open && !self.is_held() && tasks < MAX_QUEUED && bytes < MAX_QUEUED_BYTES
    }

    /// What the scheduler has ended goes to the callbacks; what is worth telling is told.
    fn forward_decisions(&mut self) {
        for (id, attempt) in std::mem::take(&mut self.workers.tried) {
            self.uplink.put(&FromDispatcher::AttemptFailed { id, attempt });
        }
        for finished in std::mem::take(&mut self.workers.finished) {
            self.callbacks.finish(finished, &mut self.uplink);
        }
        for notice in std::mem::take(&mut self.workers.notices) {
            match notice {
                Notice::Warning(text) => self.uplink.put(&FromDispatcher::Warning(cut(&text, MAX_NOTE))),
                Notice::Event(event) => self.uplink.put(&FromDispatcher::Event(event)),
            }
        }
        if let Some(why) = self.scheduler.pool_failure()
            && !self.failure_reported
        {
            self.failure_reported = true;
            self.uplink.put(&FromDispatcher::Failed(cut(why, MAX_NOTE)));
            // Nothing will run any more: nobody needs to say so before the dispatcher ends. What is still in the pipe
            // gets its outcome from the parent.
            self.scheduler.drain();
        }
    }

    fn wait(&mut self, found: &mut ReadyDescriptors) {
        let interest = |writes: bool| {
            if writes {
                PollFlags::POLLIN | PollFlags::POLLOUT
            } else {
                PollFlags::POLLIN
            }
        };
        let mut fds = vec![PollFd::new(
            self.parent.as_fd(),
            interest(!self.uplink.is_empty()),
        )];
        let tasks = self.wants_tasks().then_some(fds.len());
        if tasks.is_some() {
            fds.push(PollFd::new(self.pipe.file.as_fd(), PollFlags::POLLIN));
        }
        // While the parent has enough to read, what callbacks have to say waits.
        if let Some(callbacks) = self.callbacks.descriptor()
            && !self.uplink_is_full()
        {
            fds.push(PollFd::new(callbacks, PollFlags::POLLIN));
        }
        let mut workers = Vec::new();
        // What commands print as it comes has no cap: while the parent has enough to read, it waits in the socket, and
        // then the command does.
        let hears = self.settings.capture || !self.uplink_is_full();
        for (worker, process) in self.workers.processes() {
            let socket = (process.is_open && hears).then_some(fds.len());
            if socket.is_some() {
                fds.push(PollFd::new(
                    process.channel.as_fd(),
                    interest(!process.outgoing.is_empty()),
                ));
            }
            workers.push((worker, socket, fds.len()));
            fds.push(PollFd::new(process.child.as_fd(), PollFlags::POLLIN));
        }
        // A process that could not be started has ended already.
        let until = match self.workers.failed_spawns.is_empty() {
            true => self.scheduler.next_wakeup().unwrap_or(Time::NEVER),
            false => clock::now(),
        };
        // Before, not after: it may take long to come back. What is due then is done after another look, which does not wait.
        self.polled_at = clock::now();
        poll_until(&mut fds, until).expect("the dispatcher's descriptors are open");
        let readable = |index: usize| {
            let flags = fds[index].revents().unwrap_or(PollFlags::empty());
            flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
        };
        found.parent = readable(0);
        found.tasks = tasks.is_some_and(readable);
        let workers = workers
            .into_iter()
            .map(|(worker, socket, exit)| (worker, socket.is_some_and(readable), readable(exit)));
        found
            .workers
            .extend(workers.filter(|&(_, readable, ended)| readable || ended));
    }

    fn handle_parent(&mut self) -> Result<(), ParentLost> {
        if self.parent.fill().map_err(|_| ParentLost)? == Filled::Closed {
            return Err(ParentLost);
        }
        while let Some(frame) = self.parent.inbox().next_message().map_err(|_| ParentLost)? {
            let message = decode(frame).map_err(|_| ParentLost)?;
            if matches!(message, ToDispatcher::Interrupt | ToDispatcher::Terminate) {
                self.workers.resume();
            }
            // The end of a pause sets the clock back.
            let now = clock::now();
            match message {
                ToDispatcher::Load => {
                    let info = self.parent.take_descriptor().ok_or(ParentLost)?;
                    let artifact = self.parent.take_descriptor().ok_or(ParentLost)?;
                    let guest = GuestArtifact {
                        info: in_memory::read(info).map_err(|_| ParentLost)?,
                        artifact: File::from(artifact),
                    };
                    self.load(Arc::new(guest), now);
                }
                ToDispatcher::Cancel { id } if id >= self.pipe.next_id => {
                    self.pipe.cancelled.insert(id);
                }
                ToDispatcher::Cancel { id } => {
                    self.scheduler.cancel(id, now, &mut self.workers);
                }
                ToDispatcher::GetStatus { request, task } => {
                    let all = (&mut self.scheduler, &mut self.workers, &self.callbacks);
                    let reply = status::answer(task, all, now);
                    self.uplink.put(&FromDispatcher::Status { request, reply });
                }
                ToDispatcher::Confirm { outcomes } => self.confirmed = outcomes,
                ToDispatcher::Pause => self.workers.pause(),
                ToDispatcher::Resume => self.workers.resume(),
                ToDispatcher::Interrupt => {
                    self.callbacks.interrupt();
                    self.scheduler.interrupt(now, &mut self.workers);
                }
                ToDispatcher::Terminate => {
                    self.callbacks.terminate(&mut self.uplink);
                    self.scheduler.terminate(now, &mut self.workers);
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, guest: Arc<GuestArtifact>, now: Time) {
        if let Err(error) = self.callbacks.load(&guest) {
            self.fail(
                &format!("the thread for callbacks can't be started: {error}"),
                now,
            );
        }
        self.workers.load(guest);
        self.scheduler.guests_loaded(self.workers.guests() as u32);
        self.uplink.put(&FromDispatcher::Loaded);
    }

    /// The pool can't go on, for a reason that the scheduler does not know.
    fn fail(&mut self, why: &str, now: Time) {
        if !self.failure_reported {
            self.failure_reported = true;
            self.uplink.put(&FromDispatcher::Failed(cut(why, MAX_NOTE)));
        }
        self.callbacks.terminate(&mut self.uplink);
        self.scheduler.terminate(now, &mut self.workers);
    }

    fn read_tasks(&mut self) -> Result<(), ParentLost> {
        let begun = self.pipe.inbox.begun();
        let space = self.pipe.inbox.space();
        let len = space.len().min(begun.max(READ_SIZE));
        match self.pipe.file.read(&mut space[..len]) {
            // Without an exit message that is a parent that died; the socket says so as well.
            Ok(0) => return Err(ParentLost),
            Ok(count) => self.pipe.inbox.filled(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(ParentLost),
        }
        let orphaned = |_: FrameError| ParentLost;
        while let Some(frame) = self.pipe.inbox.next_frame().map_err(orphaned)? {
            match decode(frame.bytes).map_err(orphaned)? {
                Submission::Task {
                    id,
                    guest,
                    model,
                    timeout,
                    retry,
                    args,
                } => {
                    let retry = retry.map_or_else(|| self.retry.clone(), policy);
                    let task = Task::new(id, guest, model, timeout, frame.keep(args)).with_retry(retry);
                    self.accept(task, id.saturating_add(1))?;
                }
                Submission::Chunk {
                    id,
                    guest,
                    model,
                    timeout,
                    items,
                    args,
                } => {
                    let args = frame.keep(args);
                    let task = Task::chunk(id, guest, model, timeout, items, args).ok_or(ParentLost)?;
                    self.accept(task, id.saturating_add(items.into()))?;
                }
                Submission::Exit => {
                    self.pipe.is_open = false;
                    self.scheduler.drain();
                }
            }
        }
        Ok(())
    }

    /// A task has come, or a chunk; the next one's id will be `next`.
    fn accept(&mut self, task: Task, next: u64) -> Result<(), ParentLost> {
        if task.guest as usize >= self.workers.guests() {
            return Err(ParentLost);
        }
        let id = task.id;
        self.scheduler.accept(task, &mut self.workers);
        self.pipe.next_id = next;
        // Looked up only when there are some: this runs for every task.
        if !self.pipe.cancelled.is_empty() && self.pipe.cancelled.remove(&id) {
            self.scheduler.cancel(id, clock::now(), &mut self.workers);
        }
        Ok(())
    }

    /// Handles what a worker said, and then its end. What it had said before it died counts.
    fn handle_worker(&mut self, worker: WorkerId, readable: bool, ended: bool, now: Time) {
        if readable || ended {
            let mut reads = 0;
            while let Some(process) = self.workers.process(worker).filter(|process| process.is_open) {
                match process.channel.fill() {
                    Ok(Filled::Some) => {}
                    Ok(Filled::Nothing) => break,
                    Ok(Filled::Closed) | Err(_) => process.is_open = false,
                }
                if let Err(why) = self.handle_frames(worker, now) {
                    self.scheduler
                        .protocol_broken(worker, why, now, &mut self.workers);
                    if let Some(process) = self.workers.process(worker) {
                        process.is_open = false;
                    }
                }
                // All that was there when poll began: its end may be what is waited for. But one that goes on and on does
                // not keep the others waiting.
                reads += 1;
                let is_drained = self
                    .workers
                    .process(worker)
                    .is_none_or(|process| process.channel.is_drained());
                if !ended && (is_drained || reads == MAX_READS) {
                    break;
                }
            }
        }
        if ended && let Some((pid, exit)) = self.workers.reap(worker) {
            self.scheduler.worker_exited(worker, exit, now, &mut self.workers);
            self.workers.remove(worker, pid);
        }
    }

    /// # Errors
    /// When the worker broke the protocol: with how.
    fn handle_frames(&mut self, worker: WorkerId, now: Time) -> Result<(), String> {
        let Some(process) = self.workers.process(worker) else {
            return Ok(());
        };
        // It is lent to this call: what a frame says is handled where it lies, while the worker set is used, too.
        let mut inbox = process.channel.inbox().lend();
        let handled = self.handle_inbox(&mut inbox, worker, now);
        if let Some(process) = self.workers.process(worker) {
            *process.channel.inbox() = inbox;
        }
        handled
    }

    /// # Errors
    /// When the worker broke the protocol: with how.
    fn handle_inbox(&mut self, inbox: &mut ReceiveBuffer, worker: WorkerId, now: Time) -> Result<(), String> {
        while let Some(frame) = inbox.next_frame().map_err(|error| error.to_string())? {
            let running = self.scheduler.running(worker);
            let seat = self.workers.worker_number(worker);
            let Some(process) = self.workers.process(worker) else {
                return Ok(());
            };
            let pid = process.child.pid();
            let message =
                worker_messages::parse(frame.bytes, process.phase, &mut process.printed, &self.settings)?;
            let task = || {
                running
                    .map(|(id, _)| Source::Task(id))
                    .ok_or("output without a running task")
            };
            match message {
                WorkerMessage::Hello => process.phase = WorkerPhase::Loading,
                WorkerMessage::Unable(why) => process.unable = Some(why.chars().take(MAX_REASON).collect()),
                WorkerMessage::Output { stream, bytes } => {
                    self.uplink.put(&FromDispatcher::Output {
                        source: task()?,
                        stream,
                        bytes,
                    });
                }
                WorkerMessage::Log { level, text } => {
                    self.uplink.put(&FromDispatcher::Log {
                        source: task()?,
                        level,
                        text,
                        at: running.map(|(_, attempt)| (seat, attempt)),
                    });
                }
                WorkerMessage::Ready => {
                    process.phase = WorkerPhase::Ready;
                    self.workers
                        .report_event(seat, pid, None, || "ready: it has loaded its guests".to_owned());
                    self.scheduler
                        .worker_ready(worker, now)
                        .map_err(|fault| fault.to_string())?;
                }
                WorkerMessage::Skipped(offer) => {
                    let offer = OfferId(offer.to_bits());
                    self.scheduler
                        .skipped(worker, offer, now)
                        .map_err(|fault| fault.to_string())?;
                }
                WorkerMessage::Ended {
                    offer,
                    ending,
                    run,
                    measured,
                } => {
                    let id = OfferId(offer.to_bits());
                    let ended = self
                        .scheduler
                        .ended(
                            worker,
                            id,
                            counted_length(run, measured.cpu),
                            now,
                            &mut self.workers,
                        )
                        .map_err(|fault| fault.to_string())?;
                    if ended.offer_length.is_some() {
                        self.workers.release(worker, offer);
                    }
                    let (task, claim) = (ended.task, ended.run);
                    let run = run.min(now.since(claim.claimed));
                    let ran = Execution {
                        worker: seat,
                        pid,
                        claimed: self.workers.for_parent(claim.claimed),
                        run,
                        measured: Some(measured),
                    };
                    match ending {
                        Ok(json) => self.callbacks.succeed(task, (frame, json), ran, &mut self.uplink),
                        Err(failure) => self.failed(task, failure, ran, now),
                    }
                }
            }
        }
        Ok(())
    }

    /// An attempt has failed in its worker. The task has another, or ends so.
    fn failed(&mut self, task: Task, failure: Failure, ran: Execution, now: Time) {
        if self.scheduler.tries_again(&task, failure.kind) {
            let attempt = worker_set::attempt(&task, &ran, &failure);
            self.uplink
                .put(&FromDispatcher::AttemptFailed { id: task.id, attempt });
            self.scheduler.try_again(task, failure.kind, now);
            return;
        }
        let (ending, ran) = (Err(failure), Some(ran));
        self.callbacks
            .finish(Finished { task, ending, ran }, &mut self.uplink);
    }

    /// The pool is over; what the parent has not read yet is all that is left to do.
    fn flush_uplink(&mut self) -> Result<bool, ParentLost> {
        while !self.uplink.is_empty() {
            let mut fds = [PollFd::new(self.parent.as_fd(), PollFlags::POLLOUT)];
            poll_until(&mut fds, Time::NEVER).map_err(|_| ParentLost)?;
            self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        }
        Ok(true)
    }
}

/// What the scheduler needs to know of a policy: nothing, when it never tries again.
fn policy(retry: Retry) -> Option<Arc<Retry>> {
    retry.is_any().then(|| Arc::new(retry))
}
