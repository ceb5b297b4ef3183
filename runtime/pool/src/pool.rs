//! [`Pool`]: the handle of a pool of worker processes.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mpwasm_protocol::messages::ToDispatcher;
use mpwasm_types::settings::Settings;
use mpwasm_types::task_line::check_args;

use crate::builder::Builder;
use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::guest::{Guest, Task};
use crate::local::guest_tasks;
use crate::local::ledger::{InvalidTask, Recipient};
use crate::local::state::{PoolEnd, PoolLifecycle, PoolState};

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
/// which goes to the [`Reporter`](crate::Reporter) and to the task's [`TaskHandle`] if it has one, whatever dies but this process.
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
    pub(crate) shared: Arc<PoolState>,
    pub(crate) receiver: Mutex<Option<std::thread::JoinHandle<()>>>,
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
        let mut task_pipe = self.shared.task_pipe();
        let mut first = None;
        for task in tasks {
            let id = task_pipe.add(task, Recipient::None, &self.shared)?;
            first.get_or_insert(id);
        }
        task_pipe.flush();
        Ok(first.unwrap_or_else(|| self.shared.ledger.next_id()))
    }

    /// Gives a task to the pool and returns a handle with which its outcome can be waited for. Otherwise as
    /// [`Pool::push`].
    ///
    /// # Errors
    /// As [`Pool::push`].
    pub fn submit(&self, task: Task) -> Result<TaskHandle, Error> {
        self.shared.owner.check()?;
        let slot = Arc::default();
        let mut task_pipe = self.shared.task_pipe();
        let id = task_pipe.add(task, Recipient::Handle(Arc::clone(&slot)), &self.shared)?;
        task_pipe.flush();
        Ok(TaskHandle::new(id, slot, Arc::clone(&self.shared)))
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
        let _in_order = self.shared.task_pipe();
        let id = self.shared.ledger.take_id()?;
        self.shared.report_invalid(InvalidTask {
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
        let _in_order = self.shared.task_pipe();
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
            self.shared.task_pipe().exit();
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
        let lifecycle = self
            .shared
            .lifecycle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let running = |lifecycle: &mut PoolLifecycle| lifecycle.end.is_none();
        let mut lifecycle = self
            .shared
            .changed
            .wait_while(lifecycle, running)
            .unwrap_or_else(PoisonError::into_inner);
        match &mut lifecycle.end {
            Some(PoolEnd::Failed(error)) => error.take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// Whether this process has started it, and is no fork of that one.
    pub(crate) fn is_owned(&self) -> bool {
        self.shared.owner.is_here()
    }

    /// Waits for the pool's end, as [`Pool::join`] does, but no longer than until then. Whether it has ended.
    pub(crate) fn has_ended_by(&self, until: Option<Instant>) -> bool {
        let mut lifecycle = self
            .shared
            .lifecycle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while lifecycle.end.is_none() {
            let changed = &self.shared.changed;
            lifecycle = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => changed.wait(lifecycle).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let woken = changed.wait_timeout(lifecycle, left);
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
