//! The receiver: the parent's thread that starts the dispatcher, receives its messages and ends the pool.
//!
//! The dispatcher is less trusted than the parent. An outcome counts once and only for an accepted task, and a result is checked
//! before it is passed on. However the dispatcher ends, this thread gives every accepted task its outcome, reaps the dispatcher
//! and records how the pool ended.

use mpwasm_system::clock;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use tracing::Level;

use crate::backend::local::CommandStreams;
use crate::child_process;
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::ledger::ended::EndedTask;
use crate::ledger::task::Recipient;
use crate::pool::state::PoolEnd;
use crate::pool::state::PoolState;
use crate::report::{LogLine, Output, Reporter, Source};
use mpwasm_protocol::call_result;
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::in_memory;
use mpwasm_protocol::messages::{DispatcherStart, FromDispatcher, ToDispatcher, dispatcher_frame};
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::jail;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::poll::poll_until;
use mpwasm_types::escape::escape;
use mpwasm_types::exit_status::describe_exit;
use mpwasm_types::ids::TaskId;
use mpwasm_types::outcome::{Failure, Kind, Outcome, Stream};
use mpwasm_types::role::Role;
use mpwasm_types::settings::{LOG_LINE_COST, Settings};
use mpwasm_types::time::Time;

/// Longest time that a dispatcher may take to exit after its last message.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that workers may take to exit after their dispatcher.
const WORKERS_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The dispatcher process and the channel to it.
#[derive(Debug)]
pub struct Dispatcher {
    process: Process,
    channel: Channel,
}

impl Dispatcher {
    /// Starts the dispatcher and sends its configuration.
    pub fn start(
        executable: &Executable,
        settings: &Settings,
        memory: Option<&MemoryCgroup>,
        tasks: OwnedFd,
        dirs: &[OwnedFd],
        streams: CommandStreams,
        diagnostics: PipeWriter,
    ) -> Result<Self, Error> {
        let largest = dispatcher_frame(settings);
        let (process, channel) = child_process::start(executable, Role::Dispatcher, &diagnostics, largest)?;
        child_process::limit(&process, memory);
        let mut descriptors = vec![tasks.as_fd()];
        descriptors.extend(dirs.iter().map(AsFd::as_fd));
        descriptors.extend(streams.stdin.as_ref().map(AsFd::as_fd));
        in_memory::send(
            channel.as_fd(),
            &DispatcherStart {
                settings: settings.clone(),
                stdin: streams.stdin.is_some(),
                terminals: streams.terminals,
                jail: jail::available_options(settings.jail, settings.user)
                    .map(|plan| plan.with_files(settings.grants.files())),
                events: tracing::enabled!(Level::DEBUG),
            },
            &descriptors,
        )?;
        Ok(Self { process, channel })
    }

    /// Returns a duplicate of its socket, for sending.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.channel.as_fd().try_clone_to_owned()
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Receives messages until the pool has ended. `gone` is closed when the last of the pool's processes has exited.
    pub fn receive_all(mut self, shared: &Arc<PoolState>, gone: &mpsc::Receiver<()>) {
        let mut handler = MessageHandler {
            shared,
            finished: false,
            failure: None,
            wakeups: PendingWakeups::default(),
            outcomes: 0,
            confirmed: 0,
        };
        let broken = loop {
            let handled = handler.handle(self.channel.inbox());
            handler.wakeups.wake();
            match handled {
                Err(why) => break Some(why),
                Ok(()) if handler.finished => break None,
                Ok(()) => {}
            }
            shared.report(Reporter::flush);
            shared.counters.publish();
            handler.confirm();
            match self.receive(shared) {
                Ok(Filled::Closed) => break None,
                Ok(_) => {}
                Err(error) => break Some(error.to_string()),
            }
        };
        let (finished, failure) = (handler.finished, handler.failure.take());
        let end = self.end(finished);
        // Workers that lost their dispatcher exit by themselves.
        let _ = gone.recv_timeout(WORKERS_EXIT_TIMEOUT);
        if let Some(memory) = &shared.memory {
            memory.remove();
        }
        let why = broken.map_or_else(|| end.clone(), |why| format!("{why} ({end})"));
        // A dispatcher that was killed for missing the deadline of a termination did not crash.
        let obeyed = finished || shared.kill_at() != Time::NEVER;
        shared.conclude(if obeyed { None } else { Some(why) }, failure);
    }

