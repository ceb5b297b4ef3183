//! Brings tasks to the pool: from task lines, from the command line, or from the guest's `tasks` export.
//!
//! This runs on a thread of its own, which may wait for input or for room in the pool for as long as it takes.

use std::io::{self, Read};
use std::mem;

use anyhow::anyhow;
use mpwasm::{Guest, Pool, Rejected, Task, TaskLine};
use serde_json::value::RawValue;

use super::exit::{Exit, Failure, OrExit};
use super::lines::{Line, Lines};
use super::stdio::Descriptor;

/// Tasks that are pushed with one call, when so many are at hand.
const BATCH_TASKS: usize = 1024;
/// Bytes of task lines that are pushed with one call, when so many are at hand.
const BATCH_BYTES: usize = 256 << 10;

/// Where a run's tasks come from.
pub enum Origin {
    /// Task lines.
    Lines {
        /// The lines.
        lines: Lines<Descriptor>,
        /// What people call the place they come from.
        name: String,
    },
    /// The args of each task, from the command line.
    Args(Vec<Box<RawValue>>),
    /// The guest's `tasks` export.
    Guest,
}

/// Tasks that have passed every check that can be made before anything runs.
pub enum Feed {
    /// Task lines for this guest; those that name no model are for this one.
    Lines {
        guest: Guest,
        model: String,
        lines: Lines<Descriptor>,
        name: String,
    },
    /// The tasks themselves.
    Tasks(Vec<Task>),
    /// The `tasks` export of this guest.
    Guest(Guest),
}

impl Feed {
    /// Checks what can be checked now. `model` is the model of tasks that name none; `None` is the unnamed one. All
    /// failures are [`Exit::Usage`].
    pub fn prepare(guest: Guest, model: Option<String>, origin: Origin) -> Result<Self, Failure> {
        if let Some(name) = &model {
            guest.model(name).or_usage()?;
        }
        match (origin, model) {
            (Origin::Guest, Some(name)) => Err(Failure::usage(anyhow!(
                "what the guest's `tasks` export pushes names its own models: leave out #{name}, or give tasks with \
                 --tasks FILE, --args JSON or -- ARG..."
            ))),
            // As a shell would run it: once, without arguments.
            (Origin::Guest, None) if guest.info().is_command && !guest.info().has_tasks => {
                Ok(Self::Tasks(vec![guest.task(())]))
            }
            (Origin::Guest, None) if !guest.info().has_tasks => Err(Failure::usage(anyhow!(
                "no tasks: the guest has no `tasks` export, so give it some with --tasks FILE, --args JSON or -- ARG..."
            ))),
            (Origin::Guest, None) => Ok(Self::Guest(guest)),
            (Origin::Lines { lines, name }, model) => Ok(Self::Lines {
                guest,
                model: model.unwrap_or_default(),
                lines,
                name,
            }),
            (Origin::Args(all), model) => {
                let model = model.unwrap_or_default();
                guest
                    .model(&model)
                    .map_err(|why| Failure::usage(anyhow!("{why}; name one as in GUEST#MODEL")))?;
                let line = |args| TaskLine {
                    args,
                    key: None,
                    model: None,
                    timeout: None,
                    stdin: None,
                };
                let tasks: Result<Vec<Task>, _> = all
                    .into_iter()
                    .map(|args| guest.line_task(&line(args), &model))
                    .collect();
                tasks.map(Self::Tasks).or_usage()
            }
        }
    }

    /// Pushes everything, and waits for room in the pool as long as it takes. That the pool has ended in the meantime
    /// is no failure here: whoever waits for the pool learns why.
    pub fn push_to(self, pool: &Pool) -> Result<(), Failure> {
        let pushed = match self {
            Self::Lines {
                guest,
                model,
                mut lines,
                name,
            } => {
                let mut sink = PoolSink { pool, guest: &guest };
                match feed_lines(&mut lines, &name, &model, &mut sink) {
                    Err(FeedError::Read(error)) => {
                        let why = format!("cannot read more tasks from {name}");
                        return Err(Failure::internal(anyhow::Error::new(error).context(why)));
                    }
                    Err(FeedError::Push(error)) => Err(error),
                    Ok(()) => Ok(()),
                }
            }
            Self::Tasks(tasks) => pool.push_all(tasks).map(drop),
            Self::Guest(guest) => pool.push_from_guest(&guest).map(drop),
        };
        match pushed {
            Err(error) if has_ended(&error) => Ok(()),
            // The guest's fault; what it pushed before still runs.
            Err(error @ mpwasm::Error::Tasks { .. }) => Err(Failure {
                exit: Exit::TasksFailed,
                error: error.into(),
            }),
            pushed => pushed.or_internal(),
        }
    }
}

