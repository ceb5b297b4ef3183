//! The event loop: the one thread that owns the dispatcher's state.
//!
//! The descriptors to wait for are derived from the state in each turn, so that no flag can go stale. Only changes are passed
//! to the kernel. Tasks are read only while there is room for them and for their outcomes. The loop waits for its descriptors in
//! [`EventLoop::wait`] and nowhere else, but for a pause, which waits for the parent alone.

mod requests;
mod task_pipe;
mod tasks;
mod workers;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::poll::PollFlags;

use super::callbacks::Callbacks;
use super::descriptor::WatchedDescriptor;
use super::guest_artifact::GuestArtifact;
use super::limits::OUTCOME_HIGH_WATER;
use super::pool_connection::PoolConnection;
use super::wake_up::WakeUp;
use super::worker_set::{Notice, WorkerSet};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{ControlRequest, FromDispatcher, ToDispatcher, task_frame};
use mpwasm_protocol::request::Responder;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::{Scheduler, WorkerExit};
use mpwasm_system::clock;
use mpwasm_system::epoll::{Epoll, Interest, Ready, Watched};
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::bounded::cut;
use mpwasm_types::ids::WorkerId;
use mpwasm_types::settings::Settings;
use mpwasm_types::time::Time;
use task_pipe::TaskPipeReader;

/// Most tasks that are queued in the dispatcher. The rest stays in the pipe, which is the backpressure of tasks.
const MAX_QUEUED: usize = 1024;
/// Most bytes of args that are queued in the dispatcher.
const MAX_QUEUED_BYTES: usize = 4 << 20;

/// Turns what the parent, the workers and the callback thread send into events of the scheduler.
#[derive(Debug)]
pub struct EventLoop {
    settings: Settings,
    epoll: Rc<Epoll>,
    parent: Watched<Channel>,
    /// Requests of the parent.
    requests: Watched<Responder>,
    /// Messages for the parent.
    uplink: SendBuffer,
    pipe: TaskPipeReader,
    scheduler: Scheduler,
    workers: WorkerSet,
    callbacks: Callbacks,
    /// Set when the callback thread has sent events.
    callback_events: Watched<Arc<WakeUp>>,
    /// Number of outcomes that the parent has confirmed, with `Settings::confirm_outcomes`.
    confirmed: u64,
    /// Start of the last wait. What was sent before is handled.
    waited_at: Time,
    /// Whether the pool's failure was sent to the parent.
    failure_reported: bool,
}

/// The parent has ended or has broken the protocol. The dispatcher ends.
struct ParentLost;

/// Why the loop ends before the pool has ended.
enum LoopEnd {
    /// As [`ParentLost`].
    ParentLost,
    /// The kernel can't wait for a descriptor.
    WaitFailed(io::Error),
}

impl From<ParentLost> for LoopEnd {
    fn from(_: ParentLost) -> Self {
        Self::ParentLost
    }
}

impl From<io::Error> for LoopEnd {
    fn from(error: io::Error) -> Self {
        Self::WaitFailed(error)
    }
}

/// What is ready after a wait.
#[derive(Debug, Default)]
struct Found {
    parent: bool,
    requests: bool,
    tasks: bool,
    /// The workers with messages or an end, in the order of their slots.
    workers: Vec<ReadyWorker>,
}

/// A worker with messages to be read, or whose process has ended.
#[derive(Clone, Copy, Debug)]
struct ReadyWorker {
    worker: WorkerId,
    ended: bool,
}

impl Found {
    /// Sorts the descriptors that a wait has found.
    fn sort(&mut self, ready: &Ready) {
        (self.parent, self.requests, self.tasks) = (false, false, false);
        self.workers.clear();
        for key in ready.keys() {
            match WatchedDescriptor::of(key) {
                WatchedDescriptor::Parent => self.parent = true,
                WatchedDescriptor::Requests => self.requests = true,
                WatchedDescriptor::Tasks => self.tasks = true,
                // Each turn looks for events of callbacks.
                WatchedDescriptor::Callbacks => {}
                WatchedDescriptor::Worker(worker) => self.workers.push(ReadyWorker { worker, ended: false }),
                // The socket of the same worker comes immediately before.
                WatchedDescriptor::Exit(worker) => match self.workers.last_mut() {
                    Some(last) if last.worker == worker => last.ended = true,
                    _ => self.workers.push(ReadyWorker { worker, ended: true }),
                },
            }
        }
    }
}

