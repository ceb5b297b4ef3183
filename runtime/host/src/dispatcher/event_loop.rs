//! The event loop: the one thread that owns the dispatcher's state.
//!
//! The descriptors to poll are derived from the state in each turn, so that no flag can go stale. Tasks are read only while
//! there is room for them and for their outcomes. The loop waits in its one call of poll and nowhere else.

mod requests;
mod tasks;
mod workers;

use mpwasm_system::clock;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags};

use super::callbacks::Callbacks;
use super::guest_artifact::GuestArtifact;
use super::worker_set::{Notice, WorkerSet};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{FromDispatcher, ToDispatcher, task_frame};
use mpwasm_protocol::request::Responder;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::{Scheduler, WorkerExit};
use mpwasm_system::poll::poll_until;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::bounded::cut;
use mpwasm_types::ids::WorkerId;
use mpwasm_types::settings::{OUTCOME_HIGH_WATER, Settings};
use mpwasm_types::time::Time;
use tasks::TaskPipe;

/// Most tasks that are queued in the dispatcher. The rest stays in the pipe, which is the backpressure of tasks.
const MAX_QUEUED: usize = 1024;
/// Most bytes of args that are queued in the dispatcher.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Turns what the parent, the workers and the callback thread send into events of the scheduler.
#[derive(Debug)]
pub struct EventLoop {
    settings: Settings,
    parent: Channel,
    /// Requests of the parent.
    requests: Responder,
    uplink: SendBuffer,
    pipe: TaskPipe,
    scheduler: Scheduler,
    workers: WorkerSet,
    callbacks: Callbacks,
    /// Outcomes that the parent has confirmed, where it does.
    confirmed: u64,
    /// Start of the last call of poll. What was sent before is handled.
    polled_at: Time,
    /// Whether the pool's failure was sent to the parent.
    failure_reported: bool,
}

/// The parent has ended or has broken the protocol. The dispatcher ends.
struct ParentLost;

/// The descriptors that are ready after a call of poll.
#[derive(Debug, Default)]
struct ReadyDescriptors {
    parent: bool,
    requests: bool,
    tasks: bool,
    /// Workers with something to read, and workers that have ended.
    workers: Vec<(WorkerId, bool, bool)>,
}

impl EventLoop {
    /// Creates the loop of a pool without guests. The workers are started with the first guest.
    pub fn new(
        parent: Channel,
        requests: Responder,
        tasks: OwnedFd,
        settings: Settings,
        workers: WorkerSet,
    ) -> io::Result<Self> {
        Ok(Self {
            parent,
            requests,
            uplink: SendBuffer::default(),
            pipe: TaskPipe::new(File::from(tasks), task_frame(settings.max_args)),
            scheduler: Scheduler::new(
                settings.size,
                settings.tasks_per_process(),
                settings.confirm_outcomes,
            ),
            workers,
            callbacks: Callbacks::new(settings.clone()),
            confirmed: 0,
            polled_at: clock::now(),
            settings,
            failure_reported: false,
        })
    }

    /// Runs until the pool or its parent has ended, then ends all workers.
    pub fn run(mut self) {
        mpwasm_system::process::exact_timers();
        let mut found = ReadyDescriptors::default();
        while let Ok(false) = self.turn(&mut found) {}
        self.workers.end();
    }

    /// Runs one turn. Returns true when the pool is over and all its messages were sent.
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
        self.answer_requests()?;
        if over {
            return self.flush_uplink();
        }
        if held && !self.is_held() {
            // Assigned tasks may go on, and no descriptor will become ready for that.
            return Ok(false);
        }
        self.wait(found);
        let now = clock::now();
        if found.parent {
            self.handle_parent()?;
        }
        // After the messages of the parent, as it sent them first.
        if found.requests {
            self.read_requests()?;
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

    /// Runs one turn while the pool is paused: only the parent is polled.
    fn turn_while_paused(&mut self) -> Result<bool, ParentLost> {
        self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        let interest = match self.uplink.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let found = self.wait_for_parent(interest)?;
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.handle_parent()?;
        }
        Ok(false)
    }

