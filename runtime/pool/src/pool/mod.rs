//! [`Pool`]: the handle of a pool of worker processes.

pub(crate) mod counters;
mod end;
pub(crate) mod events;
pub(crate) mod final_values;
mod guest_tasks;
pub(crate) mod progress;
pub(crate) mod state;
mod status;
pub(crate) mod submit;

use std::borrow::Cow;
use std::sync::Arc;

use crate::completion::handle::TaskHandle;
use crate::error::Error;
use crate::guest::Task;
use crate::ledger::task::Recipient;
use crate::ledger::unrun::InvalidTask;
use crate::pool::state::PoolState;
use crate::sync::Mutex;
use mpwasm_protocol::messages::ControlRequest;
use mpwasm_types::ids::TaskId;
use mpwasm_types::settings::Settings;
use mpwasm_types::task_check::check_args;

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
///     mpwasm::init(); // first: a copy of this executable becomes the dispatcher or a worker here
///     let pool = mpwasm::Pool::builder().size(2).start()?;
///     let guest = pool.load("guest.wasm")?;
///     pool.push(guest.task((1, "two")).timeout(Duration::from_secs(1)))?; // its callback runs
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
    /// Submits a task and returns its id. Its callbacks run, and its outcome goes to the reporter.
    ///
    /// Blocks while the pipe to the dispatcher is full: that is the backpressure of tasks.
    ///
    /// # Errors
    /// [`Error::InvalidArgs`], [`Error::UnknownModel`] or [`Error::ForeignGuest`] when the task does not fit this pool;
    /// [`Error::Closed`].
    pub fn push(&self, task: Task) -> Result<TaskId, Error> {
        self.push_all([task])
    }

    /// Submits many tasks at once, which costs less than one by one. Returns the id of the first; the others follow in order.
    ///
    /// The pool is locked for other pushes meanwhile: the iterator must not use the pool or wait for one of its tasks.
    ///
    /// # Errors
    /// As [`Pool::push`]. Tasks before the one that is refused are accepted.
    pub fn push_all(&self, tasks: impl IntoIterator<Item = Task>) -> Result<TaskId, Error> {
        self.shared.owner.check()?;
        let mut submissions = self.shared.submissions();
        let mut first = None;
        for task in tasks {
            let id = submissions.add(task, Recipient::None)?;
            first.get_or_insert(id);
        }
        submissions.flush();
        Ok(first.unwrap_or_else(|| self.shared.ledger.next_id()))
    }

    /// Submits a task and returns a handle that waits for its outcome. Otherwise as [`Pool::push`].
    ///
    /// # Errors
    /// As [`Pool::push`].
    pub fn submit(&self, task: Task) -> Result<TaskHandle, Error> {
        self.shared.owner.check()?;
        let slot = Arc::default();
        let mut submissions = self.shared.submissions();
        let id = submissions.add(task, Recipient::Handle(Arc::clone(&slot)))?;
        submissions.flush();
        drop(submissions);
        Ok(TaskHandle::new(id, slot, Arc::clone(&self.shared)))
    }

    /// Records an `invalid` outcome under the next id, so that a bad line between good ones has an id and a record of its own.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[doc(hidden)]
    pub fn reject(&self, rejected: Rejected) -> Result<TaskId, Error> {
        self.shared.owner.check()?;
        let Rejected {
            key,
            model,
            args,
            message,
        } = rejected;
        let args = args.and_then(|args| check_args(Cow::Owned(args), self.shared.settings.max_args).ok());
        let _in_order = self.shared.submissions();
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
    pub fn skip(&self, count: u64) -> Result<TaskId, Error> {
        self.shared.owner.check()?;
        let _in_order = self.shared.submissions();
        self.shared.ledger.skip(count)
    }

    /// Ends one task as `cancelled`. A task that has not started ends at once, and a running one is stopped as at its deadline.
    /// Returns at once. Does nothing when the task has ended or does not exist. Cancelling an item of a chunk cancels all items of
    /// the chunk that have not ended.
    pub fn cancel(&self, id: TaskId) {
        self.shared.cancel(id);
    }

    /// Pauses the workers until [`Pool::resume`]. Deadlines do not run meanwhile, and no task is started. Returns at once; a
    /// running callback continues. Meant for programs that are stopped themselves, for example by Ctrl-Z.
    pub fn pause(&self) {
        if self.shared.owner.is_here() {
            self.shared.backend.control(ControlRequest::Pause);
        }
    }

    /// Resumes the workers after [`Pool::pause`]. Returns at once. Every call that ends the pool, except [`Pool::close`], also
    /// resumes them.
    pub fn resume(&self) {
        if self.shared.owner.is_here() {
            self.shared.backend.control(ControlRequest::Resume);
        }
    }

    /// Returns whether this process started the pool. False in a fork.
    pub(crate) fn is_owned(&self) -> bool {
        self.shared.owner.is_here()
    }

    /// Returns the dispatcher's process id; 0 if it does not run on this machine. It is meaningless once the pool has ended.
    #[must_use]
    pub fn dispatcher_pid(&self) -> u32 {
        self.shared.backend.dispatcher_pid().unwrap_or(0)
    }

    /// Returns the settings that the pool was built with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

#[cfg(test)]
mod tests;
