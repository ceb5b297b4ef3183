//! Brings tasks to the pool: from lines, from the command line, or from the guests' `tasks` exports.
//!
//! This runs on a thread of its own, which may wait for input or for room in the pool for as long as it takes. How a
//! task gets into the pool is in `pusher.rs`.

use anyhow::anyhow;
use mpwasm::internal::Rejected;
use mpwasm::{Guest, Pool};
use mpwasm_types::task_line::TaskLine;
use serde_json::value::RawValue;

use crate::process::exit::{Exit, Failure};
use crate::run::end::FeedEnd;
use crate::run::guests::{LoadedGuest, LoadedGuests};
use crate::run::input::batches::{FeedError, ItemSink, feed_combined, feed_lines};
use crate::run::input::lines::Lines;
use crate::run::input::options::{InputExpansion, LineFormat, TaskSource, TaskTemplate};
use crate::run::input::pusher::{FeedItem, PushError, TaskPusher, TaskSink};
use crate::terminal::progress::ProgressCounter;
use crate::terminal::stdio::Descriptor;

/// Tasks that have passed every check that can be made before anything runs.
pub enum TaskFeed<'a> {
    /// Lines for these guests.
    Lines {
        guests: &'a LoadedGuests,
        lines: Lines<Descriptor>,
        name: String,
        form: LineFormat,
    },
    /// Combinations of inputs for these guests.
    Combined {
        guests: &'a LoadedGuests,
        first: Vec<String>,
        inputs: InputExpansion,
    },
    /// The tasks themselves.
    Tasks(Vec<FeedItem>),
    /// The `tasks` exports of these guests.
    GuestExports(Vec<&'a Guest>),
}

