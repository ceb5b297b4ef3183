//! Process 1: the pool, as programs use it.
//!
//! [`Pool`] is the handle that users hold; it may be used from any thread. Behind it, [`ledger`] knows every task
//! that was accepted and has not ended, [`feed`] writes tasks into the pipe, [`receiver`] is the thread that starts
//! the dispatcher, hears the outcomes and calls the reporter, [`compile`] and [`guest_tasks`] run the processes that
//! compile a guest and run its `tasks`, [`cache`] keeps what was compiled, [`grants`] opens the directories that tasks are
//! given. The parent runs no guest code.

mod ahead;
mod batch;
mod builder;
mod cache;
mod checks;
mod child;
mod chunk;
mod compile;
mod feed;
mod folds;
mod fork;
mod grants;
mod guest;
mod guest_tasks;
mod handle;
mod hooks;
mod ledger;
mod loading;
mod mailbox;
mod map;
mod mounts;
mod places;
pub mod prints;
mod questions;
mod receiver;
mod report;
mod sorter;
mod stats;
mod status;
mod terminal;
mod timer;
mod token;
mod wait;
mod waiter;
mod window;

use mpwasm_system::clock;
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;

pub use self::builder::Builder;
pub use self::cache::{Cache, CacheStats};
pub use self::compile::{COMPILATION_TARGET, inspect};
use self::feed::Feed;
use self::folds::Folds;
pub use self::folds::{FinalError, FinalValue};
use self::fork::Owner;
pub use self::guest::{Callable, Guest, Model, Task, TaskParts};
pub use self::handle::TaskHandle;
use self::hooks::Hooks;
use self::ledger::{Ledger, Recipient, Rejection};
pub use self::map::{Results, ResultsStream};
pub use self::places::Overlap;
use self::places::Trusted;
use self::questions::Questions;
pub use self::report::{LOG_TARGET, LogLine, Output, Reporter, Source};
use self::stats::Counters;
pub use self::stats::{Progress, Stats};
pub use self::terminal::Terminal;
pub use self::token::CancellationToken;
pub use self::wait::{AsCompleted, AsCompletedStream, as_completed, wait_all, wait_any};
use crate::error::Error;
use mpwasm_protocol::channel::{Channel, send_all};
use mpwasm_protocol::frame::put;
use mpwasm_protocol::messages::ToDispatcher;
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::outcome::Outcome;
use mpwasm_types::settings::Settings;
use mpwasm_types::task_line::check_args;
use mpwasm_types::time::Time;

/// A line that is no task, for [`Pool::reject`].
#[derive(Debug, Default)]
pub struct Rejected {
    /// The key, if one could be read.
    pub key: Option<String>,
    /// The model's name, if one could be read.
    pub model: String,
    /// The args, if some could be read.
    pub args: Option<Box<serde_json::value::RawValue>>,
    /// What was wrong and where.
    pub message: String,
}

/// A pool of worker processes that run tasks of untrusted guests.
///
/// All methods may be called from any thread. Every task that is accepted gets exactly one [`Outcome`](mpwasm_types::outcome::Outcome),
/// which goes to the [`Reporter`] and to the task's [`TaskHandle`] if it has one, whatever dies but this process.
///
/// Dropping the pool ends what still runs as `cancelled` and returns when no process is left. See [`Pool::stop`] for
/// the end that waits for the tasks.
///
/// A pool belongs to the process that started it. In a fork of that, all of this does nothing: calls return
/// [`Error::Forked`] or an outcome that says so, and dropping the copy leaves the pool as it is. A fork may start a pool
/// of its own.
///
/// ```no_run
/// use std::time::Duration;
///
/// fn main() -> Result<(), mpwasm::Error> {
///     mpwasm::init(); // first: a copy of this executable becomes dispatcher or worker here
///     let pool = mpwasm::Pool::builder().size(2).start()?;
///     let guest = pool.load("guest.wasm")?;
///     pool.push(guest.task((1, "two")).timeout(Duration::from_secs(1)))?; // callbacks fire
///     let handle = pool.submit(guest.task([3]))?;
///     println!("{:?}", handle.wait().result);
///     pool.stop()
/// }
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    receiver: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What the pool's handle, its threads and its task handles share.
#[derive(Debug)]
struct Shared {
    /// Which of this process's pools it is.
    number: u64,
    owner: Owner,
    settings: Settings,
    executable: Executable,
    trusted: Trusted,
    cache: Option<Cache>,
    /// Around the pool's processes, where there is one.
    memory: Option<MemoryCgroup>,
    ledger: Ledger,
    counters: Counters,
    questions: Questions,
    folds: Folds,
    feed: Mutex<Feed>,
    /// Messages to the dispatcher that are not held back.
    socket: Mutex<OwnedFd>,
    reporter: report::Locked,
    hooks: Hooks,
    /// One guest is loaded at a time: their order is their number.
    loading: Mutex<()>,
    life: Mutex<Life>,
    changed: Condvar,
    /// Readable once the pool takes no more tasks.
    closing: EventFd,
    /// Readable once everything shall end now, and until when the dispatcher may take for that.
    killing: EventFd,
    kill_at: AtomicU64,
    /// Nothing new is accepted, and why what has not started ends does not matter any more: it is cancelled.
    cancelling: AtomicBool,
    dispatcher: u32,
}