    /// Waits for messages. Kills a dispatcher that was told to terminate and has missed its deadline.
    fn receive(&mut self, shared: &PoolState) -> io::Result<Filled> {
        let kill_at = shared.kill_at();
        if clock::now() >= kill_at {
            self.process.kill();
            return Ok(Filled::Closed);
        }
        let mut fds =
            [self.channel.as_fd(), shared.killing.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // The event stays readable once it was set: from then on only the deadline matters.
        let watched = if kill_at == Time::NEVER {
            &mut fds[..]
        } else {
            &mut fds[..1]
        };
        poll_until(watched, kill_at)?;
        if watched[0].any() == Some(true) {
            return self.channel.fill();
        }
        Ok(Filled::Nothing)
    }

    /// Reaps the dispatcher. If it sent its last message, it exits by itself.
    fn end(mut self, finished: bool) -> String {
        let status = if finished {
            self.process.wait_until(clock::now() + EXIT_TIMEOUT)
        } else {
            None
        };
        // A dispatcher that closed its socket is exiting: wait briefly for its status.
        let status = status.or_else(|| self.process.wait_until(clock::now() + Duration::from_millis(500)));
        let status = status.or_else(|| self.process.kill_and_reap(Duration::from_secs(1)));
        let end = status.map_or_else(|| "it did not end after SIGKILL".to_owned(), describe_exit);
        tracing::debug!(pid = self.process.pid(), "dispatcher reaped: {end}");
        end
    }
}

/// Handles the dispatcher's messages.
struct MessageHandler<'a> {
    shared: &'a PoolState,
    finished: bool,
    /// Why the pool failed, as the dispatcher reported it.
    failure: Option<String>,
    wakeups: PendingWakeups,
    /// Number of outcomes received.
    outcomes: u64,
    /// Number of outcomes confirmed to the dispatcher.
    confirmed: u64,
}

/// Queues with new outcomes that a thread or task waits for. Each is woken once per batch of messages, also on a panic.
#[derive(Default)]
struct PendingWakeups(Vec<Arc<ResultQueue>>);

impl PendingWakeups {
    fn add(&mut self, queue: Arc<ResultQueue>) {
        if !self.0.iter().any(|other| Arc::ptr_eq(other, &queue)) {
            self.0.push(queue);
        }
    }

    fn wake(&mut self) {
        while let Some(queue) = self.0.pop() {
            queue.wake();
        }
    }
}

impl Drop for PendingWakeups {
    fn drop(&mut self) {
        self.wake();
    }
}

impl MessageHandler<'_> {
    /// Confirms to the dispatcher that all outcomes so far were reported, if the pool is configured so. A pool that is ending
    /// confirms nothing: no task may start before the dispatcher receives the message that ends the pool.
    fn confirm(&mut self) {
        let is_awaited = self.shared.settings.confirm_outcomes && self.confirmed < self.outcomes;
        if is_awaited && !self.shared.cancelling.load(Ordering::SeqCst) {
            self.confirmed = self.outcomes;
            self.shared.tell(&ToDispatcher::Confirm {
                outcomes: self.outcomes,
            });
        }
    }

    /// Handles the messages that have arrived.
    fn handle(&mut self, inbox: &mut ReceiveBuffer) -> Result<(), String> {
        while let Some(frame) = inbox.next_message().map_err(|error| error.to_string())? {
            self.message(decode(frame).map_err(|error| error.to_string())?)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "to be divided")]
    fn message(&mut self, message: FromDispatcher<'_>) -> Result<(), String> {
        let shared = self.shared;
        match message {
            FromDispatcher::AttemptFailed { id, attempt } => {
                tracing::info!(
                    "task {id}: attempt {} ended as {}, and is followed by another: {}",
                    attempt.attempt,
                    attempt.kind,
                    escape(&attempt.message)
                );
                // An unfinished line ends with its attempt.
                end_output(shared, Source::Task(id));
                if !shared.ledger.record_attempt(id, attempt) {
                    return Err(format!(
                        "it reported an attempt of task {id} that can't have been"
                    ));
                }
                shared.counters.count_retry();
            }
            FromDispatcher::Outcome {
                id,
                ending,
                ran,
                callback,
            } => {
                let Some(mut ended) = shared.ledger.end(id) else {
                    return Err(format!("it reported the end of task {id}, which is not running"));
                };
                self.outcomes += 1;
                let outcome = ended.outcome(id, call_result::check(ending), ran, callback);
                end_output(shared, Source::Task(id));
                shared.report_outcome(&outcome);
                if let Some(queue) = shared.deliver(id, ended, outcome) {
                    self.wakeups.add(queue);
                }
            }
            FromDispatcher::Output {
                source,
                stream,
                bytes,
            } => {
                if bytes.is_empty() {
                    return Err(format!("it reported output of {source:?} that is none"));
                }
                // Output without a cap is streamed, with backpressure from its reader.
                let counted = match shared.settings.max_output {
                    u64::MAX => 0,
                    _ => bytes.len(),
                };
                self.check_output(source, counted)?;
                shared.report(|reporter| {
                    reporter.output(&Output {
                        source,
                        stream,
                        bytes,
                        end: false,
                    })
                });
            }
            FromDispatcher::OutputEnd { source } => {
                self.check_output(source, LOG_LINE_COST)?;
                end_output(shared, source);
            }
            FromDispatcher::Log {
                source,
                level,
                text,
                at,
            } => {
                self.check_output(source, text.len() + LOG_LINE_COST)?;
                let (worker, attempt) = at.unzip();
                let line = LogLine {
                    source,
                    level,
                    text,
                    worker,
                    attempt,
                };
                shared.report(|reporter| reporter.log(&line));
            }
            FromDispatcher::Final { guest, model, ending } => {
                if !shared
                    .final_values
                    .receive(guest, model, call_result::check(ending))
                {
                    return Err(format!(
                        "it reported a fold of model {model} of guest {guest} that can't be"
                    ));
                }
            }
            FromDispatcher::Loaded => {
                shared
                    .lifecycle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .loaded += 1;
                shared.changed.notify_all();
            }
            FromDispatcher::Status { request, reply } => shared.status_requests.answer(request, reply),
            FromDispatcher::Warning(text) => shared.report(|reporter| reporter.warning(text)),
            FromDispatcher::Event(event) => {
                let (task, attempt) = event.task.unzip();
                let (worker, pid) = (u32::from(event.worker), event.pid);
                let task = task.map(u64::from);
                tracing::debug!(worker, pid, task, attempt, "worker {}", escape(&event.what));
            }
            FromDispatcher::Failed(why) => {
                self.failure.get_or_insert_with(|| why.to_owned());
                shared.close();
            }
            FromDispatcher::Finished => self.finished = true,
        }
        Ok(())
    }

    /// Checks that the source may print or log this many more bytes. Output is kept until its source ends, so output of a source
    /// that has ended or never existed would leak. The bytes of each source are bounded, as output may also be kept in files
    /// (`--keep-order`, `--results-dir`).
    fn check_output(&self, source: Source, bytes: usize) -> Result<(), String> {
        let (bytes, cap) = (bytes as u64, self.shared.settings.attempt_output_cap());
        let of = match source {
            Source::Task(id) | Source::Callback(id) => self.shared.ledger.count_output(id, bytes, cap),
            Source::FinalCallback { guest, model } => {
                self.shared.final_values.count_output(guest, model, bytes, cap)
            }
            Source::Tasks => return Err("it reported output of `tasks`, which it does not run".to_owned()),
        };
        if of == Some(true) {
            return Ok(());
        }
        let whose = match source {
            Source::Task(id) | Source::Callback(id) => format!("task {id}"),
            Source::FinalCallback { guest, model } => {
                format!("a final callback of model {model} of guest {guest}")
            }
            Source::Tasks => "`tasks`".to_owned(),
        };
        Err(match (of, source) {
            (Some(_), _) => format!("it reported more output of {whose} than that can have"),
            (None, Source::FinalCallback { .. }) => format!("it reported output of {whose} that can't be"),
            (None, _) => format!("it reported output of {whose}, which is not running"),
        })
    }
}