impl EventLoop {
    /// Creates the loop of a pool without guests. The workers are started with the first guest.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn new(
        epoll: &Rc<Epoll>,
        parent: Channel,
        requests: Responder,
        tasks: OwnedFd,
        settings: Settings,
        workers: WorkerSet,
        objects: Option<Arc<PoolConnection>>,
    ) -> io::Result<Self> {
        let wake_up = Arc::new(WakeUp::new()?);
        let pipe = epoll.watch(File::from(tasks), WatchedDescriptor::Tasks.key());
        Ok(Self {
            epoll: Rc::clone(epoll),
            parent: epoll.watch(parent, WatchedDescriptor::Parent.key()),
            requests: epoll.watch(requests, WatchedDescriptor::Requests.key()),
            uplink: SendBuffer::default(),
            pipe: TaskPipeReader::new(pipe, task_frame(settings.max_args)),
            scheduler: Scheduler::new(
                settings.size,
                settings.tasks_per_process(),
                settings.confirm_outcomes,
            )
            .lending(workers.lent_workers().unwrap_or(0)),
            workers,
            callbacks: Callbacks::new(settings.clone(), Arc::clone(&wake_up), objects),
            callback_events: epoll.watch(wake_up, WatchedDescriptor::Callbacks.key()),
            confirmed: 0,
            waited_at: clock::now(),
            settings,
            failure_reported: false,
        })
    }

    /// Runs until the pool or its parent has ended, then ends all workers.
    ///
    /// # Errors
    /// When the kernel can't wait for the descriptors of the pool.
    pub fn run(mut self) -> io::Result<()> {
        mpwasm_system::process::exact_timers();
        // There is room for all: a message that is not found is not read in this turn, and may be overdue in the next.
        let mut ready = Ready::with_capacity(WatchedDescriptor::count(self.workers.slots()));
        let mut found = Found::default();
        let ended = loop {
            match self.turn(&mut ready, &mut found) {
                Ok(false) => {}
                Ok(true) | Err(LoopEnd::ParentLost) => break Ok(()),
                Err(LoopEnd::WaitFailed(error)) => break Err(error),
            }
        };
        self.workers.end();
        ended
    }

    /// Runs one turn. Returns true when the pool has ended and all its messages were sent.
    fn turn(&mut self, ready: &mut Ready, found: &mut Found) -> Result<bool, LoopEnd> {
        if self.workers.is_paused() {
            self.turn_while_paused()?;
            return Ok(false);
        }
        let now = clock::now();
        self.send(now)?;
        self.scheduler.tick(self.waited_at, now, &mut self.workers);
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
        self.send(now)?;
        self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        self.answer_requests()?;
        if over {
            self.flush_uplink()?;
            return Ok(true);
        }
        if held && !self.is_held() {
            // Assigned tasks may go on, and no descriptor will become ready for that.
            return Ok(false);
        }
        self.wait(ready)?;
        found.sort(ready);
        let now = clock::now();
        if found.parent {
            self.handle_parent()?;
        }
        // After the messages of the parent, as it sent them first.
        if found.requests {
            self.read_requests()?;
        }
        for &ready in &found.workers {
            self.handle_worker(ready, now)?;
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
    fn turn_while_paused(&mut self) -> Result<(), ParentLost> {
        self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        let interest = match self.uplink.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let found = self.wait_for_parent(interest)?;
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.handle_parent()?;
        }
        Ok(())
    }

    /// Sends the workers their pending messages, as far as their sockets take them.
    fn send(&mut self, now: Time) -> io::Result<()> {
        for worker in self.workers.flush()? {
            self.scheduler.note_read(worker, now);
        }
        Ok(())
    }

    /// Returns whether backpressure holds tasks back: too many outcomes are unread or wait for their callbacks.
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
        for (id, attempt) in std::mem::take(&mut self.workers.failed_attempts) {
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

    /// Waits until a descriptor is ready or something is due.
    fn wait(&mut self, ready: &mut Ready) -> io::Result<()> {
        self.parent.set(Interest::of(true, !self.uplink.is_empty()))?;
        let for_requests = Interest::of(self.requests.is_reading(), self.requests.is_sending());
        self.requests.set(for_requests)?;
        let wants_tasks = self.wants_tasks();
        self.pipe.file.set(Interest::of(wants_tasks, false))?;
        // Events of callbacks wait while the uplink is full.
        let is_full = self.uplink_is_full();
        self.callback_events.set(Interest::of(!is_full, false))?;
        // Streamed output of commands has no cap. While the uplink is full it stays in the socket, and then the command
        // waits.
        self.workers.set_reading(self.settings.capture || !is_full)?;
        // A failed spawn is handled in the next turn, which must not wait.
        let until = match self.workers.failed_spawns.is_empty() {
            true => self.scheduler.next_wakeup().unwrap_or(Time::NEVER),
            false => clock::now(),
        };
        // Read before the wait, which may return late. What becomes due meanwhile is handled after the next wait, which returns at
        // once.
        self.waited_at = clock::now();
        self.epoll.wait(ready, until)
    }

    fn handle_parent(&mut self) -> Result<(), ParentLost> {
        if self.parent.fill().map_err(|_| ParentLost)? == Filled::Closed {
            return Err(ParentLost);
        }
        while let Some(frame) = self.parent.inbox().next_message().map_err(|_| ParentLost)? {
            match decode(frame).map_err(|_| ParentLost)? {
                ToDispatcher::Load { has_checked } => {
                    let guest = self.receive_guest(has_checked)?;
                    self.load(Arc::new(guest), clock::now());
                }
                ToDispatcher::Control(request) => self.control(request),
            }
        }
        Ok(())
    }

    fn control(&mut self, request: ControlRequest) {
        if matches!(request, ControlRequest::Interrupt | ControlRequest::Terminate) {
            self.workers.resume();
        }
        // After the end of a pause, which sets the clock back.
        let now = clock::now();
        match request {
            // The task has not arrived yet.
            ControlRequest::Cancel { id } if id >= self.pipe.next_id => {
                self.pipe.cancelled.insert(id);
            }
            ControlRequest::Cancel { id } => {
                self.scheduler.cancel(id, now, &mut self.workers);
            }
            ControlRequest::Confirm { outcomes } => self.confirmed = outcomes,
            ControlRequest::Pause => self.workers.pause(),
            ControlRequest::Resume => self.workers.resume(),
            ControlRequest::Interrupt => {
                self.callbacks.interrupt();
                self.scheduler.interrupt(now, &mut self.workers);
            }
            ControlRequest::Terminate => {
                self.callbacks.terminate(&mut self.uplink);
                self.scheduler.terminate(now, &mut self.workers);
            }
        }
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
    fn flush_uplink(&mut self) -> Result<(), ParentLost> {
        while !self.uplink.is_empty() {
            self.wait_for_parent(PollFlags::POLLOUT)?;
            self.uplink.flush(self.parent.as_fd()).map_err(|_| ParentLost)?;
        }
        Ok(())
    }
}
