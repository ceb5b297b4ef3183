//! Handles what a backend reports: completes handles, calls the reporter, and ends the pool.
//!
//! A backend is less trusted than the pool. An outcome counts once and only for an accepted task. However the backend ends, every
//! accepted task gets its outcome here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backend::{BackendDied, BackendEvent, EventError, EventSink, EventSource};
use crate::completion::queue::ResultQueue;
use crate::error::Error;
use crate::ledger::ended::RemovedTask;
use crate::ledger::task::Recipient;
use crate::pool::state::{PoolEnd, PoolState};
use crate::report::event::{Event, PrintedOutput, Source, WorkerEvent};
use mpwasm_protocol::messages::{ControlRequest, Execution, GuestOutput};
use mpwasm_types::escape::escape;
use mpwasm_types::ids::{TaskId, WorkerNumber};
use mpwasm_types::outcome::{Attempt, CallbackStatus, Failure, Kind, Outcome, Stream};
use mpwasm_types::output::LOG_LINE_COST;
use serde_json::value::RawValue;

/// Receives events until the backend has ended, and then ends the pool.
pub(crate) fn receive_all(shared: &PoolState, mut source: impl EventSource) {
    let mut handler = EventHandler::new(shared);
    source.receive(&mut handler);
    // This wakes the threads whose outcomes have arrived, before the wait for the backend's end.
    let failure = handler.into_failure();
    shared.conclude(source.end().err(), failure);
}

/// Handles the events of a backend.
struct EventHandler<'a> {
    shared: &'a PoolState,
    /// Why the pool failed, as the backend reported it.
    failure: Option<String>,
    wakeups: PendingWakeups,
    /// Number of outcomes received.
    outcomes: u64,
    /// Number of outcomes confirmed to the backend.
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

impl<'a> EventHandler<'a> {
    fn new(shared: &'a PoolState) -> Self {
        Self {
            shared,
            failure: None,
            wakeups: PendingWakeups::default(),
            outcomes: 0,
            confirmed: 0,
        }
    }

    /// Returns why the pool failed, if it did.
    fn into_failure(self) -> Option<String> {
        self.failure
    }

    /// Confirms to the backend that all outcomes so far were reported, if the pool is configured so. A pool that is ending
    /// confirms nothing: no task may start before the backend receives the request that ends the pool.
    fn confirm(&mut self) {
        let is_awaited = self.shared.settings.confirm_outcomes && self.confirmed < self.outcomes;
        if is_awaited && !self.shared.cancelling.load(Ordering::SeqCst) {
            self.confirmed = self.outcomes;
            self.shared.backend.control(ControlRequest::Confirm {
                outcomes: self.outcomes,
            });
        }
    }

    fn attempt_failed(&self, id: TaskId, attempt: &Attempt) -> Result<(), EventError> {
        let shared = self.shared;
        tracing::info!(
            "task {id}: attempt {} ended as {}, and is followed by another: {}",
            attempt.attempt,
            attempt.kind,
            escape(&attempt.message)
        );
        // An unfinished line ends with its attempt.
        end_output(shared, Source::Task(id));
        if !shared.ledger.record_attempt(id, attempt) {
            return Err(EventError::Attempt(id));
        }
        shared.counters.count_retry();
        shared.report(&Event::AttemptFailed { task: id, attempt });
        Ok(())
    }

    #[inline]
    fn ended(
        &mut self,
        id: TaskId,
        result: Result<Box<RawValue>, Failure>,
        ran: Option<Execution>,
        callback: CallbackStatus,
    ) -> Result<(), EventError> {
        let shared = self.shared;
        let mut ended = shared.ledger.end(id).ok_or(EventError::End(id))?;
        self.outcomes += 1;
        let outcome = ended.outcome(id, result, ran, callback);
        end_output(shared, Source::Task(id));
        shared.report_outcome(&outcome);
        if let Some(queue) = shared.deliver(id, ended, outcome) {
            self.wakeups.add(queue);
        }
        Ok(())
    }

    fn output(
        &self,
        source: Source,
        at: Option<(WorkerNumber, u32)>,
        output: GuestOutput<'_>,
    ) -> Result<(), EventError> {
        let bytes = output
            .counted(self.shared.settings.max_output)
            .ok_or(EventError::NoOutput(source))?;
        self.check_output(source, bytes)?;
        self.shared.report(&Event::of_output(source, at, output));
        Ok(())
    }

