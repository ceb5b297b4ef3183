//! Runs the callbacks of tasks that have ended, then sends the outcomes to the parent.
//!
//! This is the event loop's side. It keeps the queue and passes some tasks at a time to the
//! [`callback_thread`](super::callback_thread). It switches the callbacks of a model off after three timeouts in a row, or
//! after one that could not be ended and left its thread behind. A callback changes nothing of an outcome but its field
//! `callback`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::callback_thread::MAX_CALLBACK_TIMEOUTS;
use super::callback_thread::{CallbackEvent, CallbackJob, CallbackThread};
use super::finished::{Finished, error_object, report};
use super::folds::{Folds, ModelKey};
use super::guest_artifact::GuestArtifact;
use super::limits::{CALLBACK_QUEUE, CALLBACK_QUEUE_BYTES, OUTCOME_HIGH_WATER};
use super::pool_connection::PoolConnection;
use super::wake_up::WakeUp;
use crate::error::ChildError;
use mpwasm_engine::Export;
use mpwasm_protocol::messages::{CallResult, Execution, FromDispatcher, GuestOutput, Source};
use mpwasm_protocol::receive_buffer::Frame;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::ScheduledTask;
use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::outcome::{CallbackStatus, Failure, Kind, LogLevel};
use mpwasm_types::settings::Settings;
use mpwasm_types::task::TaskSpec;

/// Most callbacks that are in flight to the thread: enough that it need not wait for the event loop.
const IN_FLIGHT: usize = 256;

/// Most failures of callbacks that are logged with their messages. A record has the kind of failure only.
const MAX_EXPLAINED: u32 = 10;

/// The phases of a pool's callbacks, in their order. A pool may skip some of them, and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CallbackPhase {
    /// Each task gets its callback.
    Open,
    /// The pool was interrupted: tasks that never started get no callback.
    Interrupted,
    /// The pool was terminated: no callback runs.
    Terminated,
    /// All tasks have ended: only the final callbacks that were asked for run.
    Concluding,
}

/// Runs the callbacks of a pool, and sends outcomes.
#[derive(Debug)]
pub struct Callbacks {
    settings: Settings,
    phase: CallbackPhase,
    /// The guests, by number.
    guests: Vec<Arc<GuestArtifact>>,
    /// The thread, from the first guest on.
    thread: Option<CallbackThread>,
    /// Set when the thread has sent events.
    wake_up: Arc<WakeUp>,
    /// Connects the thread to a manager of shared objects.
    objects: Option<Arc<PoolConnection>>,
    waiting: VecDeque<Finished>,
    /// Bytes of `waiting`.
    bytes: usize,
    /// Tasks whose callbacks are in flight to the thread, in its order.
    running: VecDeque<Finished>,
    /// Bytes of `running`.
    running_bytes: usize,
    /// Whether the first of `running` has printed.
    printed: bool,
    /// Models whose callbacks are switched off.
    switched_off: HashSet<ModelKey>,
    folds: Folds,
    /// Number of threads that each guest has left behind.
    abandoned: HashMap<GuestId, u32>,
    /// Number of failures that were logged.
    explained: u32,
    /// Number of outcomes that were sent to the parent.
    reported: u64,
}

impl Callbacks {
    /// Creates the state of a pool without guests. The thread sets `wake_up` when it has sent events, and `objects` connects it.
    pub fn new(settings: Settings, wake_up: Arc<WakeUp>, objects: Option<Arc<PoolConnection>>) -> Self {
        Self {
            settings,
            phase: CallbackPhase::Open,
            guests: Vec::new(),
            thread: None,
            wake_up,
            objects,
            waiting: VecDeque::new(),
            bytes: 0,
            running: VecDeque::new(),
            running_bytes: 0,
            printed: false,
            switched_off: HashSet::new(),
            folds: Folds::default(),
            abandoned: HashMap::new(),
            explained: 0,
            reported: 0,
        }
    }

