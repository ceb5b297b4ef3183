//! Feeds the pool with tasks from lines, from the command line, or from the guests' `tasks` exports.
//!
//! It runs on a separate thread, which can block on input and on a full pool.

use anyhow::anyhow;
use mpwasm::internal::Rejected;
use mpwasm::{Guest, Pool, Task};
use mpwasm_types::task_line::TaskLine;

use crate::process::exit::{Exit, ExitError, has_pool_ended};
use crate::run::guests::{LoadedGuest, LoadedGuests};
use crate::run::input::batches::{FeedError, ItemSink, feed_combined, feed_lines};
use crate::run::input::lines::InputLines;
use crate::run::input::pusher::{FeedItem, SinkError, TaskPusher, TaskSink};
use crate::run::input::source::{InputExpansion, LineFormat, TaskSource};
use crate::run::input::task_template::TaskTemplate;
use crate::terminal::progress::ProgressCounter;
use crate::terminal::stdio::BlockingFile;

/// How the feeder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// All tasks were pushed.
    All,
    /// The pool closed before the last task was pushed.
    CutShort,
}

/// Tasks that have passed all checks that are possible before a task runs.
pub enum TaskFeed<'a> {
    /// Lines of a stream.
    Lines {
        guests: &'a LoadedGuests,
        lines: InputLines<BlockingFile>,
        name: String,
        form: LineFormat,
    },
    /// Combinations of inputs.
    Combined {
        guests: &'a LoadedGuests,
        first: Vec<String>,
        inputs: InputExpansion,
    },
    /// All tasks.
    Tasks(Vec<FeedItem>),
    /// The `tasks` exports of these guests.
    GuestExports(Vec<&'a Guest>),
}

impl<'a> TaskFeed<'a> {
    /// Checks what can be checked before a task runs.
    ///
    /// # Errors
    /// Usage errors.
    pub fn prepare(guests: &'a LoadedGuests, origin: TaskSource) -> Result<Self, ExitError> {
        match origin {
            TaskSource::Lines { lines, name, form } => {
                if let LineFormat::Input(inputs) = &form {
                    takes_inputs(guests, &inputs.template)?;
                }
                Ok(Self::Lines {
                    guests,
                    lines,
                    name,
                    form,
                })
            }
            // Combinations and contents of files can be large: they are made one by one.
            TaskSource::Listed(first, inputs)
                if inputs.others.lists() > 1 || matches!(inputs.template, TaskTemplate::File(..)) =>
            {
                takes_inputs(guests, &inputs.template)?;
                Ok(Self::Combined {
                    guests,
                    first,
                    inputs,
                })
            }
            TaskSource::Listed(listed, inputs) => {
                takes_inputs(guests, &inputs.template)?;
                let task = |input: String| {
                    let line = inputs.template.task(&[&input]).map_err(ExitError::usage)?;
                    Ok(FeedItem::Task(task_of(guests, line)?, Some(input)))
                };
                let tasks = listed.into_iter().map(task).collect::<Result<_, _>>();
                tasks.map(Self::Tasks)
            }
            TaskSource::Args(all) => {
                one_model(guests)?;
                let task = |args| Ok(FeedItem::Task(task_of(guests, TaskLine::of(args))?, None));
                let tasks = all.into_iter().map(task).collect::<Result<_, _>>();
                tasks.map(Self::Tasks)
            }
            // Like a shell: once, without arguments.
            TaskSource::GuestExport
                if let Some(one) = guests.only().filter(|one| runs_without_tasks(one)) =>
            {
                Ok(Self::Tasks(vec![FeedItem::Task(one.guest.task(()), None)]))
            }
            TaskSource::GuestExport => {
                let exports = guests.all().iter().map(check_tasks_export);
                exports.collect::<Result<_, _>>().map(Self::GuestExports)
            }
        }
    }

    /// Sets the number of tasks of the progress bar, if it is known.
    pub fn set_total(&self, counter: &ProgressCounter) {
        match self {
            Self::Lines { lines, form, .. } => {
                let (most, each) = match form {
                    LineFormat::Task => (u64::MAX, 1),
                    LineFormat::Input(inputs) => (inputs.others.max_first(), inputs.others.each()),
                };
                let tasks = move |lines: u64| lines.min(most).saturating_mul(each);
                if let Ok(file) = lines.source().file() {
                    counter.total_of_lines(file, lines.delimiter(), tasks);
                }
            }
            Self::Combined { first, inputs, .. } => counter.total(inputs.others.count(first.len() as u64)),
            Self::Tasks(items) => counter.total(items.len() as u64),
            Self::GuestExports(_) => {}
        }
    }

    /// Pushes all tasks, and waits while the pool is full. `pool` runs guests' `tasks` exports.
    ///
    /// # Errors
    /// When tasks can't be read or are refused. A pool that has ended is no error here: its waiter reports it.
    pub fn push_to(
        self,
        pool: &Pool,
        pusher: &mut TaskPusher<'_, impl TaskSink>,
    ) -> Result<FeedEnd, ExitError> {
        let pushed = match self {
            Self::Lines {
                guests,
                mut lines,
                name,
                form,
            } => match feed_lines(&mut lines, &name, &form, &mut FeedSink { guests, pusher }) {
                Err(FeedError::Read(error)) => {
                    let why = format!("cannot read more tasks from {name}");
                    return Err(ExitError::internal(anyhow::Error::new(error).context(why)));
                }
                Err(FeedError::Push(error)) => Err(error),
                Ok(()) => Ok(()),
            },
            Self::Combined {
                guests,
                first,
                inputs,
            } => feed_combined(&first, &inputs, &mut FeedSink { guests, pusher }),
            Self::Tasks(items) => pusher.push(items),
            Self::GuestExports(guests) => guests
                .into_iter()
                .try_for_each(|guest| push_tasks_of(guest, pool, pusher)),
        };
        // Tasks that a guest's `tasks` pushed before it failed still run.
        let ended = match &pushed {
            Ok(()) | Err(SinkError::Pool(mpwasm::Error::Tasks { .. })) => pusher.end(),
            Err(_) => Ok(()),
        };
        match ended.and(pushed) {
            Err(SinkError::Refused(failure)) => Err(failure),
            Err(SinkError::Pool(error)) if has_pool_ended(&error) => Ok(FeedEnd::CutShort),
            Err(SinkError::Pool(error @ mpwasm::Error::Tasks { .. })) => Err(ExitError {
                exit: Exit::TasksFailed,
                error: error.into(),
            }),
            Err(SinkError::Pool(error)) => Err(ExitError::internal(error)),
            Ok(()) => Ok(FeedEnd::All),
        }
    }
}

