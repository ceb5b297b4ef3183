//! The last step of a task before the pool: tasks with a record are skipped, the reporter is told what it has to know
//! of the others, and they get their ids, which are their positions.
//!
//! Where they come from is in `feed.rs`.

use std::collections::HashMap;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mpwasm::internal::{Rejected, TaskParts};
use mpwasm::{Pool, Task};
use mpwasm_types::settings::MAX_TAG;
use serde_json::json;
use serde_json::value::RawValue;

use crate::process::exit::{Exit, Failure};
use crate::run::input::keys::SeenKeys;
use crate::run::output::job_log::TaskIdentity;
use crate::run::output::order::{self, OutputOrder};
use crate::run::output::task_metadata::{TaskEntry, TaskMetadata};
use crate::run::resume::{ResumeCheck, ResumeStep, SkippedTasks};
use crate::terminal::escape::escape_json;
use crate::terminal::stdio::{self, Descriptor};

/// What comes to be pushed.
#[derive(Debug)]
pub enum FeedItem {
    /// A task, and the input that it is for.
    Task(Task, Option<String>),
    /// What is none.
    Rejected(Rejected),
}

impl FeedItem {
    /// The key, if it has one.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Task(task, _) => task.parts().key,
            Self::Rejected(rejected) => rejected.key.as_deref(),
        }
    }
}

/// A task that is not run, and why.
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

/// Why something could not be pushed.
#[derive(Debug)]
pub enum PushError {
    /// The pool says so.
    Pool(mpwasm::Error),
    /// Nothing has run: the log that the run was to go on with is of something else, or what would run can't be shown.
    Refused(Failure),
}

impl From<mpwasm::Error> for PushError {
    fn from(error: mpwasm::Error) -> Self {
        Self::Pool(error)
    }
}

/// What takes tasks: the pool, or who only shows them. Ids count up from 0.
pub trait TaskSink {
    /// Takes tasks.
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), PushError>;
    /// Takes what is no task.
    fn reject(&self, rejected: Rejected) -> Result<(), PushError>;
    /// Leaves out so many ids.
    fn skip(&self, count: u64) -> Result<(), PushError>;
}

impl TaskSink for Pool {
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), PushError> {
        Self::push_all(self, tasks)?;
        Ok(())
    }

    fn reject(&self, rejected: Rejected) -> Result<(), PushError> {
        Self::reject(self, rejected)?;
        Ok(())
    }

    fn skip(&self, count: u64) -> Result<(), PushError> {
        Self::skip(self, count)?;
        Ok(())
    }
}

/// A log that is not known yet to fit the tasks of the run that goes on with it.
pub struct PendingResume<'a> {
    resume: ResumeCheck<FeedItem>,
    begin: Box<dyn FnOnce(SkippedTasks) -> Result<(), Failure> + 'a>,
}

impl<'a> PendingResume<'a> {
    /// `begin` is called once the log was found to fit, before anything is pushed.
    pub fn new(
        resume: ResumeCheck<FeedItem>,
        begin: impl FnOnce(SkippedTasks) -> Result<(), Failure> + 'a,
    ) -> Self {
        let begin = Box::new(begin);
        Self { resume, begin }
    }
}

/// Held items that are pushed with one call.
const BATCH: usize = 1024;

/// See the module.
pub struct TaskPusher<'a, T> {
    taker: &'a T,
    fitting: Option<PendingResume<'a>>,
    roll: Option<Arc<TaskMetadata>>,
    order: Option<OutputOrder>,
    keys: SeenKeys,
    /// The hash of the first guest: what is no task counts as its.
    guest: [u8; 32],
    /// The id of the next task.
    next: u64,
    /// How many ids were left out.
    skipped: u64,
}

impl<'a, T: TaskSink> TaskPusher<'a, T> {
    /// Pushes to `taker`, but for what has a record in a log.
    pub fn new(taker: &'a T, guest: [u8; 32], fitting: Option<PendingResume<'a>>) -> Self {
        Self {
            taker,
            fitting,
            roll: None,
            order: None,
            keys: SeenKeys::default(),
            guest,
            next: 0,
            skipped: 0,
        }
    }

