//! The last step of a task: its callback, then its outcome goes to the parent.
//!
//! This is the side of the event loop: it keeps the queue, hands a few tasks at a time to the
//! [`callback_thread`](super::callback_thread), and knows whose callbacks are switched off: after three timeouts in a
//! row, or after one that could not be ended and left its thread behind. Nothing that a callback does can change the
//! outcome but for its `callback` field.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;

use super::GuestArtifact;
use super::callback_thread::{CallbackEvent, CallbackJob, CallbackThread};
use super::folds::Folds;
use mpwasm_engine::Export;
use mpwasm_protocol::messages::{CallResult, Execution, FromDispatcher, Source};
use mpwasm_protocol::receive_buffer::Frame;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::Task;
use mpwasm_types::outcome::{CallbackStatus, Failure, Kind, LogLevel, TaskError};
use mpwasm_types::settings::{
    CALLBACK_QUEUE, CALLBACK_QUEUE_BYTES, LARGE_PAYLOAD, MAX_CALLBACK_TIMEOUTS, OUTCOME_HIGH_WATER, Settings,
};

/// Callbacks that are with the thread at once: enough that it need not wait for the event loop.
const IN_FLIGHT: usize = 256;

/// So many failures of callbacks are told in full.
const MAX_EXPLAINED: u32 = 10;

/// A task that has ended, but for its callback.
#[derive(Debug)]
pub struct Finished {
    /// The task.
    pub task: Task,
    /// Its result (one line of JSON), or why there is none.
    pub ending: Result<Bytes, Failure>,
    /// Where it ran.
    pub ran: Option<Execution>,
}

impl Finished {
    /// Bytes that it holds.
    fn bytes(&self) -> usize {
        let ending = match &self.ending {
            Ok(result) => result.len(),
            Err(failure) => {
                let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
                failure.message.len() + failure.data.as_ref().map_or(0, String::len) + backtrace
            }
        };
        ending + self.task.args.len()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Callbacks {
    settings: Settings,
    /// By number.
    guests: Vec<Arc<GuestArtifact>>,
    /// The thread, from the first guest on.
    thread: Option<CallbackThread>,
    waiting: VecDeque<Finished>,
    /// Of what waits.
    bytes: usize,
    /// With the thread, in its order.
    running: VecDeque<Finished>,
    /// Of what is with the thread.
    running_bytes: usize,
    /// Whether the first of `running` has printed.
    printed: bool,
    switched_off: HashSet<(u32, u32)>,
    folds: Folds,
    /// The final callbacks were asked for: nothing else will be.
    concluded: bool,
    /// Threads that each guest has left behind.
    abandoned: HashMap<u32, u32>,
    /// Failures of callbacks that were told in full: a record has only their kind.
    explained: u32,
    /// Outcomes that were sent to the parent.
    reported: u64,
    /// Tasks that never started are not worth a callback: the run was interrupted.
    interrupted: bool,
    /// No callback runs any more.
    terminated: bool,
}

impl Callbacks {
    /// None are waiting.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            guests: Vec::new(),
            thread: None,
            waiting: VecDeque::new(),
            bytes: 0,
            running: VecDeque::new(),
            running_bytes: 0,
            printed: false,
            switched_off: HashSet::new(),
            folds: Folds::default(),
            concluded: false,
            abandoned: HashMap::new(),
            explained: 0,
            reported: 0,
            interrupted: false,
            terminated: false,
        }
    }

