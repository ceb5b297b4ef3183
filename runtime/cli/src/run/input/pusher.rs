//! Pushes tasks to the pool: skips those with a record, and tells the reporters what they need of the others.
//!
//! The id of a task is its position.

use mpwasm::internal::{Rejected, TaskParts};
use mpwasm::{Pool, Task, TaskId};
use serde_json::value::RawValue;

use crate::process::exit::ExitError;
use crate::run::input::keys::SeenKeys;
use crate::run::output::order;
use crate::run::output::reporters::ReporterHandles;
use crate::run::output::task_identity::TaskIdentity;
use crate::run::resume::{ResumeCheck, ResumeStep, SkippedTasks};

/// Longest input that `--tag` puts before a task's lines, in characters. It is kept for every task that has not ended and
/// written with each line.
const MAX_TAG: usize = 256;

/// A task to be pushed, or a line that is none.
#[derive(Debug)]
pub enum FeedItem {
    /// A task, with the input that it was made of.
    Task(Task, Option<String>),
    /// A line that is no valid task.
    Rejected(Rejected),
}

impl FeedItem {
    /// Returns the key, if it has one.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Task(task, _) => task.parts().key,
            Self::Rejected(rejected) => rejected.key.as_deref(),
        }
    }
}

/// Rejects a task, with a reason.
fn rejected(parts: &TaskParts<'_>, message: String) -> Rejected {
    let args = parts
        .args
        .and_then(|args| RawValue::from_string(args.to_owned()).ok());
    Rejected {
        key: parts.key.map(str::to_owned),
        model: parts.model.to_owned(),
        args,
        message,
    }
}

/// Why items can't be pushed.
#[derive(Debug)]
pub enum SinkError {
    /// An error of the pool.
    Pool(mpwasm::Error),
    /// The log to resume does not match the tasks, or a dry run can't print them. No task has run.
    Refused(ExitError),
}

impl From<mpwasm::Error> for SinkError {
    fn from(error: mpwasm::Error) -> Self {
        Self::Pool(error)
    }
}

/// Takes tasks: the pool, or the printer of a dry run. Ids count from 0.
pub trait TaskSink {
    /// Pushes tasks.
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), SinkError>;
    /// Reports a line that is no task.
    fn reject(&self, rejected: Rejected) -> Result<(), SinkError>;
    /// Skips this number of ids.
    fn skip(&self, count: u64) -> Result<(), SinkError>;
}

impl TaskSink for Pool {
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), SinkError> {
        Self::push_all(self, tasks)?;
        Ok(())
    }

    fn reject(&self, rejected: Rejected) -> Result<(), SinkError> {
        Self::reject(self, rejected)?;
        Ok(())
    }

    fn skip(&self, count: u64) -> Result<(), SinkError> {
        Self::skip(self, count)?;
        Ok(())
    }
}

/// A log whose records are not all matched with tasks yet.
pub struct PendingResume<'a> {
    resume: ResumeCheck<FeedItem>,
    begin: Box<dyn FnOnce(SkippedTasks) -> Result<(), ExitError> + 'a>,
}

impl<'a> PendingResume<'a> {
    /// Returns a log that is being matched. `begin` is called once it matches, before the first task is pushed.
    pub fn new(
        resume: ResumeCheck<FeedItem>,
        begin: impl FnOnce(SkippedTasks) -> Result<(), ExitError> + 'a,
    ) -> Self {
        let begin = Box::new(begin);
        Self { resume, begin }
    }
}

/// Most buffered items that are pushed with one call: 1024, so that the cost of a call is shared.
const BATCH: usize = 1024;

/// Pushes tasks to a sink.
pub struct TaskPusher<'a, T> {
    sink: &'a T,
    resume: Option<PendingResume<'a>>,
    reporters: ReporterHandles,
    keys: SeenKeys,
    /// Hash of the first guest, to which invalid lines belong.
    guest: [u8; 32],
    /// The id of the next task.
    next: TaskId,
    /// Number of skipped ids.
    skipped: u64,
}

impl<'a, T: TaskSink> TaskPusher<'a, T> {
    /// Returns a pusher to `sink`, which skips tasks with a record in the log of `resume`.
    pub fn new(sink: &'a T, guest: [u8; 32], resume: Option<PendingResume<'a>>) -> Self {
        Self {
            sink,
            resume,
            reporters: ReporterHandles::default(),
            keys: SeenKeys::default(),
            guest,
            next: TaskId(0),
            skipped: 0,
        }
    }

    /// Sets what the reporters must know of each task before it is pushed.
    pub fn with_reporters(self, reporters: ReporterHandles) -> Self {
        Self { reporters, ..self }
    }

    /// Checks that the key of the next item is new. Must be called for all items, in order.
    ///
    /// # Errors
    /// When an earlier task has the same key.
    pub fn with_new_key(&mut self, item: FeedItem) -> Result<FeedItem, Rejected> {
        let noted = self.keys.note(item.key());
        match (noted, item) {
            (Ok(()), item) => Ok(item),
            // It is rejected already.
            (Err(_), item @ FeedItem::Rejected(_)) => Ok(item),
            (Err(why), FeedItem::Task(task, _)) => Err(rejected(&task.parts(), why.to_string())),
        }
    }

