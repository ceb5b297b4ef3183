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

/// Input that is not a valid task, for [`Pool::reject`].
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
/// All methods may be called from any thread. Every accepted task gets exactly one
/// [`Outcome`](mpwasm_types::outcome::Outcome), whichever process of the pool dies. The outcome goes to the
/// [`Reporter`](crate::Reporter), and to the task's [`TaskHandle`] if it has one.
///
/// Dropping the pool ends running tasks as `cancelled` and returns when no process is left. [`Pool::stop`] waits for the
/// tasks instead.
///
/// A pool belongs to the process that started it. In a fork of that process, calls return [`Error::Forked`] or an outcome
/// that reports the fork, and dropping the copy does not affect the pool. A fork may start a pool of its own.
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
    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Submits a task and returns its id. Its callbacks run, and its outcome goes to the reporter.
    ///
    /// Blocks while the pipe to the dispatcher is full: that is the backpressure of tasks.
    ///
    /// # Errors
    /// [`Error::InvalidArgs`], [`Error::UnknownModel`] or [`Error::ForeignGuest`] when the task does not fit this pool;
    /// [`Error::Closed`].
    pub fn push(&self, task: Task) -> Result<u64, Error> {
        self.push_all([task])
    }

    /// Submits many tasks at once, which costs less than one by one. Returns the id of the first; the others follow in order.
    ///
    /// The pool is locked for other pushes meanwhile: the iterator must not use the pool or wait for one of its tasks.
    ///
    /// # Errors
    /// As [`Pool::push`]. Tasks before the one that is refused are accepted.
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

    /// Submits a task and returns a handle that waits for its outcome. Otherwise as [`Pool::push`].
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

    /// Records an `invalid` outcome under the next id, so that a bad line between good ones has an id and a record of its own.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[doc(hidden)]
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

    /// Reserves the next `count` ids for tasks that an earlier run has finished, and returns the first of them. A task keeps its
    /// id, its position among all tasks, when an earlier run is resumed.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[doc(hidden)]
    pub fn skip(&self, count: u64) -> Result<u64, Error> {
        self.shared.owner.check()?;
        let _in_order = self.shared.task_pipe();
        self.shared.ledger.skip(count)
    }

    /// Runs the guest's `tasks` in a process of its own, submits the tasks that it pushes, and returns their number when it has
    /// ended.
    ///
    /// # Errors
    /// [`Error::NoTasks`]; [`Error::Tasks`] when it trapped, took longer than the pool's timeout between two pushes,
    /// or pushed too many (tasks that it had pushed before still run); [`Error::ForeignGuest`]; [`Error::Start`];
    /// [`Error::Io`]; [`Error::Closed`].
    pub fn push_from_guest(&self, guest: &Guest) -> Result<u64, Error> {
        self.tasks_of(guest, |tasks| self.push_all(tasks).map(drop))
    }

    /// Runs the guest's `tasks` and passes the tasks to `take` instead of submitting them, in order and as they arrive. `take` may
    /// push them and block. Its first error ends the guest's `tasks` and is returned.
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

    /// Ends one task as `cancelled`: at once when it has not started, through the timeout ladder when it runs. Returns at once.
    /// Does nothing when the task has ended or does not exist. Cancelling an item of a chunk cancels all items of the chunk that
    /// have not ended.
    pub fn cancel(&self, id: u64) {
        self.shared.cancel(id);
    }

    /// Stops accepting tasks; accepted tasks run to their end. Blocks while the pipe is full, as a push does; [`Pool::join`] waits
    /// for the end. A map that is still iterated ends with the inputs in flight. A [paused](Self::pause) pool stays paused.
    pub fn close(&self) {
        if self.shared.owner.is_here() && self.shared.close() {
            self.shared.task_pipe().exit();
        }
    }

    /// Stops accepting tasks. Running tasks end normally, with their callbacks; tasks that have not started end as `cancelled`.
    /// Returns at once; [`Pool::join`] waits.
    pub fn interrupt(&self) {
        if !self.shared.owner.is_here() {
            return;
        }
        self.shared.cancelling.store(true, Ordering::SeqCst);
        self.shared.close();
        self.shared.tell(&ToDispatcher::Interrupt);
    }

    /// Stops accepting tasks and kills the running ones: each task that has not ended is `cancelled`, and no further callback
    /// runs. Returns at once; [`Pool::join`] waits.
    pub fn terminate(&self) {
        self.shared.kill();
    }

    /// Pauses the workers until [`Pool::resume`]. Deadlines do not run meanwhile, and no task is started. Returns at once; a
    /// running callback continues. It is for programs that are stopped themselves, for example by Ctrl-Z.
    pub fn pause(&self) {
        if self.shared.owner.is_here() {
            self.shared.tell(&ToDispatcher::Pause);
        }
    }

    /// Resumes the workers after [`Pool::pause`]. Returns at once. Every call that ends the pool, except [`Pool::close`], also
    /// resumes them.
    pub fn resume(&self) {
        if self.shared.owner.is_here() {
            self.shared.tell(&ToDispatcher::Resume);
        }
    }

    /// Waits until the pool has ended: every accepted task has its outcome, and every process is reaped. The pool ends after
    /// [`Pool::close`], [`Pool::interrupt`], [`Pool::terminate`] or a failure. May be called repeatedly and from many threads.
    ///
    /// # Errors
    /// [`Error::Report`], [`Error::PoolFailed`] or [`Error::DispatcherDied`], once; later calls return `Ok`.
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

    /// Returns whether this process started the pool. False in a fork.
    pub(crate) fn is_owned(&self) -> bool {
        self.shared.owner.is_here()
    }

    /// Waits for the pool's end, at most until `until`. Returns whether it has ended.
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

    /// Ends the pool as `Executor.shutdown` of Python's `concurrent.futures` does: calls [`Pool::interrupt`] with
    /// `cancel_pending`, otherwise [`Pool::close`], and then [`Pool::join`] with `wait`.
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

    /// Stops accepting tasks, runs the accepted ones to their end and waits until the pool has ended.
    ///
    /// # Errors
    /// As [`Pool::join`].
    pub fn stop(self) -> Result<(), Error> {
        self.shutdown(true, false)
    }

    /// Returns the dispatcher's process id. It is meaningless once the pool has ended.
    #[must_use]
    pub fn dispatcher_pid(&self) -> u32 {
        self.shared.dispatcher
    }

    /// Returns the settings that the pool was built with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.shared.owner.is_here() {
            // The thread exists only in the owner's process: there is nothing to join here.
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