    /// Tells these of each task before it is pushed.
    pub fn telling(self, roll: Option<Arc<TaskMetadata>>, order: Option<OutputOrder>) -> Self {
        Self { roll, order, ..self }
    }

    /// The next task, or what is none, unless its key is that of an earlier one. To be called for all that is pushed, in
    /// its order.
    pub fn with_new_key(&mut self, item: FeedItem) -> Result<FeedItem, Rejected> {
        let noted = self.keys.note(item.key());
        match (noted, item) {
            (Ok(()), item) => Ok(item),
            // It has a reason already.
            (Err(_), item @ FeedItem::Rejected(_)) => Ok(item),
            (Err(why), FeedItem::Task(task, _)) => Err(rejected(&task.parts(), why)),
        }
    }

    /// Pushes these, in their order, and waits for room as long as it takes.
    pub fn push(&mut self, items: Vec<FeedItem>) -> Result<(), PushError> {
        let Some(PendingResume { resume, .. }) = &mut self.fitting else {
            return self.send(items);
        };
        for item in items {
            let identity = identity(&item, &self.guest);
            let key = item.key().map(str::to_owned);
            let bytes = bytes(&item);
            resume
                .take(key.as_deref(), identity, item, bytes)
                .map_err(|why| PushError::Refused(Failure::usage(why)))?;
        }
        self.begin_if_complete()
    }

    /// Nothing more is to be pushed.
    pub fn end(&mut self) -> Result<(), PushError> {
        if let Some(PendingResume { resume, .. }) = &self.fitting {
            resume
                .end()
                .map_err(|why| PushError::Refused(Failure::usage(why)))?;
        }
        self.begin_if_complete()
    }

    /// How many tasks were pushed.
    pub fn pushed(&self) -> u64 {
        self.next - self.skipped
    }

    fn begin_if_complete(&mut self) -> Result<(), PushError> {
        let complete = |fitting: &mut PendingResume<'_>| fitting.resume.is_complete();
        let Some(PendingResume { mut resume, begin }) = self.fitting.take_if(complete) else {
            return Ok(());
        };
        begin(resume.skipped()).map_err(PushError::Refused)?;
        let mut run = Vec::new();
        for step in resume.held() {
            match step {
                ResumeStep::Run(item) => {
                    run.push(item);
                    if run.len() == BATCH {
                        self.send(std::mem::take(&mut run))?;
                    }
                }
                ResumeStep::Skip(count) => {
                    self.send(std::mem::take(&mut run))?;
                    self.taker.skip(count)?;
                    self.next += count;
                    self.skipped += count;
                }
            }
        }
        self.send(run)
    }

    fn send(&mut self, items: Vec<FeedItem>) -> Result<(), PushError> {
        if let Some(roll) = &self.roll {
            let listed = |(id, item): (u64, &FeedItem)| {
                let identity = roll.has_identities().then(|| identity(item, &self.guest));
                (
                    id,
                    TaskEntry::new(identity, roll.has_tags().then(|| tag(id, item))),
                )
            };
            roll.add((self.next..).zip(&items).map(listed));
        }
        let mut tasks = Vec::with_capacity(items.len());
        for item in items {
            match item {
                FeedItem::Task(task, _) => tasks.push(task),
                FeedItem::Rejected(rejected) => {
                    self.send_tasks(std::mem::take(&mut tasks))?;
                    self.expect(1);
                    self.next += 1;
                    self.taker.reject(rejected)?;
                }
            }
        }
        self.send_tasks(tasks)
    }

    fn send_tasks(&mut self, tasks: Vec<Task>) -> Result<(), PushError> {
        if tasks.is_empty() {
            return Ok(());
        }
        if self.order.is_none() {
            self.next += tasks.len() as u64;
            return self.taker.push_all(tasks);
        }
        let mut tasks = tasks.into_iter();
        while tasks.len() > 0 {
            let batch: Vec<_> = tasks.by_ref().take(order::BATCH).collect();
            self.expect(batch.len() as u64);
            self.next += batch.len() as u64;
            self.taker.push_all(batch)?;
        }
        Ok(())
    }