/// Reports the end of a source's output.
fn end_output(shared: &PoolState, source: Source) {
    let end = Output {
        source,
        stream: Stream::Stdout,
        bytes: b"",
        end: true,
    };
    shared.report(|reporter| reporter.output(&end));
}

impl PoolState {
    /// Delivers an outcome to its recipient. Returns the map's queue if a consumer waits there and must be woken.
    fn deliver(&self, id: TaskId, ended: EndedTask, outcome: Outcome) -> Option<Arc<ResultQueue>> {
        if let Some((token, order)) = ended.token(id) {
            token.remove_task(self, order);
        }
        match ended.recipient() {
            Recipient::None => None,
            Recipient::Handle(slot) => {
                slot.fulfil(outcome);
                None
            }
            Recipient::Results(queue, number) => queue.push((number, outcome)).then_some(queue),
        }
    }

    /// Ends the pool: gives each pending task its outcome, then wakes all waiting threads.
    pub(crate) fn conclude(&self, died: Option<String>, failure: Option<String>) {
        self.close();
        let cancelled = self.cancelling.load(Ordering::SeqCst);
        let lost = match &died {
            Some(why) => Failure::new(Kind::Crash, format!("the dispatcher died: {why}")),
            None if cancelled => Failure::new(
                Kind::Cancelled,
                "the run was interrupted before the task had started",
            ),
            None => Failure::new(Kind::Crash, "the pool failed before the task had started"),
        };
        let mut wakeups = PendingWakeups::default();
        for (id, mut ended) in self.ledger.end_all() {
            let outcome = ended.lost(id, lost.clone());
            self.report_outcome(&outcome);
            if let Some(queue) = self.deliver(id, ended, outcome) {
                wakeups.add(queue);
            }
        }
        drop(wakeups);
        self.report(Reporter::flush);
        let error = if let Some(error) = self.reporter.take_failure() {
            Some(Error::Report(error))
        } else if let Some(why) = failure {
            Some(Error::PoolFailed(why))
        } else {
            died.map(Error::DispatcherDied)
        };
        let end = error.map_or(PoolEnd::Well, |error| PoolEnd::Failed(Some(error)));
        self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
        self.changed.notify_all();
        self.status_requests.end();
        self.counters.publish();
    }
}