/// Whether this error only says that the pool has ended.
pub fn has_ended(error: &mpwasm::Error) -> bool {
    use mpwasm::Error;
    matches!(
        error,
        Error::Closed | Error::PoolFailed { .. } | Error::DispatcherDied { .. } | Error::Report { .. }
    )
}

/// What task lines become: tasks of the pool, or something that a test can look at.
trait Sink {
    type Task;
    /// Makes a task, or says why the line is none.
    fn task(&self, line: TaskLine, model: &str) -> Result<Self::Task, Rejected>;
    /// Pushes tasks, in this order.
    fn push_all(&mut self, tasks: Vec<Self::Task>) -> Result<(), mpwasm::Error>;
    /// Lets what is no task end as `invalid`.
    fn reject(&mut self, rejected: Rejected) -> Result<(), mpwasm::Error>;
}

struct PoolSink<'a> {
    pool: &'a Pool,
    guest: &'a Guest,
}

impl Sink for PoolSink<'_> {
    type Task = Task;

    fn task(&self, line: TaskLine, model: &str) -> Result<Task, Rejected> {
        self.guest.line_task(&line, model).map_err(|error| Rejected {
            key: line.key.clone(),
            model: line.model.unwrap_or_else(|| model.to_owned()),
            args: Some(line.args),
            message: error.to_string(),
        })
    }

    fn push_all(&mut self, tasks: Vec<Task>) -> Result<(), mpwasm::Error> {
        self.pool.push_all(tasks).map(drop)
    }

    fn reject(&mut self, rejected: Rejected) -> Result<(), mpwasm::Error> {
        self.pool.reject(rejected).map(drop)
    }
}

/// Why feeding lines ended before the lines did.
#[derive(Debug)]
enum FeedError {
    Read(io::Error),
    Push(mpwasm::Error),
}

/// Pushes what the lines say, in their order: many with one call when they are at hand, but never waiting for more
/// input while something is.
fn feed_lines<S: Sink>(
    lines: &mut Lines<impl Read>,
    name: &str,
    default_model: &str,
    sink: &mut S,
) -> Result<(), FeedError> {
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some((number, line)) = lines.next_at_hand() {
            let read = match line {
                Line::Bytes(line) => {
                    bytes += line.len();
                    TaskLine::parse(line)
                }
                Line::TooLong => Err("longer than --max-args allows".into()),
            };
            let task = match read {
                Ok(None) => continue,
                Ok(Some(mut line)) => {
                    let model = line.model.take();
                    sink.task(line, model.as_deref().unwrap_or(default_model))
                }
                Err(message) => Err(Rejected {
                    key: None,
                    model: default_model.to_owned(),
                    args: None,
                    message,
                }),
            };
            match task {
                Ok(task) => batch.push(task),
                Err(mut rejected) => {
                    rejected.message = format!("line {number} of {name}: {}", rejected.message);
                    push(sink, &mut batch)?;
                    sink.reject(rejected).map_err(FeedError::Push)?;
                }
            }
            if batch.len() >= BATCH_TASKS || bytes >= BATCH_BYTES {
                push(sink, &mut batch)?;
                bytes = 0;
            }
        }
        push(sink, &mut batch)?;
        if !lines.read_more().map_err(FeedError::Read)? {
            return Ok(());
        }
    }
}

