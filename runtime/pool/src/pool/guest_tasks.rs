//! Runs a guest's `tasks` in a process of its own and receives the tasks that it pushes, which are untrusted data.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::child_process;
use crate::child_process::{Diagnostics, TransientChild};
use crate::error::Error;
use crate::guest::Guest;
use crate::guest::Task;
use crate::objects::granted::ParentObjects;
use crate::pool::Pool;
use crate::report::event::{Event, PrintedOutput, Source};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{FromTasks, GuestOutput, OVERHEAD, ToTasks, task_frame};
use mpwasm_sandbox::jail;
use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::outcome::{Kind, Stream};
use mpwasm_types::role::Role;
use mpwasm_types::task_line::{TaskLine, TaskLineError};
use mpwasm_types::time::Time;
use mpwasm_types::timeouts::DISPATCHER_GRACE;

/// Bytes of a frame that must arrive for each extension of the deadline of `tasks`: 64 KiB.
const MIN_PROGRESS: usize = 64 << 10;

/// Result of handling messages.
enum TasksProgress {
    /// More messages will come.
    More,
    /// `tasks` has ended: successfully, or in this way.
    Ended(Option<TasksFailure>),
}

/// Why a guest's `tasks` failed.
#[derive(Debug, thiserror::Error)]
enum TasksFailure {
    #[error("{kind}: {message}")]
    Guest { kind: Kind, message: String },
    #[error("it neither pushed nor returned within {}, and was killed", humantime::format_duration(*.0))]
    TooSlow(Duration),
    #[error("its process ended early ({0})")]
    Died(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    NotTask(#[from] TaskLineError),
    /// It names a model that the guest does not have, or has args that the guest does not take.
    #[error("{0}")]
    InvalidTask(Error),
    #[error("it pushed more tasks than it may")]
    TooManyTasks,
    #[error("it printed nothing, and said so")]
    NoOutput,
    #[error("it printed more than it may")]
    TooMuchOutput,
}

/// Receives the tasks that were pushed.
type Take<'a> = dyn FnMut(Vec<Task>) -> Result<(), Error> + 'a;

impl Pool {
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
        run(self, guest, &mut take)
    }
}

/// Runs the guest's `tasks` to its end. Returns the number of tasks pushed.
fn run(pool: &Pool, guest: &Guest, take: &mut Take<'_>) -> Result<u64, Error> {
    guest.belongs_to(pool.shared.id)?;
    if !guest.info().has_tasks {
        return Err(Error::NoTasks);
    }
    let mut run = TasksRun {
        pool,
        guest,
        take,
        pushed: 0,
        printed: 0,
    };
    let result = run.drive();
    let end = PrintedOutput {
        source: Source::Tasks,
        stream: Stream::Stdout,
        bytes: b"",
        end: true,
    };
    pool.shared.report(&Event::Printed(end));
    pool.shared.flush_reports();
    match result {
        Ok(None) => Ok(run.pushed),
        Ok(Some(why)) => Err(Error::Tasks {
            pushed: run.pushed,
            why: why.to_string(),
        }),
        Err(error) => Err(error),
    }
}

/// The parent's deadline for the next push. It is later than that of the process's own watchdog, which a guest that escaped into
/// the process could disable.
struct PushDeadline {
    timeout: Duration,
    until: Time,
}

impl PushDeadline {
    /// Creates a deadline that starts at `from`.
    fn new(timeout: Duration, from: Time) -> Self {
        let until = from + timeout + DISPATCHER_GRACE;
        Self { timeout, until }
    }

    /// Returns whether the deadline has passed after messages were handled from `begin` to `now`. Time spent handling them
    /// is not counted: a push may wait for the pool, and output for its reader. Only a push restarts the deadline. A frame
    /// that is still growing extends it, which is bounded by the size of a frame.
    fn has_passed_after(&mut self, has_pushed: bool, more_came: bool, begin: Time, now: Time) -> bool {
        if has_pushed {
            *self = Self::new(self.timeout, now);
        } else {
            self.until = self.until + now.since(begin);
        }
        if more_came {
            self.until = self.until.max(now + DISPATCHER_GRACE);
        }
        now >= self.until
    }
}

struct TasksRun<'a> {
    pool: &'a Pool,
    guest: &'a Guest,
    take: &'a mut Take<'a>,
    pushed: u64,
    printed: u64,
}