/// Returns the task of a line. A rejected line is a usage error.
fn task_of(guests: &LoadedGuests, line: TaskLine) -> Result<Task, ExitError> {
    guests
        .task(line)
        .map_err(|rejected| ExitError::usage(anyhow!(rejected.message)))
}

/// Checks that a guest has a `tasks` export, and returns the guest.
fn check_tasks_export(one: &LoadedGuest) -> Result<&Guest, ExitError> {
    if let Some(name) = &one.model {
        return Err(ExitError::usage(anyhow!(
            "what the guest's `tasks` export pushes names its own models: leave out #{name}, or give \
             tasks with --tasks FILE, -a FILE, --args JSON, -- ARG... or ::: INPUT..."
        )));
    }
    if !one.guest.info().has_tasks {
        return Err(ExitError::usage(anyhow!(
            "no tasks: the guest {} has no `tasks` export, so give it some with --tasks FILE, -a FILE, \
             --args JSON, -- ARG... or ::: INPUT...",
            one.guest.name()
        )));
    }
    Ok(&one.guest)
}

/// Pushes the tasks of a guest's `tasks` export.
fn push_tasks_of(
    guest: &Guest,
    pool: &Pool,
    pusher: &mut TaskPusher<'_, impl TaskSink>,
) -> Result<(), SinkError> {
    let mut refused = None;
    let ended = pool.tasks_of(guest, |tasks| {
        let mut item = |task| {
            let item = pusher.with_new_key(FeedItem::Task(task, None));
            item.unwrap_or_else(FeedItem::Rejected)
        };
        let items = tasks.into_iter().map(&mut item).collect();
        match pusher.push(items) {
            Ok(()) => Ok(()),
            Err(SinkError::Pool(error)) => Err(error),
            Err(error) => {
                refused = Some(error);
                Err(mpwasm::Error::Closed) // this ends the guest's `tasks`
            }
        }
    });
    match refused {
        Some(error) => Err(error),
        None => ended.map(drop).map_err(SinkError::Pool),
    }
}

/// Checks that inputs can be tasks of these guests.
fn takes_inputs(guests: &LoadedGuests, template: &TaskTemplate) -> Result<(), ExitError> {
    let only = one_model(guests)?;
    if template.is_stdin() && !only.guest.info().is_command {
        return Err(ExitError::usage(anyhow!(
            "--stdin and --stdin-files are only for command guests, and {} is none: leave them out, and each input is an arg",
            only.guest.name()
        )));
    }
    Ok(())
}

/// Returns the guest of tasks that name neither guest nor model.
fn one_model(guests: &LoadedGuests) -> Result<&LoadedGuest, ExitError> {
    let Some(only) = guests.only() else {
        return Err(ExitError::usage(anyhow!(
            "there are several guests: give tasks with --tasks FILE, where each names its `guest`"
        )));
    };
    let model = only.model.as_deref().unwrap_or_default();
    only.guest
        .model(model)
        .map_err(|why| ExitError::usage(anyhow!("{why}; name one as in GUEST#MODEL")))?;
    Ok(only)
}

/// Returns whether a guest runs once if no tasks are given: a command without a `tasks` export.
fn runs_without_tasks(one: &LoadedGuest) -> bool {
    let info = one.guest.info();
    info.is_command && !info.has_tasks && one.model.is_none()
}

/// Makes tasks of lines, and pushes them.
struct FeedSink<'a, 'p, T> {
    guests: &'a LoadedGuests,
    pusher: &'a mut TaskPusher<'p, T>,
}

impl<T: TaskSink> ItemSink for FeedSink<'_, '_, T> {
    type Item = FeedItem;
    type Error = SinkError;

    fn task(&mut self, line: TaskLine, input: Option<&str>) -> Result<FeedItem, Rejected> {
        let item = match self.guests.task(line) {
            Ok(task) => FeedItem::Task(task, input.map(str::to_owned)),
            Err(rejected) => FeedItem::Rejected(rejected),
        };
        match self.pusher.with_new_key(item)? {
            FeedItem::Rejected(rejected) => Err(rejected),
            task => Ok(task),
        }
    }

    fn rejected(&mut self, message: String) -> Rejected {
        let rejected = self.guests.rejected(message);
        match self.pusher.with_new_key(FeedItem::Rejected(rejected)) {
            Ok(FeedItem::Rejected(rejected)) | Err(rejected) => rejected,
            Ok(FeedItem::Task(..)) => unreachable!("a rejected item stays rejected"),
        }
    }

    fn reject(&self, rejected: Rejected) -> FeedItem {
        FeedItem::Rejected(rejected)
    }

    fn push(&mut self, items: Vec<FeedItem>) -> Result<(), SinkError> {
        self.pusher.push(items)
    }
}