    /// A guest was loaded.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn load(&mut self, guest: &Arc<GuestArtifact>) -> std::io::Result<()> {
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(CallbackThread::start(&self.settings)?),
        };
        thread.send(CallbackJob::Load(Arc::clone(guest)));
        self.guests.push(Arc::clone(guest));
        Ok(())
    }

    /// What has not started will not get a callback.
    pub fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// No more callbacks: the outcomes that waited for one go to the parent now.
    pub fn terminate(&mut self, uplink: &mut SendBuffer) {
        self.terminated = true;
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

    /// Once all tasks have ended, and by themselves unless `early`: lets the models say what they have made of them.
    /// Returns whether they have.
    pub fn conclude(&mut self, early: bool, uplink: &mut SendBuffer) -> bool {
        if !self.concluded {
            self.concluded = true;
            if early || self.interrupted || self.terminated {
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

    /// Whether so many wait that no further task should be assigned.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= CALLBACK_QUEUE || self.bytes >= CALLBACK_QUEUE_BYTES
    }

    /// Tasks that have ended but for their callbacks.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Whether this task has ended but for its callback.
    pub fn has(&self, id: u64) -> bool {
        let mut all = self.running.iter().chain(&self.waiting);
        all.any(|finished| finished.task.id == id)
    }

    /// Whether the parent has confirmed the outcomes of all tasks that have ended: `confirmed` of them, as it says.
    pub fn are_confirmed(&self, confirmed: u64) -> bool {
        self.is_idle() && self.reported <= confirmed
    }

    /// Whether every outcome is on its way to the parent.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Readable when the thread has something to say.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.thread.as_ref().map(AsFd::as_fd)
    }

    /// A worker has given this result of a task, a part of that frame: [`finish`](Self::finish), but for a copy of what is
    /// only passed on.
    pub fn succeed(
        &mut self,
        task: Task,
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
                id: task.id,
                ran,
                callback: CallbackStatus::None,
                ending: CallResult::Ok(result),
            });
        } else {
            let ending = Ok(frame.keep(result));
            self.finish(Finished { task, ending, ran }, uplink);
        }
    }

    /// A task has ended: its outcome goes to the parent, now or after its callback.
    pub fn finish(&mut self, finished: Finished, uplink: &mut SendBuffer) {
        if self.model(&finished.task).final_callback.is_some() {
            self.folds.begin((finished.task.guest, finished.task.model));
        }
        match self.skip(&finished) {
            Some(status) => self.skipped(&finished, status, uplink),
            None => {
                self.bytes += finished.bytes();
                self.waiting.push_back(finished);
                self.feed(uplink);
            }
        }
    }

    /// Handles what the thread said, as far as the parent has not enough to read.
    ///
    /// # Errors
    /// When the thread can't run callbacks at all: the pool fails.
    pub fn receive(&mut self, uplink: &mut SendBuffer) -> Result<(), String> {
        let Some(thread) = &self.thread else { return Ok(()) };
        thread.clear_wake();
        while uplink.len() < OUTCOME_HIGH_WATER
            && let Some(event) = self.thread.as_ref().and_then(CallbackThread::receive)
        {
            match event {
                // What ended its task has also ended what its callback prints: the parent takes no more of it.
                CallbackEvent::Output { source, .. } | CallbackEvent::Log { source, .. }
                    if !self.is_running(source) => {}
                CallbackEvent::Output {
                    source,
                    stream,
                    bytes,
                } => {
                    self.printed |= matches!(source, Source::Callback(_));
                    uplink.put(&FromDispatcher::Output {
                        source,
                        stream,
                        bytes: &bytes,
                    });
                }
                CallbackEvent::Log { source, level, text } => {
                    uplink.put(&FromDispatcher::Log {
                        source,
                        level,
                        text: &text,
                        at: None,
                    });
                }
                CallbackEvent::Ended {
                    id,
                    failure,
                    last,
                    kept,
                } => self.ended(id, failure, (last, kept), uplink),
                CallbackEvent::Final(ending) => self.folds.ended(ending, uplink),
                CallbackEvent::Skipped { id } => {
                    if let Some(finished) = self.take_running(id) {
                        self.skipped(&finished, CallbackStatus::Skipped, uplink);
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
        if uplink.len() >= OUTCOME_HIGH_WATER
            && let Some(thread) = &self.thread
        {
            thread.wake_again();
        }
        self.feed(uplink);
        Ok(())
    }

    /// Whether this is the callback that runs, and its end has not been told.
    fn is_running(&self, source: Source) -> bool {
        match source {
            Source::Callback(id) => self.running.front().is_some_and(|first| first.task.id == id),
            Source::FinalCallback { guest, model } => self.folds.is_running((guest, model)),
            Source::Task(_) | Source::Tasks => false,
        }
    }

    /// The task whose callback is the first with the thread, if it is this one.
    fn take_running(&mut self, id: u64) -> Option<Finished> {
        let finished = self.running.pop_front_if(|finished| finished.task.id == id)?;
        self.running_bytes -= finished.bytes();
        Some(finished)
    }

    fn ended(
        &mut self,
        id: u64,
        failure: Option<Failure>,
        (last, kept): (bool, bool),
        uplink: &mut SendBuffer,
    ) {
        // After `terminate` its outcome has already gone.
        let Some(finished) = self.take_running(id) else {
            return;
        };
        let model = (finished.task.guest, finished.task.model);
        if let Some(failure) = &failure
            && self.explained < MAX_EXPLAINED
        {
            self.explained += 1;
            let text = format!("the callback failed: {}: {}", failure.kind, failure.message);
            uplink.put(&FromDispatcher::Log {
                source: Source::Callback(id),
                level: LogLevel::Error,
                text: &text,
                at: None,
            });
        }
        if let Some(failure) = failure.as_ref().filter(|_| !kept) {
            self.folds.lose(model, failure.kind, || {
                let why = &failure.message;
                format!("what it had accumulated was lost with its callback for task {id}: {why}")
            });
        }
        let status = failure.map_or(CallbackStatus::Ok, |failure| CallbackStatus::Failed(failure.kind));
        if last && self.switched_off.insert(model) {
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

    /// The callback of this task can't be ended, and nothing else can run on its thread: another thread takes over. The
    /// instances of other models are lost with the old one, and begin anew.
    ///
    /// # Errors
    /// When no other thread can be started.
    fn stuck(&mut self, id: u64, uplink: &mut SendBuffer) -> Result<(), String> {
        let Some(task) = self.running.front().map(|finished| &finished.task) else {
            return Ok(()); // after `terminate` there is nothing to take over
        };
        let (guest, model) = (task.guest, task.model);
        let abandoned = self.abandoned.entry(guest).or_default();
        *abandoned += 1;
        let models = &self.guests[guest as usize].info.models;
        // Each costs a thread that may compute on, and its memory: so much harm a guest may do to itself.
        let warning = if *abandoned == MAX_CALLBACK_TIMEOUTS {
            let all = 0..models.len() as u32;
            self.switched_off.extend(all.map(|model| (guest, model)));
            "callbacks of one guest could not be ended, again and again: all of its callbacks are switched off"
                .to_owned()
        } else {
            self.switched_off.insert((guest, model));
            let name = &models[model as usize].name;
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
        let start = || {
            let thread = CallbackThread::start(&self.settings)?;
            for guest in &self.guests {
                thread.send(CallbackJob::Load(Arc::clone(guest)));
            }
            Ok(thread)
        };
        self.thread = Some(start().map_err(|error: std::io::Error| error.to_string())?);
        Ok(())
    }

    /// Keeps the thread busy.
    fn feed(&mut self, uplink: &mut SendBuffer) {
        let room = |this: &Self| this.running.len() < IN_FLIGHT && this.running_bytes < CALLBACK_QUEUE_BYTES;
        while room(self)
            && let Some(finished) = self.waiting.pop_front()
        {
            self.bytes -= finished.bytes();
            // It may have been switched off while this one waited.
            if let Some(status) = self.skip(&finished) {
                self.skipped(&finished, status, uplink);
                continue;
            }
            let Task {
                id,
                guest,
                model,
                attempt,
                ..
            } = finished.task;
            let (export, input) = match &finished.ending {
                Ok(result) => (Export::Callback, result.clone()),
                Err(failure) => (Export::ErrorCallback, error_object(&finished.task, failure)),
            };
            if let Some(thread) = &self.thread {
                thread.send(CallbackJob::Run {
                    id,
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

    /// A task has its outcome without a callback.
    fn skipped(&mut self, finished: &Finished, status: CallbackStatus, uplink: &mut SendBuffer) {
        let Task { id, guest, model, .. } = finished.task;
        if status == CallbackStatus::Skipped {
            self.folds.lose((guest, model), Kind::Error, || {
                format!("its callback for task {id} was skipped")
            });
        }
        self.report(finished, status, uplink);
    }

    fn report(&mut self, finished: &Finished, callback: CallbackStatus, uplink: &mut SendBuffer) {
        self.reported += 1;
        report(finished, callback, uplink);
    }

    /// The status of a task that gets no callback, `None` for one that does.
    fn skip(&self, finished: &Finished) -> Option<CallbackStatus> {
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
            .contains(&(finished.task.guest, finished.task.model));
        match export {
            None => Some(CallbackStatus::None),
            Some(_) if off || self.terminated || (self.interrupted && never_ran) => {
                Some(CallbackStatus::Skipped)
            }
            Some(_) => None,
        }
    }

    fn model(&self, task: &Task) -> &mpwasm_types::guest_info::ModelInfo {
        &self.guests[task.guest as usize].info.models[task.model as usize]
    }
}

/// What became of the other folds then.
const LOST_WITH_THREAD: &str =
    "what it had accumulated was lost with the thread, on which another callback could not be ended";

/// How a callback ended whose thread is given up.
fn thread_lost() -> Failure {
    let why = "it did not end within its timeout; its thread was abandoned";
    Failure::new(Kind::Timeout, why)
}

/// Why a fold is not told that is no fold of all tasks.
fn ended_early() -> Failure {
    let why = "the pool was ended before all of its tasks had ended by themselves";
    Failure::new(Kind::Cancelled, why)
}

/// The error object of DESIGN.md section 4, as the guest's `error_callback` reads it.
fn error_object(task: &Task, failure: &Failure) -> Bytes {
    let args = String::from_utf8_lossy(&task.args);
    let error = TaskError::new(failure.clone(), &args, task.id, task.attempt);
    serde_json::to_vec(&error)
        .expect("an error object has only string keys")
        .into()
}

fn report(finished: &Finished, callback: CallbackStatus, uplink: &mut SendBuffer) {
    let outcome = |ending| FromDispatcher::Outcome {
        id: finished.task.id,
        ran: finished.ran,
        callback,
        ending,
    };
    match &finished.ending {
        Ok(result) => uplink.put_shared(result, |result| outcome(CallResult::Ok(result))),
        Err(failure) => uplink.put(&outcome(CallResult::Failed(failure.clone()))),
    }
}