impl TasksRun<'_> {
    /// Runs `tasks` until it has ended and its process is reaped. Returns why it failed, if it did.
    fn drive(&mut self) -> Result<Option<TasksFailure>, Error> {
        let shared = &self.pool.shared;
        let settings = &shared.settings;
        let largest = task_frame(settings.max_args).saturating_add(OVERHEAD);
        let (diagnostics, diagnostics_writer) = Diagnostics::new()?;
        let (process, mut channel) =
            child_process::start(&shared.executable, Role::Tasks, &diagnostics_writer, largest)?;
        drop(diagnostics_writer);
        shared.backend.limit(&process);
        let mut process = TransientChild::new(process, Role::Tasks);
        let objects = shared.objects.as_ref().map(ParentObjects::attach).transpose()?;
        let message = ToTasks {
            engine: EngineSettings::outside_workers(settings),
            info: self.guest.info().clone(),
            timeout: settings.timeout,
            first: shared.ledger.next_id(),
            max_tasks: settings.max_tasks,
            max_args: settings.max_args,
            objects: objects.is_some(),
            jail: jail::available_options(settings.jail, settings.user),
        };
        let mut descriptors = vec![self.guest.checked_artifact().as_fd()];
        descriptors.extend(objects.as_ref().map(AsFd::as_fd));
        in_memory::send(channel.as_fd(), &message, &descriptors)?;
        drop(objects); // the process has its own copy
        // Loading the guest does not count against the guest's time.
        let mut deadline = PushDeadline::new(settings.timeout, clock::now() + Duration::from_secs(1));
        // Whether the deadline had passed when all messages were handled.
        let mut late = false;
        loop {
            let mut fds = [
                PollFd::new(channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(shared.closing.as_fd(), PollFlags::POLLIN),
            ];
            poll_until(&mut fds, deadline.until)?;
            let [readable, closing] = [fds[0].any(), fds[1].any()].map(|any| any == Some(true));
            if closing {
                return Err(Error::Closed);
            }
            if late || !readable {
                return Ok(Some(TasksFailure::TooSlow(settings.timeout)));
            }
            let pieces = channel.inbox().pending() / MIN_PROGRESS;
            if channel.fill()? == Filled::Closed {
                let end = diagnostics.describe(&mut process);
                return Ok(Some(TasksFailure::Died(end)));
            }
            let (pushed, begin) = (self.pushed, clock::now());
            if let TasksProgress::Ended(why) = self.handle_messages(&mut channel)? {
                return Ok(why);
            }
            let has_pushed = self.pushed > pushed;
            let more_came = channel.inbox().pending() / MIN_PROGRESS > pieces;
            late = deadline.has_passed_after(has_pushed, more_came, begin, clock::now());
        }
    }

    /// Handles all messages that have arrived. Their tasks are passed on together.
    fn handle_messages(&mut self, channel: &mut Channel) -> Result<TasksProgress, Error> {
        let mut tasks = Vec::new();
        let ended = loop {
            match self.next(channel, &mut tasks) {
                Ok(None) => break None,
                Ok(Some(TasksProgress::More)) => {}
                Ok(Some(TasksProgress::Ended(why))) => break Some(why),
                Err(why) => break Some(Some(why)),
            }
        };
        self.pushed += tasks.len() as u64;
        if !tasks.is_empty() {
            (self.take)(tasks)?;
        }
        self.pool.shared.flush_reports();
        Ok(ended.map_or(TasksProgress::More, TasksProgress::Ended))
    }

    /// Handles the next message, if one has arrived.
    ///
    /// # Errors
    /// When the message is invalid.
    fn next(
        &mut self,
        channel: &mut Channel,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<TasksProgress>, TasksFailure> {
        let shared = &self.pool.shared;
        let Some(frame) = channel.inbox().next_message()? else {
            return Ok(None);
        };
        match decode(frame)? {
            FromTasks::Push(json) => {
                if self.pushed + tasks.len() as u64 >= shared.settings.max_tasks {
                    return Err(TasksFailure::TooManyTasks);
                }
                let line = TaskLine::parse_pushed(json)?;
                let task = self.guest.line_task(&line, "");
                tasks.push(task.map_err(TasksFailure::InvalidTask)?);
            }
            FromTasks::Output(output) => {
                self.count(output)?;
                shared.report(&Event::of_output(Source::Tasks, None, output));
            }
            FromTasks::Ended(failure) => {
                let why = failure.map(|failure| TasksFailure::Guest {
                    kind: failure.kind,
                    message: failure.message,
                });
                return Ok(Some(TasksProgress::Ended(why)));
            }
        }
        Ok(Some(TasksProgress::More))
    }

    /// Counts output. The process truncates a guest's output at the limit, so more than that is an error.
    fn count(&mut self, output: GuestOutput<'_>) -> Result<(), TasksFailure> {
        let max = self.pool.shared.settings.max_output;
        self.printed += output.counted(max).ok_or(TasksFailure::NoOutput)?;
        (self.printed <= max)
            .then_some(())
            .ok_or(TasksFailure::TooMuchOutput)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Handles messages every millisecond. Returns when the deadline passes.
    fn passes_after(
        deadline: &mut PushDeadline,
        mut handle_messages: impl FnMut(u64) -> (bool, bool),
    ) -> Duration {
        for at in 0..10_000 {
            let now = Time(at * 1_000_000);
            let (has_pushed, more_came) = handle_messages(at);
            if deadline.has_passed_after(has_pushed, more_came, now, now) {
                return now.since(Time(0));
            }
        }
        panic!("it never passes");
    }

    #[test]
    fn only_a_push_begins_the_time_of_tasks_anew() {
        let deadline = || PushDeadline::new(100 * MS, Time(0));
        let time = 100 * MS + DISPATCHER_GRACE;
        assert_eq!(
            passes_after(&mut deadline(), |_| (false, false)),
            time,
            "whatever it sends"
        );
        assert_eq!(
            passes_after(&mut deadline(), |at| (at == 50, false)),
            50 * MS + time
        );
    }

    #[test]
    fn a_task_on_its_way_is_waited_for_as_long_as_it_grows() {
        let mut deadline = PushDeadline::new(100 * MS, Time(0));
        let passed = passes_after(&mut deadline, |at| (false, at <= 2000 && at % 100 == 0));
        assert_eq!(passed, 2000 * MS + DISPATCHER_GRACE);
    }

    #[test]
    fn what_waits_for_the_pool_or_a_reader_costs_no_time() {
        let mut deadline = PushDeadline::new(100 * MS, Time(0));
        let now = Time(0) + 5000 * MS;
        assert!(!deadline.has_passed_after(false, false, Time(0), now));
        assert!(deadline.has_passed_after(false, false, now + 250 * MS, now + 250 * MS));
    }
}