impl<'a> TaskFeed<'a> {
    /// Checks what can be checked now. All failures are [`Exit::Usage`].
    pub fn prepare(guests: &'a LoadedGuests, origin: TaskSource) -> Result<Self, Failure> {
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
            // What is large is not kept until all have been pushed: combinations, and the content of files.
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
                let task = |input: String| -> Result<FeedItem, Failure> {
                    let line = inputs
                        .template
                        .task(&[&input])
                        .map_err(|why| Failure::usage(anyhow!(why)))?;
                    let task = guests
                        .task(line)
                        .map_err(|why| Failure::usage(anyhow!(why.message)))?;
                    Ok(FeedItem::Task(task, Some(input)))
                };
                listed
                    .into_iter()
                    .map(task)
                    .collect::<Result<_, _>>()
                    .map(Self::Tasks)
            }
            TaskSource::Args(all) => {
                one_model(guests)?;
                let task = |args: Box<RawValue>| -> Result<FeedItem, Failure> {
                    let task = guests
                        .task(TaskLine::of(args))
                        .map_err(|why| Failure::usage(anyhow!(why.message)))?;
                    Ok(FeedItem::Task(task, None))
                };
                all.into_iter()
                    .map(task)
                    .collect::<Result<_, _>>()
                    .map(Self::Tasks)
            }
            // As a shell would run it: once, without arguments.
            TaskSource::GuestExport if let Some(one) = guests.only().filter(|one| runs_by_itself(one)) => {
                Ok(Self::Tasks(vec![FeedItem::Task(one.guest.task(()), None)]))
            }
            TaskSource::GuestExport => {
                let pushing = guests.all().iter().map(|one| {
                    if let Some(name) = &one.model {
                        return Err(Failure::usage(anyhow!(
                            "what the guest's `tasks` export pushes names its own models: leave out #{name}, or give \
                             tasks with --tasks FILE, -a FILE, --args JSON, -- ARG... or ::: INPUT..."
                        )));
                    }
                    if !one.guest.info().has_tasks {
                        return Err(Failure::usage(anyhow!(
                            "no tasks: the guest {} has no `tasks` export, so give it some with --tasks FILE, -a FILE, \
                             --args JSON, -- ARG... or ::: INPUT...",
                            one.guest.name()
                        )));
                    }
                    Ok(&one.guest)
                });
                pushing.collect::<Result<_, _>>().map(Self::GuestExports)
            }
        }
    }

    /// Says how many tasks there are, where that is known before they are pushed.
    pub fn announce(&self, counter: &ProgressCounter) {
        match self {
            Self::Lines { lines, form, .. } => {
                let (most, each) = match form {
                    LineFormat::Task => (u64::MAX, 1),
                    LineFormat::Input(inputs) => (inputs.others.most(), inputs.others.each()),
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

    /// Pushes everything, and waits for room in the pool as long as it takes. `pool` runs guests' `tasks`. That it has
    /// ended in the meantime is no failure here: whoever waits for it learns why.
    pub fn push_to(
        self,
        pool: &Pool,
        pusher: &mut TaskPusher<'_, impl TaskSink>,
    ) -> Result<FeedEnd, Failure> {
        let pushed = match self {
            Self::Lines {
                guests,
                mut lines,
                name,
                form,
            } => match feed_lines(&mut lines, &name, &form, &mut FeedSink { guests, pusher }) {
                Err(FeedError::Read(error)) => {
                    let why = format!("cannot read more tasks from {name}");
                    return Err(Failure::internal(anyhow::Error::new(error).context(why)));
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
        // What a guest's `tasks` pushed before it failed still runs.
        let ended = match &pushed {
            Ok(()) | Err(PushError::Pool(mpwasm::Error::Tasks { .. })) => pusher.end(),
            Err(_) => Ok(()),
        };
        match ended.and(pushed) {
            Err(PushError::Refused(failure)) => Err(failure),
            Err(PushError::Pool(error)) if has_ended(&error) => Ok(FeedEnd::CutShort),
            Err(PushError::Pool(error @ mpwasm::Error::Tasks { .. })) => Err(Failure {
                exit: Exit::TasksFailed,
                error: error.into(),
            }),
            Err(PushError::Pool(error)) => Err(Failure::internal(error)),
            Ok(()) => Ok(FeedEnd::All),
        }
    }
}

/// Pushes what a guest's `tasks` pushes.
fn push_tasks_of(
    guest: &Guest,
    pool: &Pool,
    pusher: &mut TaskPusher<'_, impl TaskSink>,
) -> Result<(), PushError> {
    let mut refused = None;
    let ended = pool.tasks_of(guest, |tasks| {
        let mut item = |task| {
            let item = pusher.with_new_key(FeedItem::Task(task, None));
            item.unwrap_or_else(FeedItem::Rejected)
        };
        let items = tasks.into_iter().map(&mut item).collect();
        match pusher.push(items) {
            Ok(()) => Ok(()),
            Err(PushError::Pool(error)) => Err(error),
            Err(error) => {
                refused = Some(error);
                Err(mpwasm::Error::Closed) // it ends the guest's `tasks`
            }
        }
    });
    match refused {
        Some(error) => Err(error),
        None => ended.map(drop).map_err(PushError::Pool),
    }
}

/// Whether inputs can be tasks of these guests.
fn takes_inputs(guests: &LoadedGuests, template: &TaskTemplate) -> Result<(), Failure> {
    let only = one_model(guests)?;
    if template.is_stdin() && !only.guest.info().is_command {
        return Err(Failure::usage(anyhow!(
            "--stdin and --stdin-files are only for command guests, and {} is none: leave them out, and each input is an arg",
            only.guest.name()
        )));
    }
    Ok(())
}

/// Whether tasks that name neither a guest nor a model are for one, and for which.
fn one_model(guests: &LoadedGuests) -> Result<&LoadedGuest, Failure> {
    let Some(only) = guests.only() else {
        return Err(Failure::usage(anyhow!(
            "there are several guests: give tasks with --tasks FILE, where each names its `guest`"
        )));
    };
    let model = only.model.as_deref().unwrap_or_default();
    only.guest
        .model(model)
        .map_err(|why| Failure::usage(anyhow!("{why}; name one as in GUEST#MODEL")))?;
    Ok(only)
}

/// Whether this guest is run without being given tasks: a command that has no `tasks`.
fn runs_by_itself(one: &LoadedGuest) -> bool {
    let info = one.guest.info();
    info.is_command && !info.has_tasks && one.model.is_none()
}

/// Whether this error only says that the pool has ended.
pub fn has_ended(error: &mpwasm::Error) -> bool {
    use mpwasm::Error;
    matches!(
        error,
        Error::Closed | Error::PoolFailed { .. } | Error::DispatcherDied { .. } | Error::Report { .. }
    )
}

/// Checks tasks against the guests, and pushes them.
struct FeedSink<'a, 'p, T> {
    guests: &'a LoadedGuests,
    pusher: &'a mut TaskPusher<'p, T>,
}

impl<T: TaskSink> ItemSink for FeedSink<'_, '_, T> {
    type Item = FeedItem;
    type Error = PushError;

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
            Ok(FeedItem::Task(..)) => unreachable!("what is no task does not become one"),
        }
    }

    fn reject(&self, rejected: Rejected) -> FeedItem {
        FeedItem::Rejected(rejected)
    }

    fn push(&mut self, items: Vec<FeedItem>) -> Result<(), PushError> {
        self.pusher.push(items)
    }
}