/// What the receiver knows of the dispatcher's life.
#[derive(Debug, Default)]
struct Life {
    /// Guests that the dispatcher says it has.
    loaded: u32,
    end: Option<End>,
}

/// How the pool ended.
#[derive(Debug)]
enum End {
    Well,
    Failed(Option<Error>),
}

impl Pool {
    /// A builder with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Gives a task to the pool. Its callbacks fire, and its outcome goes to the reporter. Returns its id.
    ///
    /// Waits while the pool has enough to do: that is the back-pressure of tasks.
    ///
    /// # Errors
    /// [`Error::InvalidArgs`], [`Error::UnknownModel`] or [`Error::ForeignGuest`], when it is no task of this pool's;
    /// [`Error::Closed`].
    pub fn push(&self, task: Task) -> Result<u64, Error> {
        self.push_all([task])
    }

    /// As [`Pool::push`] for many tasks at once, which costs less than one by one. Returns the first one's id; the
    /// others follow in order.
    ///
    /// Nobody else can push meanwhile: the iterator must not use the pool, or wait for one of its tasks.
    ///
    /// # Errors
    /// As [`Pool::push`]; tasks in front of the one that is refused are accepted.
    pub fn push_all(&self, tasks: impl IntoIterator<Item = Task>) -> Result<u64, Error> {
        self.shared.owner.check()?;
        let mut feed = self.shared.feed();
        let mut first = None;
        for task in tasks {
            let id = feed.add(task, Recipient::None, &self.shared)?;
            first.get_or_insert(id);
        }
        feed.flush();
        Ok(first.unwrap_or_else(|| self.shared.ledger.next_id()))
    }

    /// Gives a task to the pool and returns a handle with which its outcome can be waited for. Otherwise as
    /// [`Pool::push`].
    ///
    /// # Errors
    /// As [`Pool::push`].
    pub fn submit(&self, task: Task) -> Result<TaskHandle, Error> {
        self.shared.owner.check()?;
        let waiter = Arc::default();
        let mut feed = self.shared.feed();
        let id = feed.add(task, Recipient::Handle(Arc::clone(&waiter)), &self.shared)?;
        feed.flush();
        Ok(TaskHandle::new(id, waiter, Arc::clone(&self.shared)))
    }