    /// Adds a guest.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn load(&mut self, guest: &Arc<GuestArtifact>) -> io::Result<()> {
        let started = match self.thread.take() {
            Some(thread) => thread,
            None => self.start_thread()?,
        };
        let thread = self.thread.insert(started);
        thread.send(CallbackJob::Load(Arc::clone(guest)));
        self.guests.push(Arc::clone(guest));
        Ok(())
    }

    /// Starts a thread that has all guests.
    fn start_thread(&self) -> io::Result<CallbackThread> {
        let objects = self.objects.as_ref().map(|pool| pool.attach()).transpose()?;
        let thread = CallbackThread::start(&self.settings, Arc::clone(&self.wake_up), objects)?;
        for guest in &self.guests {
            thread.send(CallbackJob::Load(Arc::clone(guest)));
        }
        Ok(thread)
    }

    /// Skips the callbacks of tasks that never started, from now on.
    pub fn interrupt(&mut self) {
        self.phase = self.phase.max(CallbackPhase::Interrupted);
    }

    /// Ends all callbacks, and sends the outcomes that waited for one.
    pub fn terminate(&mut self, uplink: &mut SendBuffer) {
        self.phase = self.phase.max(CallbackPhase::Terminated);
        (self.bytes, self.running_bytes) = (0, 0);
        let (running, waiting) = (
            std::mem::take(&mut self.running),
            std::mem::take(&mut self.waiting),
        );
        for finished in running.into_iter().chain(waiting) {
            self.report(&finished, CallbackStatus::Skipped, uplink);
        }
        self.folds.abandon(&ended_early(), uplink);
    }

    /// Starts the final callbacks, once all tasks have ended. With `early` some were ended by force, and no final callback
    /// runs. Returns whether all final callbacks have ended.
    pub fn conclude(&mut self, early: bool, uplink: &mut SendBuffer) -> bool {
        if self.phase < CallbackPhase::Concluding {
            let was_open = self.phase == CallbackPhase::Open;
            self.phase = CallbackPhase::Concluding;
            if early || !was_open {
                let Failure { kind, message, .. } = ended_early();
                self.folds.lose_all(kind, &message);
            }
            for (guest, model) in self.folds.conclude(uplink) {
                if let Some(thread) = &self.thread {
                    thread.send(CallbackJob::Final(guest, model));
                }
            }
        }
        self.folds.is_idle()
    }

    /// Returns whether the queue of tasks that wait for their callbacks is full. No further task is assigned then.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= CALLBACK_QUEUE || self.bytes >= CALLBACK_QUEUE_BYTES
    }

    /// Returns the number of tasks whose callbacks have not ended.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Returns whether the callback of this task has not ended.
    pub fn has(&self, id: TaskId) -> bool {
        let mut all = self.running.iter().chain(&self.waiting);
        all.any(|finished| finished.task.task_id() == id)
    }

    /// Returns whether the outcomes of all tasks that have ended are among the `confirmed` ones that the parent has confirmed.
    pub fn are_confirmed(&self, confirmed: u64) -> bool {
        self.is_idle() && self.reported <= confirmed
    }

    /// Returns the number of outcomes that were sent to the parent.
    pub fn reported(&self) -> u64 {
        self.reported
    }

    /// Returns whether every outcome was sent.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Does the same as [`finish`](Self::finish) for a result, which is a part of the worker's frame. A result that is only
    /// passed on is not copied.
    pub fn succeed(
        &mut self,
        task: ScheduledTask,
        (frame, result): (Frame<'_>, &[u8]),
        ran: Execution,
        uplink: &mut SendBuffer,
    ) {
        let model = self.model(&task);
        let is_only_passed_on = model.callback.is_none() && model.final_callback.is_none();
        let ran = Some(ran);
        if is_only_passed_on && result.len() < LARGE_PAYLOAD {
            self.reported += 1;
            uplink.put(&FromDispatcher::Outcome {
                id: task.task_id(),
                ran,
                callback: CallbackStatus::None,
                ending: CallResult::Ok(result),
            });
        } else {
            let ending = Ok(frame.keep(result));
            self.finish(Finished { task, ending, ran }, uplink);
        }
    }

    /// Sends the outcome of a task that has ended, now or after its callback.
    pub fn finish(&mut self, finished: Finished, uplink: &mut SendBuffer) {
        if self.model(&finished.task).final_callback.is_some() {
            self.folds
                .begin((finished.task.spec.guest, finished.task.spec.model));
        }
        match self.skip_status(&finished) {
            Some(status) => self.report_skipped(&finished, status, uplink),
            None => {
                self.bytes += finished.bytes();
                self.waiting.push_back(finished);
                self.feed(uplink);
            }
        }
    }

    /// Handles the events of the thread, until the uplink is full.
    ///
    /// # Errors
    /// Returns why the thread can't run callbacks at all. The pool fails then.
    pub fn receive(&mut self, uplink: &mut SendBuffer) -> Result<(), ChildError> {
        self.wake_up.clear();
        while uplink.len() < OUTCOME_HIGH_WATER
            && let Some(event) = self.thread.as_ref().and_then(CallbackThread::receive)
        {
            match event {
                // After the outcome of a task the parent takes no output of its callback.
                CallbackEvent::Output { source, .. } | CallbackEvent::Log { source, .. }
                    if !self.is_running(source) => {}
                CallbackEvent::Output {
                    source,
                    stream,
                    bytes,
                } => {
                    self.printed |= matches!(source, Source::Callback(_));
                    let bytes = &bytes;
                    send_output(source, GuestOutput::Printed { stream, bytes }, uplink);
                }
                CallbackEvent::Log { source, level, text } => {
                    let text = &text;
                    send_output(source, GuestOutput::Logged { level, text }, uplink);
                }
                CallbackEvent::Ended {
                    id,
                    failure,
                    switches_off,
                    kept,
                } => self.ended(id, failure, (switches_off, kept), uplink),
                CallbackEvent::Final(ending) => self.folds.ended(ending, uplink),
                CallbackEvent::Skipped { id } => {
                    if let Some(finished) = self.take_running(id) {
                        self.report_skipped(&finished, CallbackStatus::Skipped, uplink);
                    }
                }
                CallbackEvent::Stuck(Source::Callback(id)) => self.stuck(id, uplink)?,
                CallbackEvent::Stuck(_) => {
                    self.folds.ended(Err(thread_lost()), uplink);
                    self.folds
                        .abandon(&Failure::new(Kind::Timeout, LOST_WITH_THREAD), uplink);
                }
                CallbackEvent::Unable(why) => return Err(why),
            }
        }
        if uplink.len() >= OUTCOME_HIGH_WATER {
            // Events may be left.
            self.wake_up.wake();
        }
        self.feed(uplink);
        Ok(())
    }

    /// Returns whether this callback runs, and its end was not sent.
    fn is_running(&self, source: Source) -> bool {
        match source {
            Source::Callback(id) => self
                .running
                .front()
                .is_some_and(|first| first.task.task_id() == id),
            Source::FinalCallback { guest, model } => self.folds.is_running((guest, model)),
            Source::Task(_) | Source::Tasks => false,
        }
    }

    /// Takes the first task that is in flight to the thread, if it has this id.
    fn take_running(&mut self, id: TaskId) -> Option<Finished> {
        let finished = self
            .running
            .pop_front_if(|finished| finished.task.task_id() == id)?;
        self.running_bytes -= finished.bytes();
        Some(finished)
    }

    /// Handles the end of a callback.
    fn ended(
        &mut self,
        id: TaskId,
        failure: Option<Failure>,
        (switches_off, kept): (bool, bool),
        uplink: &mut SendBuffer,
    ) {
        // After `terminate` its outcome was already sent.
        let Some(finished) = self.take_running(id) else {
            return;
        };
        let model = (finished.task.spec.guest, finished.task.spec.model);
        if let Some(failure) = &failure
            && self.explained < MAX_EXPLAINED
        {
            self.explained += 1;
            let text = format!("the callback failed: {}: {}", failure.kind, failure.message);
            let (level, text) = (LogLevel::Error, &*text);
            send_output(Source::Callback(id), GuestOutput::Logged { level, text }, uplink);
        }
        if let Some(failure) = failure.as_ref().filter(|_| !kept) {
            self.folds.lose(model, failure.kind, || {
                let why = &failure.message;
                format!("what it had accumulated was lost with its callback for task {id}: {why}")
            });
        }
        let status = failure.map_or(CallbackStatus::Ok, |failure| CallbackStatus::Failed(failure.kind));
        if switches_off && self.switched_off.insert(model) {
            let name = &self.model(&finished.task).name;
            let text = format!(
                "the callbacks of model {name:?} timed out {MAX_CALLBACK_TIMEOUTS} times in a row: they are switched off"
            );
            uplink.put(&FromDispatcher::Warning(&text));
        }
        if std::mem::take(&mut self.printed) {
            uplink.put(&FromDispatcher::OutputEnd {
                source: Source::Callback(id),
            });
        }
        self.report(&finished, status, uplink);
    }

    /// Replaces the thread, after the callback of this task could not be ended. The instances of all models are lost with
    /// the old thread.
    ///
    /// # Errors
    /// Returns why no other thread can be started.
    fn stuck(&mut self, id: TaskId, uplink: &mut SendBuffer) -> Result<(), ChildError> {
        let Some(task) = self.running.front().map(|finished| &finished.task) else {
            return Ok(()); // after `terminate` nothing is in flight
        };
        let (guest, model) = (task.spec.guest, task.spec.model);
        let abandoned = self.abandoned.entry(guest).or_default();
        *abandoned += 1;
        let models = &self.guests[guest.index()].info.models;
        // Each costs a thread that may compute on, and its memory. So the number is bounded for each guest.
        let warning = if *abandoned == MAX_CALLBACK_TIMEOUTS {
            let all = 0..models.len() as u32;
            self.switched_off.extend(all.map(|model| (guest, ModelId(model))));
            "callbacks of one guest could not be ended, again and again: all of its callbacks are switched off"
                .to_owned()
        } else {
            self.switched_off.insert((guest, model));
            let name = &models[model.index()].name;
            format!("a callback of model {name:?} could not be ended: the model's callbacks are switched off")
        };
        uplink.put(&FromDispatcher::Warning(&warning));
        self.ended(id, Some(thread_lost()), (false, false), uplink);
        self.folds.lose_all(Kind::Timeout, LOST_WITH_THREAD);
        while let Some(finished) = self.running.pop_back() {
            self.bytes += finished.bytes();
            self.waiting.push_front(finished);
        }
        self.running_bytes = 0;
        self.thread = Some(self.start_thread()?);
        Ok(())
    }

    /// Passes waiting tasks to the thread, up to the bounds of what is in flight.
    fn feed(&mut self, uplink: &mut SendBuffer) {
        let room = |this: &Self| this.running.len() < IN_FLIGHT && this.running_bytes < CALLBACK_QUEUE_BYTES;
        while room(self)
            && let Some(finished) = self.waiting.pop_front()
        {
            self.bytes -= finished.bytes();
            // The callbacks may have been switched off since.
            if let Some(status) = self.skip_status(&finished) {
                self.report_skipped(&finished, status, uplink);
                continue;
            }
            let (spec, attempt) = (&finished.task.spec, finished.task.attempt);
            let (guest, model) = (spec.guest, spec.model);
            let (export, input) = match &finished.ending {
                Ok(result) => (Export::Callback, result.clone()),
                Err(failure) => (Export::ErrorCallback, error_object(&finished.task, failure)),
            };
            if let Some(thread) = &self.thread {
                thread.send(CallbackJob::Run {
                    id: finished.task.task_id(),
                    guest,
                    model,
                    attempt,
                    export,
                    input,
                });
            }
            self.running_bytes += finished.bytes();
            self.running.push_back(finished);
        }
    }

    /// Sends the outcome of a task that gets no callback.
    fn report_skipped(&mut self, finished: &Finished, status: CallbackStatus, uplink: &mut SendBuffer) {
        let TaskSpec { guest, model, .. } = finished.task.spec;
        let id = finished.task.task_id();
        if status == CallbackStatus::Skipped {
            self.folds.lose((guest, model), Kind::Error, || {
                format!("its callback for task {id} was skipped")
            });
        }
        self.report(finished, status, uplink);
    }

    /// Counts and sends an outcome.
    fn report(&mut self, finished: &Finished, callback: CallbackStatus, uplink: &mut SendBuffer) {
        self.reported += 1;
        report(finished, callback, uplink);
    }

    /// Returns the callback status of a task that gets no callback, or `None` if it gets one.
    fn skip_status(&self, finished: &Finished) -> Option<CallbackStatus> {
        let model = self.model(&finished.task);
        let (export, never_ran) = match &finished.ending {
            Ok(_) => (&model.callback, false),
            Err(failure) => (
                &model.error_callback,
                failure.kind == Kind::Cancelled && finished.ran.is_none(),
            ),
        };
        let off = self
            .switched_off
            .contains(&(finished.task.spec.guest, finished.task.spec.model));
        match export {
            None => Some(CallbackStatus::None),
            Some(_) if off => Some(CallbackStatus::Skipped),
            Some(_) => match self.phase {
                CallbackPhase::Open => None,
                CallbackPhase::Interrupted if !never_ran => None,
                CallbackPhase::Interrupted | CallbackPhase::Terminated | CallbackPhase::Concluding => {
                    Some(CallbackStatus::Skipped)
                }
            },
        }
    }

    fn model(&self, task: &ScheduledTask) -> &mpwasm_types::guest_info::ModelInfo {
        &self.guests[task.spec.guest.index()].info.models[task.spec.model.index()]
    }
}

/// Sends the parent a piece of a callback's output.
fn send_output(source: Source, output: GuestOutput<'_>, uplink: &mut SendBuffer) {
    let at = None;
    uplink.put(&FromDispatcher::Output { source, at, output });
}

/// Why the folds of other models are lost with an abandoned thread.
const LOST_WITH_THREAD: &str =
    "what it had accumulated was lost with the thread, on which another callback could not be ended";

/// Returns the failure of a callback whose thread is abandoned.
fn thread_lost() -> Failure {
    let why = "it did not end within its timeout; its thread was abandoned";
    Failure::new(Kind::Timeout, why)
}

/// Returns the failure of a final callback when the pool was ended early.
fn ended_early() -> Failure {
    let why = "the pool was ended before all of its tasks had ended by themselves";
    Failure::new(Kind::Cancelled, why)
}