fn push<S: Sink>(sink: &mut S, batch: &mut Vec<S::Task>) -> Result<(), FeedError> {
    if batch.is_empty() {
        return Ok(());
    }
    sink.push_all(mem::take(batch)).map_err(FeedError::Push)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what happens. It knows the unnamed model and `M`, and accepts args of one digit.
    #[derive(Default)]
    struct Diary {
        entries: Vec<String>,
        closed_after: Option<usize>,
    }

    impl Diary {
        fn note(&mut self, entry: String) -> Result<(), mpwasm::Error> {
            if self.closed_after == Some(self.entries.len()) {
                return Err(mpwasm::Error::Closed);
            }
            self.entries.push(entry);
            Ok(())
        }
    }

    impl Sink for Diary {
        type Task = String;

        fn task(&self, line: TaskLine, model: &str) -> Result<String, Rejected> {
            if line.args.get().len() == 3 && ["", "M"].contains(&model) {
                return Ok(format!("{model}{}", line.args));
            }
            Err(Rejected {
                key: line.key,
                model: model.to_owned(),
                args: None,
                message: "no".into(),
            })
        }

        fn push_all(&mut self, tasks: Vec<String>) -> Result<(), mpwasm::Error> {
            self.note(format!("push {}", tasks.join(" ")))
        }

        fn reject(&mut self, rejected: Rejected) -> Result<(), mpwasm::Error> {
            self.note(format!("reject {}: {}", rejected.model, rejected.message))
        }
    }

    fn fed(input: impl Read) -> Vec<String> {
        let mut diary = Diary::default();
        feed_lines(&mut Lines::new(input, 1000), "f", "", &mut diary).unwrap();
        diary.entries
    }

    #[test]
    fn lines_at_hand_are_pushed_together_and_bad_ones_keep_their_place() {
        let input = "[1]\n\n{\"args\":[2],\"model\":\"M\"}\r\nbad\n[3]\n{\"args\":[4],\"model\":\"N\"}\n[5]";
        assert_eq!(
            fed(input.as_bytes()),
            [
                "push [1] M[2]",
                "reject : line 4 of f: neither a JSON array of args nor an object with `args`",
                "push [3]",
                "reject N: line 6 of f: no",
                "push [5]",
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_rejected_and_the_next_one_runs() {
        let long = format!("[{}]\n[1]\n", "1".repeat(100_000));
        assert_eq!(
            fed(long.as_bytes()),
            ["reject : line 1 of f: longer than --max-args allows", "push [1]"]
        );
    }

    #[test]
    fn batches_are_bounded() {
        let many = "[1]\n".repeat(3000);
        let pushes: Vec<usize> = fed(many.as_bytes())
            .iter()
            .map(|push| push.matches("[1]").count())
            .collect();
        assert_eq!(pushes, [1024, 1024, 952]);
    }

    #[test]
    fn what_is_there_is_pushed_before_more_input_is_waited_for() {
        /// One line per read; each read looks at how much was pushed before it.
        struct OneByOne<'a>(&'a std::cell::Cell<usize>, usize);
        impl Read for OneByOne<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert_eq!(self.0.get(), self.1, "all lines so far were pushed");
                if self.1 == 3 {
                    return Ok(0);
                }
                self.1 += 1;
                buffer[..4].copy_from_slice(b"[1]\n");
                Ok(4)
            }
        }
        struct Counter<'a>(&'a std::cell::Cell<usize>);
        impl Sink for Counter<'_> {
            type Task = ();
            fn task(&self, _: TaskLine, _: &str) -> Result<(), Rejected> {
                Ok(())
            }
            fn push_all(&mut self, tasks: Vec<()>) -> Result<(), mpwasm::Error> {
                self.0.set(self.0.get() + tasks.len());
                Ok(())
            }
            fn reject(&mut self, _: Rejected) -> Result<(), mpwasm::Error> {
                unreachable!("all lines are tasks")
            }
        }
        let pushed = std::cell::Cell::new(0);
        feed_lines(
            &mut Lines::new(OneByOne(&pushed, 0), 1000),
            "f",
            "",
            &mut Counter(&pushed),
        )
        .unwrap();
        assert_eq!(pushed.get(), 3);
    }

    #[test]
    fn the_model_of_lines_that_name_none_is_the_default_and_an_empty_name_is_the_unnamed_one() {
        let mut diary = Diary::default();
        let input = &b"[1]\n{\"args\":[2],\"model\":\"\"}\n"[..];
        feed_lines(&mut Lines::new(input, 1000), "f", "M", &mut diary).unwrap();
        assert_eq!(diary.entries, ["push M[1] [2]"]);
    }

    #[test]
    fn a_closed_pool_ends_the_feeding_and_is_no_failure() {
        let mut diary = Diary {
            closed_after: Some(1),
            ..Diary::default()
        };
        let result = feed_lines(
            &mut Lines::new(&b"[1]\nbad\n[2]\n"[..], 1000),
            "f",
            "",
            &mut diary,
        );
        let Err(FeedError::Push(error)) = result else {
            panic!("it went on: {result:?}");
        };
        assert_eq!(diary.entries, ["push [1]"]);
        assert!(has_ended(&error));
    }
}