    /// Takes the next id for something that is no task, and ends it as `invalid`: so that a bad line in the middle
    /// of good ones has a place and a record like they have.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn reject(&self, rejected: Rejected) -> Result<u64, Error> {
        self.shared.owner.check()?;
        let Rejected {
            key,
            model,
            args,
            message,
        } = rejected;
        let args = args.and_then(|args| check_args(Cow::Owned(args), self.shared.settings.max_args).ok());
        let _in_order = self.shared.feed();
        let id = self.shared.ledger.take_id()?;
        self.shared.tell_invalid(Rejection {
            id,
            key,
            model,
            args,
            message,
        });
        Ok(id)
    }

    /// Takes the next `count` ids for tasks that are not to run: an earlier run has their outcomes. So a task keeps its
    /// id, which is its position among all, in a run that goes on where another was ended. Returns the first of them.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn skip(&self, count: u64) -> Result<u64, Error> {
        self.shared.owner.check()?;
        let _in_order = self.shared.feed();
        self.shared.ledger.skip(count)
    }

    /// Runs the guest's `tasks` in a process of its own, until it has ended, and pushes what it pushes. Returns how
    /// many tasks that were.
    ///
    /// # Errors
    /// [`Error::NoTasks`]; [`Error::Tasks`] when it trapped, took longer than the pool's timeout between two pushes,
    /// or pushed too many (what it had pushed before runs all the same); [`Error::ForeignGuest`]; [`Error::Start`];
    /// [`Error::Io`]; [`Error::Closed`].
    pub fn push_from_guest(&self, guest: &Guest) -> Result<u64, Error> {
        self.tasks_of(guest, |tasks| self.push_all(tasks).map(drop))
    }

    /// As [`Pool::push_from_guest`], for who wants to look at the tasks first: instead of being pushed they are handed
    /// to `take`, in their order and as they come. It may push them, and wait for room; its first error ends the
    /// guest's `tasks` and is returned.
    ///
    /// # Errors
    /// As [`Pool::push_from_guest`], and what `take` returns.
    pub fn tasks_of(
        &self,
        guest: &Guest,
        mut take: impl FnMut(Vec<Task>) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        self.shared.owner.check()?;
        guest_tasks::run(self, guest, &mut take)
    }

    /// Ends one task as `cancelled`: at once when it has not started, through the timeout ladder when it runs. Does
    /// nothing when it has ended, or when there is no such task. Returns at once. An item of a chunk takes the others of its
    /// chunk along, as far as they have not ended.
    pub fn cancel(&self, id: u64) {
        self.shared.cancel(id);
    }

    /// Accepts no more tasks. What was accepted runs to its end. Waits until the pool has room for the order, as a push
    /// would; [`Pool::join`] waits for the end. A map that goes on after this ends with what it had in flight. A
    /// [paused](Self::pause) pool stays so.
    pub fn close(&self) {
        if self.shared.owner.is_here() && self.shared.close() {
            self.shared.feed().exit();
        }
    }

    /// Accepts no more tasks. What runs may end, with its callback; what has not started ends as `cancelled`.
    /// Returns at once; [`Pool::join`] waits.
    pub fn interrupt(&self) {
        if !self.shared.owner.is_here() {
            return;
        }
        self.shared.cancelling.store(true, Ordering::SeqCst);
        self.shared.close();
        self.shared.tell(&ToDispatcher::Interrupt);
    }

    /// Accepts no more tasks and ends everything now: what has not ended is `cancelled`, and no callback runs any
    /// more. Returns at once; [`Pool::join`] waits.
    pub fn terminate(&self) {
        self.shared.kill();
    }

    /// Stops the workers until [`Pool::resume`]. The clocks of tasks stand still meanwhile, and nothing is started. Returns at
    /// once; a callback that runs goes on. For programs that are stopped themselves, by Ctrl-Z say.
    pub fn pause(&self) {
        if self.shared.owner.is_here() {
            self.shared.tell(&ToDispatcher::Pause);
        }
    }

    /// Lets workers go on that were stopped by [`Pool::pause`]. Returns at once. The end of the pool, by whatever call but
    /// [`Pool::close`], ends a pause, too.
    pub fn resume(&self) {
        if self.shared.owner.is_here() {
            self.shared.tell(&ToDispatcher::Resume);
        }
    }

    /// Waits until the pool has ended: every accepted task has its outcome, and every process is gone. Something
    /// must have brought its end about: [`Pool::close`], [`Pool::interrupt`], [`Pool::terminate`] or a failure. May be
    /// called again, and from many threads.
    ///
    /// # Errors
    /// [`Error::Report`], [`Error::PoolFailed`] or [`Error::DispatcherDied`], once; later calls return well.
    /// [`Error::Forked`] in a fork, always.
    pub fn join(&self) -> Result<(), Error> {
        self.shared.owner.check()?;
        let life = self.shared.life.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |life: &mut Life| life.end.is_none();
        let mut life = self
            .shared
            .changed
            .wait_while(life, running)
            .unwrap_or_else(PoisonError::into_inner);
        match &mut life.end {
            Some(End::Failed(error)) => error.take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// Whether this process has started it, and is no fork of that one.
    pub(crate) fn is_owned(&self) -> bool {
        self.shared.owner.is_here()
    }

    /// Waits for the pool's end, as [`Pool::join`] does, but no longer than until then. Whether it has ended.
    pub(crate) fn has_ended_by(&self, until: Option<Instant>) -> bool {
        let mut life = self.shared.life.lock().unwrap_or_else(PoisonError::into_inner);
        while life.end.is_none() {
            let changed = &self.shared.changed;
            life = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => changed.wait(life).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let woken = changed.wait_timeout(life, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// The end in the words of `concurrent.futures`: [`Pool::interrupt`] when what is pending is to be cancelled, or else
    /// [`Pool::close`]; and then [`Pool::join`] if it is to wait.
    ///
    /// # Errors
    /// As [`Pool::join`], if it waits.
    pub fn shutdown(&self, wait: bool, cancel_pending: bool) -> Result<(), Error> {
        if cancel_pending {
            self.interrupt();
        } else {
            self.resume();
            self.close();
        }
        if wait { self.join() } else { Ok(()) }
    }

    /// No more tasks: runs what was accepted to its end, then ends the pool.
    ///
    /// # Errors
    /// As [`Pool::join`].
    pub fn stop(self) -> Result<(), Error> {
        self.shutdown(true, false)
    }

    /// The dispatcher's process id. Once the pool has ended it means nothing any more.
    #[must_use]
    pub fn dispatcher_pid(&self) -> u32 {
        self.shared.dispatcher
    }

    /// The settings that the pool was built with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.shared.owner.is_here() {
            // The thread is the owner's: there is none here that could be let go.
            let receiver = self.receiver.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(receiver.take());
            return;
        }
        if !self.shared.has_ended() {
            self.terminate();
        }
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(receiver) = receiver
            && receiver.thread().id() != std::thread::current().id()
        {
            let _ = receiver.join();
        }
    }
}

impl Shared {
    fn feed(&self) -> std::sync::MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the dispatcher something. When it is gone, the receiver finds out and says so.
    fn tell(&self, message: &ToDispatcher) {
        let mut bytes = Vec::new();
        put(&mut bytes, message);
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = send_all(socket.as_fd(), &bytes);
    }

    fn tell_with(&self, message: &ToDispatcher, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        Channel::send_over(socket.as_fd(), message, descriptors).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
            _ => Error::Io(error),
        })
    }

    /// Cancels a task, or the chunk of which it is an item.
    fn cancel(&self, id: u64) {
        if self.owner.is_here()
            && let Some(order) = self.ledger.order_of(id)
        {
            self.tell(&ToDispatcher::Cancel { id: order });
        }
    }

    /// Cancels what the dispatcher knows by this id: a task or a chunk. The dispatcher keeps orders for those that it does
    /// not know yet, so it is only given some for those that it knows or will know.
    fn cancel_order(&self, order: u64) {
        if self.owner.is_here() && self.ledger.is_open(order) {
            self.tell(&ToDispatcher::Cancel { id: order });
        }
    }

    /// The outcome of what is no task: it is told like any other.
    fn tell_invalid(&self, rejection: Rejection) -> Outcome {
        let outcome = ledger::invalid(rejection);
        self.report_outcome(&outcome);
        self.report(Reporter::flush);
        self.counters.publish();
        outcome
    }

    /// The outcome of an input of a map that nobody accepted any more.
    fn too_late(&self, model: &Model) -> Outcome {
        ledger::too_late(self.ledger.next_id(), model.name())
    }

    /// No more tasks. False when it was so already.
    fn close(&self) -> bool {
        let closed = self.ledger.close();
        let _ = self.closing.write(1);
        closed
    }

    /// Calls the reporter, unless it has failed before. Its first failure ends the run.
    fn report(&self, call: impl FnOnce(&mut (dyn Reporter + 'static)) -> io::Result<()>) {
        if self.reporter.call(call) {
            self.kill();
        }
    }

    /// Ends everything now.
    fn kill(&self) {
        if !self.owner.is_here() {
            return;
        }
        self.cancelling.store(true, Ordering::SeqCst);
        self.close();
        let at = (clock::now() + KILL_PATIENCE).0;
        // A second order does not give the dispatcher more time.
        let _ = self
            .kill_at
            .compare_exchange(Time::NEVER.0, at, Ordering::SeqCst, Ordering::SeqCst);
        let _ = self.killing.write(1);
        self.tell(&ToDispatcher::Terminate);
    }

    /// Whether the pool has ended.
    fn has_ended(&self) -> bool {
        let life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.end.is_some()
    }

    /// Until when a dispatcher that was told to end everything may take.
    fn kill_at(&self) -> Time {
        Time(self.kill_at.load(Ordering::SeqCst))
    }
}

/// A dispatcher that was told to end everything, and is not through with it so much later, is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// What a guest's file holds, ready to be loaded.
#[derive(Debug)]
struct CompiledGuest {
    info: GuestInfo,
    artifact: std::fs::File,
}