    /// Sends the workers their pending messages, as far as their sockets take them.
    fn send(&mut self, now: Time) {
        for worker in self.workers.flush() {
            self.scheduler.note_read(worker, now);
        }
    }

    /// Whether backpressure holds tasks back: too many outcomes are unread or wait for their callbacks.
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

    /// Passes ended tasks to the callbacks, and failed attempts, notices and a failure of the pool to the parent.
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
            // Nothing will run any more, so the dispatcher ends without an exit message. Tasks that are still in the pipe
            // get their outcomes from the parent.
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
        let interest_in_requests = self.interest_in_requests();
        fds.push(PollFd::new(self.requests.as_fd(), interest_in_requests));
        let tasks = self.wants_tasks().then_some(fds.len());
        if tasks.is_some() {
            fds.push(PollFd::new(self.pipe.file.as_fd(), PollFlags::POLLIN));
        }
        // Events of callbacks wait while the uplink is full.
        if let Some(callbacks) = self.callbacks.descriptor()
            && !self.uplink_is_full()
        {
            fds.push(PollFd::new(callbacks, PollFlags::POLLIN));
        }
        let mut workers = Vec::new();
        // Streamed output of commands has no cap. While the uplink is full it stays in the socket, and then the command
        // waits.
        let reads_workers = self.settings.capture || !self.uplink_is_full();
        for (worker, process) in self.workers.processes() {
            let socket = (process.is_open && reads_workers).then_some(fds.len());
            if socket.is_some() {
                fds.push(PollFd::new(
                    process.channel.as_fd(),
                    interest(!process.outgoing.is_empty()),
                ));
            }
            workers.push((worker, socket, fds.len()));
            fds.push(PollFd::new(process.child.as_fd(), PollFlags::POLLIN));
        }
        // A failed spawn is handled in the next turn, which must not wait.
        let until = match self.workers.failed_spawns.is_empty() {
            true => self.scheduler.next_wakeup().unwrap_or(Time::NEVER),
            false => clock::now(),
        };
        // Before the call, as it may return late. What is due by then is handled after another call, which does not wait.
        self.polled_at = clock::now();
        poll_until(&mut fds, until).expect("the dispatcher's descriptors are open");
        let readable = |index: usize| {
            let flags = fds[index].revents().unwrap_or(PollFlags::empty());
            flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
        };
        found.parent = readable(0);
        found.requests = readable(1);
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
            // After the end of a pause, which sets the clock back.
            let now = clock::now();
            match message {
                ToDispatcher::Load { has_checked } => {
                    let guest = self.receive_guest(has_checked)?;
                    self.load(Arc::new(guest), now);
                }
                ToDispatcher::Cancel { id } if id >= self.pipe.next_id => {
                    self.pipe.cancelled.insert(id);
                }
                ToDispatcher::Cancel { id } => {
                    self.scheduler.cancel(id, now, &mut self.workers);
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

    /// Takes the descriptors of a guest that have arrived with its message.
    fn receive_guest(&mut self, has_checked: bool) -> Result<GuestArtifact, ParentLost> {
        let mut descriptor = || self.parent.take_descriptor().ok_or(ParentLost);
        let info = in_memory::read(descriptor()?).map_err(|_| ParentLost)?;
        let artifact = File::from(descriptor()?);
        let checked_artifact = has_checked.then(descriptor).transpose()?.map(File::from);
        Ok(GuestArtifact {
            info,
            artifact,
            checked_artifact,
        })
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

    /// Ends the pool for a reason that the scheduler does not know.
    fn fail(&mut self, why: &str, now: Time) {
        if !self.failure_reported {
            self.failure_reported = true;
            self.uplink.put(&FromDispatcher::Failed(cut(why, MAX_NOTE)));
        }
        self.callbacks.terminate(&mut self.uplink);
        self.scheduler.terminate(now, &mut self.workers);
    }

    /// Sends the rest of the messages to the parent after the end of the pool, and waits for it to read them.
    fn flush_uplink(&mut self) -> Result<bool, ParentLost> {
        while !self.uplink.is_empty() {
            self.wait_for_parent(PollFlags::POLLOUT)?;
            self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        }
        Ok(true)
    }
}