    /// Checks that the source may print or log this many more bytes. Output is kept until its source ends, so output of a source
    /// that has ended or never existed would leak. The bytes of each source are bounded, as output may also be kept in files
    /// (`--keep-order`, `--results-dir`).
    fn check_output(&self, source: Source, bytes: u64) -> Result<(), EventError> {
        let cap = self.shared.settings.attempt_output_cap();
        let counted = match source {
            Source::Task(id) | Source::Callback(id) => self.shared.ledger.count_output(id, bytes, cap),
            Source::FinalCallback { guest, model } => {
                self.shared.final_values.count_output(guest, model, bytes, cap)
            }
            Source::Tasks => None,
        };
        match counted {
            Some(true) => Ok(()),
            Some(false) => Err(EventError::TooMuchOutput(source)),
            None => Err(EventError::OutputOfNone(source)),
        }
    }
}

impl EventSink for EventHandler<'_> {
    #[inline]
    fn event(&mut self, event: BackendEvent<'_>) -> Result<(), EventError> {
        let shared = self.shared;
        match event {
            BackendEvent::AttemptFailed { id, attempt } => self.attempt_failed(id, &attempt)?,
            BackendEvent::Ended {
                id,
                result,
                ran,
                callback,
            } => self.ended(id, result, ran, callback)?,
            BackendEvent::Output { source, at, output } => self.output(source, at, output)?,
            BackendEvent::OutputEnded { source } => {
                self.check_output(source, LOG_LINE_COST as u64)?;
                end_output(shared, source);
            }
            BackendEvent::Final { guest, model, result } => {
                if !shared.final_values.receive(guest, model, result) {
                    return Err(EventError::Final { guest, model });
                }
            }
            BackendEvent::Loaded => {
                shared.lifecycle.lock().loaded += 1;
                shared.changed.notify_all();
            }
            BackendEvent::Warning(text) => shared.report(&Event::Warning(text)),
            BackendEvent::Worker(event) => {
                trace_worker(&event);
                shared.report(&Event::Worker(&event));
            }
            BackendEvent::Failed(why) => {
                self.failure.get_or_insert_with(|| why.to_owned());
                shared.close();
            }
        }
        Ok(())
    }

    fn batch_ended(&mut self) {
        self.wakeups.wake();
        self.shared.flush_reports();
        self.shared.counters.publish();
        self.confirm();
    }
}

fn trace_worker(event: &WorkerEvent) {
    let (task, attempt) = event.task.unzip();
    let (worker, pid) = (u32::from(event.worker), event.pid);
    let task = task.map(u64::from);
    tracing::debug!(worker, pid, task, attempt, "worker {}", escape(&event.what));
}

/// Reports the end of a source's output.
fn end_output(shared: &PoolState, source: Source) {
    shared.report(&Event::Printed(PrintedOutput {
        source,
        stream: Stream::Stdout,
        bytes: b"",
        end: true,
    }));
}

impl PoolState {
    /// Delivers an outcome to its recipient. Returns the map's queue if a consumer waits there and must be woken.
    fn deliver(&self, id: TaskId, ended: RemovedTask, outcome: Outcome) -> Option<Arc<ResultQueue>> {
        if let Some((token, id)) = ended.token(id) {
            token.remove_task(self, id);
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
    pub(crate) fn conclude(&self, died: Option<BackendDied>, failure: Option<String>) {
        self.close();
        let cancelled = self.cancelling.load(Ordering::SeqCst);
        let lost = match &died {
            Some(died) => Failure::new(Kind::Crash, died.to_string()),
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
        self.reporters.finish();
        let error = if let Some(error) = self.reporters.take_failure() {
            Some(Error::Report(error))
        } else if let Some(why) = failure {
            Some(Error::PoolFailed(why))
        } else {
            died.map(|died| Error::DispatcherDied(died.why))
        };
        let end = error.map_or(PoolEnd::Normal, |error| PoolEnd::Failed(Some(error)));
        self.lifecycle.lock().end = Some(end);
        self.changed.notify_all();
        self.counters.publish();
    }
}