    /// Pushes items in their order. Waits until the pool has room.
    ///
    /// # Errors
    /// When the pool has ended, or the log does not match.
    pub fn push(&mut self, items: Vec<FeedItem>) -> Result<(), SinkError> {
        let Some(PendingResume { resume, .. }) = &mut self.resume else {
            return self.send(items);
        };
        for item in items {
            let identity = identity(&item, &self.guest);
            let key = item.key().map(str::to_owned);
            let bytes = size(&item);
            resume
                .add(key.as_deref(), identity, item, bytes)
                .map_err(|why| SinkError::Refused(ExitError::usage(why)))?;
        }
        self.begin_if_complete()
    }

    /// Checks the log after the last item.
    ///
    /// # Errors
    /// When the log has records of other tasks.
    pub fn end(&mut self) -> Result<(), SinkError> {
        if let Some(PendingResume { resume, .. }) = &self.resume {
            resume
                .finish()
                .map_err(|why| SinkError::Refused(ExitError::usage(why)))?;
        }
        self.begin_if_complete()
    }

    /// Returns the number of pushed tasks.
    pub fn pushed(&self) -> u64 {
        self.next.0 - self.skipped
    }

    fn begin_if_complete(&mut self) -> Result<(), SinkError> {
        let complete = |pending: &mut PendingResume<'_>| pending.resume.is_complete();
        let Some(PendingResume { mut resume, begin }) = self.resume.take_if(complete) else {
            return Ok(());
        };
        begin(resume.skipped()).map_err(SinkError::Refused)?;
        let mut run = Vec::new();
        for step in resume.take_steps() {
            match step {
                ResumeStep::Run(item) => {
                    run.push(item);
                    if run.len() == BATCH {
                        self.send(std::mem::take(&mut run))?;
                    }
                }
                ResumeStep::Skip(count) => {
                    self.send(std::mem::take(&mut run))?;
                    self.sink.skip(count)?;
                    self.next = self.next + count;
                    self.skipped += count;
                }
            }
        }
        self.send(run)
    }

    /// Pushes items that are not skipped.
    fn send(&mut self, items: Vec<FeedItem>) -> Result<(), SinkError> {
        let with_ids = || (0..).map(|index| self.next + index).zip(&items);
        if let Some(identities) = &self.reporters.identities {
            identities.add(with_ids().map(|(id, item)| (id, identity(item, &self.guest))));
        }
        if let Some(tags) = &self.reporters.tags {
            tags.add(with_ids().map(|(id, item)| (id, tag(id, item).into_boxed_str())));
        }
        let mut tasks = Vec::with_capacity(items.len());
        for item in items {
            match item {
                FeedItem::Task(task, _) => tasks.push(task),
                FeedItem::Rejected(rejected) => {
                    self.send_tasks(std::mem::take(&mut tasks))?;
                    self.add_to_order(1);
                    self.next = self.next + 1;
                    self.sink.reject(rejected)?;
                }
            }
        }
        self.send_tasks(tasks)
    }

    fn send_tasks(&mut self, tasks: Vec<Task>) -> Result<(), SinkError> {
        if tasks.is_empty() {
            return Ok(());
        }
        if self.reporters.order.is_none() {
            self.next = self.next + tasks.len() as u64;
            return self.sink.push_all(tasks);
        }
        let mut tasks = tasks.into_iter();
        while tasks.len() > 0 {
            let batch: Vec<_> = tasks.by_ref().take(order::BATCH).collect();
            self.add_to_order(batch.len() as u64);
            self.next = self.next + batch.len() as u64;
            self.sink.push_all(batch)?;
        }
        Ok(())
    }

    /// Adds the next tasks to the order.
    fn add_to_order(&self, count: u64) {
        if let Some(order) = &self.reporters.order {
            order.add_tasks(self.next, count);
        }
    }
}

/// Returns the identity of an item.
fn identity(item: &FeedItem, guest: &[u8; 32]) -> TaskIdentity {
    match item {
        FeedItem::Task(task, _) => TaskIdentity::of(&task.parts()),
        FeedItem::Rejected(rejected) => TaskIdentity::of_rejected(guest, rejected),
    }
}

/// Returns the approximate size of a buffered item.
fn size(item: &FeedItem) -> usize {
    let content = match item {
        FeedItem::Task(task, input) => {
            let parts = task.parts();
            let args = parts.args.map_or(0, str::len) + parts.stdin.len();
            args + parts.key.map_or(0, str::len) + input.as_ref().map_or(0, String::len)
        }
        FeedItem::Rejected(rejected) => {
            let args = rejected.args.as_ref().map_or(0, |args| args.get().len());
            let key = rejected.key.as_ref().map_or(0, String::len);
            args + key + rejected.model.len() + rejected.message.len()
        }
    };
    // The entry of the list, and the allocator's overhead for each part.
    size_of::<ResumeStep<FeedItem>>() + 4 * size_of::<usize>() + content
}

/// Returns the tag of a task: the beginning of its input, else its key, else its id.
fn tag(id: TaskId, item: &FeedItem) -> String {
    let named = match item {
        FeedItem::Task(task, input) => input.as_deref().or(task.parts().key),
        FeedItem::Rejected(rejected) => rejected.key.as_deref(),
    };
    named.map_or_else(|| id.to_string(), |named| named.chars().take(MAX_TAG).collect())
}