    fn expect(&self, count: u64) {
        if let Some(order) = &self.order {
            order.expect(self.next..self.next + count);
        }
    }
}

fn identity(item: &FeedItem, guest: &[u8; 32]) -> TaskIdentity {
    match item {
        FeedItem::Task(task, _) => TaskIdentity::of(&task.parts()),
        FeedItem::Rejected(rejected) => TaskIdentity::of_rejected(guest, rejected),
    }
}

/// Bytes that an item takes while it waits, about.
fn bytes(item: &FeedItem) -> usize {
    let beside = match item {
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
    // A place in the list, and what the allocator takes for each part.
    size_of::<ResumeStep<FeedItem>>() + 4 * size_of::<usize>() + beside
}

/// What stands before the lines of a task: the beginning of its input, else its key, else its id.
fn tag(id: u64, item: &FeedItem) -> String {
    let named = match item {
        FeedItem::Task(task, input) => input.as_deref().or(task.parts().key),
        FeedItem::Rejected(rejected) => rejected.key.as_deref(),
    };
    named.map_or_else(|| id.to_string(), |named| named.chars().take(MAX_TAG).collect())
}

/// Writes what would run to stdout, as task lines.
pub struct DryRunSink {
    out: Mutex<BufWriter<Descriptor>>,
    terminal: bool,
    /// How lines name the guest with a hash, where they have to.
    names: Option<HashMap<[u8; 32], String>>,
}

impl DryRunSink {
    /// Writes there; with the `names` of several guests, by their hash, each line names its own.
    pub fn new(out: Descriptor, names: Option<HashMap<[u8; 32], String>>) -> Self {
        Self {
            terminal: out.is_terminal(),
            out: Mutex::new(BufWriter::new(out)),
            names,
        }
    }

    /// The task line.
    fn line(&self, parts: &TaskParts<'_>) -> serde_json::Result<String> {
        let mut fields = serde_json::Map::new();
        if let Some(names) = &self.names {
            let name = names
                .get(parts.guest.hash())
                .map_or(parts.guest.name(), String::as_str);
            fields.insert("guest".into(), json!(name));
        }
        fields.insert("model".into(), json!(parts.model));
        if let Some(key) = parts.key {
            fields.insert("key".into(), json!(key));
        }
        let timeout = humantime::format_duration(parts.timeout).to_string();
        fields.insert("timeout".into(), json!(timeout));
        if !parts.stdin.is_empty() {
            match str::from_utf8(parts.stdin) {
                Ok(text) => fields.insert("stdin".into(), json!(text)),
                Err(_) => fields.insert("stdin_base64".into(), json!(STANDARD.encode(parts.stdin))),
            };
        }
        let fields = serde_json::to_string(&fields)?;
        let fields = fields.strip_suffix('}').unwrap_or(&fields);
        // The args stay as they were written, down to the digits of numbers.
        let line = format!("{fields},\"args\":{}}}", parts.args.unwrap_or("[]"));
        Ok(match self.terminal {
            true => escape_json(&line).into_owned(),
            false => line,
        })
    }
}

impl TaskSink for DryRunSink {
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), PushError> {
        let write = || -> io::Result<()> {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            for task in &tasks {
                writeln!(out, "{}", self.line(&task.parts())?)?;
            }
            out.flush()
        };
        write().map_err(|error| PushError::Refused(cannot_show(error)))
    }

    fn reject(&self, rejected: Rejected) -> Result<(), PushError> {
        stdio::print_message(&rejected.message);
        Ok(())
    }

    fn skip(&self, _: u64) -> Result<(), PushError> {
        Ok(())
    }
}

/// Why a dry run ends: its reader left, or a task line can't be written for another reason.
fn cannot_show(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Failure {
            exit: Exit::Unread,
            error: error.into(),
        },
        _ => Failure::internal(anyhow::Error::new(error).context("cannot write the task lines to stdout")),
    }
}
