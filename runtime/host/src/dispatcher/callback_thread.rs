//! The thread that runs callbacks, and its watchdog.
//!
//! A callback is guest code in the process that must not die. It has an instance, a deadline, a memory limit and an output
//! limit of its own, and the event loop never waits for it. Imports that block return at the deadline. The engine checks the
//! deadline at loops and function calls. A guest can still compute for minutes between two such checks, for example while it
//! returns from a deep recursion. A single thread can't be killed. One that does not end in time is abandoned, and the event
//! loop starts another. The abandoned thread sends nothing more and exits when its call returns.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::folds::ModelKey;
use super::guest_artifact::GuestArtifact;
use super::wake_up::WakeUp;
use crate::error::ChildError;
use crate::manager_client::ManagerClient;
use mpwasm_engine::watchdog;
use mpwasm_engine::watchdog::{WatchdogHandle, WatchdogHandler};
use mpwasm_engine::{Call, Deadline, EngineRole, Executor, Export, OutputSink};
use mpwasm_protocol::messages::OUTPUT_PIECE;
use mpwasm_protocol::messages::Source;
use mpwasm_system::clock;
use mpwasm_system::process::exact_timers;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::final_budget::FinalBudget;
use mpwasm_types::ids::{GuestId, ModelId, TaskId};
use mpwasm_types::memory::thread_stack;
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::settings::{Interrupt, Settings};
use mpwasm_types::task::TaskInput;

/// Time after a callback's deadline at which its thread is abandoned. A late callback delays only other callbacks, so a busy
/// machine gets the time to run the thread.
const CALLBACK_GRACE: Duration = Duration::from_secs(1);
/// Timeouts in a row after which a model's callbacks are switched off.
pub(super) const MAX_CALLBACK_TIMEOUTS: u32 = 3;

/// High-water mark of output and log lines that the event loop has not taken yet: 4 MiB.
const PRINTS_HIGH_WATER: usize = 4 << 20;
/// Memory of such an event besides its text, in bytes. It bounds the number of events with little or no text.
const EVENT_COST: usize = 128;

/// A job of the event loop for the thread.
#[derive(Debug)]
pub enum CallbackJob {
    /// Adds the next guest, in the order of their numbers. It is loaded before its first callback.
    Load(Arc<GuestArtifact>),
    /// Runs a callback.
    Run {
        /// The task's id.
        id: TaskId,
        /// The number of the task's guest.
        guest: GuestId,
        /// The number of the task's model.
        model: ModelId,
        /// The task's last attempt.
        attempt: u32,
        /// `callback` or `error_callback`.
        export: Export,
        /// The task's result or error object.
        input: Bytes,
    },
    /// Runs a `final_callback`. The fields are the numbers of the guest and the model.
    Final(GuestId, ModelId),
}

/// An event of the thread for the event loop.
#[derive(Debug)]
pub enum CallbackEvent {
    /// A callback printed.
    Output {
        source: Source,
        stream: Stream,
        bytes: Box<[u8]>,
    },
    /// A callback logged.
    Log {
        source: Source,
        level: LogLevel,
        text: Box<str>,
    },
    /// The callback of this task has ended. `switches_off` is set if it timed out, and so its model's callbacks are switched
    /// off. `kept` is set if the model keeps its instance.
    Ended {
        id: TaskId,
        failure: Option<Failure>,
        switches_off: bool,
        kept: bool,
    },
    /// A final callback has ended, with its value or failure.
    Final(Result<String, Failure>),
    /// The callback of this task was not run, as its model's callbacks are switched off.
    Skipped { id: TaskId },
    /// This callback did not end in time. It is the last event of its thread.
    Stuck(Source),
    /// The thread can't run callbacks, for this reason.
    Unable(ChildError),
}

/// The event loop's handle of the thread.
#[derive(Debug)]
pub struct CallbackThread {
    jobs: Sender<CallbackJob>,
    events: Receiver<CallbackEvent>,
    sender: Arc<EventSender>,
}

impl CallbackThread {
    /// Starts the thread. Its events set `wake_up`. `objects` is its connection to the manager of shared objects.
    ///
    /// # Errors
    /// Returns the error of the system when the thread or its file descriptors can't be created.
    pub fn start(
        settings: &Settings,
        wake_up: Arc<WakeUp>,
        objects: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        let (jobs, for_thread) = channel();
        let (events_in, events) = channel();
        let watchdog = Arc::new(WatchdogHandle::new(Arc::new(Deadline::new()))?);
        let sender = Arc::new(EventSender {
            events: Mutex::new(events_in),
            wake_up,
            source: Mutex::new(Source::Callback(TaskId(0))),
            waiting: Mutex::new(0),
            drained: Condvar::new(),
            watchdog: Arc::clone(&watchdog),
        });
        let (settings, for_runner) = (settings.clone(), Arc::clone(&sender));
        std::thread::Builder::new()
            .name("callbacks".to_owned())
            .stack_size(thread_stack(settings.stack))
            .spawn(move || run(&settings, &for_runner, watchdog, objects, &for_thread))?;
        Ok(Self { jobs, events, sender })
    }

    /// Sends a job to the thread.
    pub fn send(&self, job: CallbackJob) {
        // The send fails only after `CallbackEvent::Unable`, which fails the pool.
        let _ = self.jobs.send(job);
    }

    /// Returns the next event of the thread, or `None` if there is none yet.
    pub fn receive(&self) -> Option<CallbackEvent> {
        let event = self.events.try_recv().ok()?;
        match &event {
            CallbackEvent::Output { bytes, .. } => self.sender.release(bytes.len()),
            CallbackEvent::Log { text, .. } => self.sender.release(text.len()),
            _ => {}
        }
        Some(event)
    }
}

/// Sends the thread's events and wakes the event loop.
#[derive(Debug)]
struct EventSender {
    events: Mutex<Sender<CallbackEvent>>,
    wake_up: Arc<WakeUp>,
    /// The running callback.
    source: Mutex<Source>,
    /// Bytes of output and log lines that the event loop has not taken yet.
    waiting: Mutex<usize>,
    drained: Condvar,
    watchdog: Arc<WatchdogHandle>,
}

impl EventSender {
    fn source(&self) -> Source {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the running callback.
    fn begin(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    fn send(&self, event: CallbackEvent) {
        // The send fails only if the event loop has ended. The process exits then.
        let _ = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(event);
        self.wake_up.wake();
    }

    /// Releases the memory of output or a log line of `text` bytes, which the event loop has taken.
    fn release(&self, text: usize) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) -= text + EVENT_COST;
        self.drained.notify_all();
    }

    /// Reserves memory for output or a log line of `text` bytes, and waits while the memory is above its high-water mark
    /// (backpressure). The deadline is paused meanwhile. Past the deadline it does not wait.
    fn make_room(&self, text: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |held: &mut usize| *held >= PRINTS_HIGH_WATER;
        if full(&mut waiting) && !self.watchdog.deadline().remaining().is_zero() {
            let _pause = self.watchdog.pause();
            waiting = self
                .drained
                .wait_while(waiting, full)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *waiting += text + EVENT_COST;
    }
}

impl OutputSink for EventSender {
    fn print(&self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(OUTPUT_PIECE) {
            self.make_room(piece.len());
            self.send(CallbackEvent::Output {
                source: self.source(),
                stream,
                bytes: piece.into(),
            });
        }
    }

    fn log(&self, level: LogLevel, text: &str) {
        self.make_room(text.len());
        self.send(CallbackEvent::Log {
            source: self.source(),
            level,
            text: text.into(),
        });
    }
}

/// Runs jobs until the event loop drops its handle, and reports why if it can't.
fn run(
    settings: &Settings,
    sender: &Arc<EventSender>,
    watchdog: Arc<WatchdogHandle>,
    objects: Option<OwnedFd>,
    jobs: &Receiver<CallbackJob>,
) {
    let served = CallbackRunner::new(settings, Arc::clone(sender), watchdog, objects)
        .and_then(|mut runner| runner.serve(jobs));
    if let Err(why) = served {
        sender.send(CallbackEvent::Unable(why));
    }
}

/// The thread's own state.
struct CallbackRunner<'a> {
    settings: &'a Settings,
    sender: Arc<EventSender>,
    watchdog: Arc<WatchdogHandle>,
    executor: Executor,
    /// The guests, by number.
    guests: Vec<Arc<GuestArtifact>>,
    /// Consecutive timeouts, by guest and model.
    strikes: HashMap<ModelKey, u32>,
    /// Bounds the final values together.
    budget: FinalBudget,
}

impl<'a> CallbackRunner<'a> {
    /// Creates the engine, and starts the watchdog.
    fn new(
        settings: &'a Settings,
        sender: Arc<EventSender>,
        watchdog: Arc<WatchdogHandle>,
        objects: Option<OwnedFd>,
    ) -> Result<Self, ChildError> {
        let prints: Arc<dyn OutputSink> = Arc::clone(&sender) as _;
        let deadline = Arc::clone(watchdog.deadline());
        let mut executor = Executor::new(
            EngineRole::Callbacks,
            &EngineSettings::outside_workers(settings),
            Arc::clone(&deadline),
            prints,
        )?;
        if let Some(socket) = objects {
            executor.set_object_client(Box::new(ManagerClient::new(socket, deadline)))?;
        }
        let (engine, watched) = (executor.engine().clone(), Arc::clone(&watchdog));
        let mut handler = CallbackWatchdog {
            sender: Arc::clone(&sender),
        };
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                exact_timers();
                watchdog::watch(&engine, Interrupt::Epoch, &watched, &mut handler)
            })?;
        exact_timers();
        Ok(Self {
            settings,
            sender,
            watchdog,
            executor,
            guests: Vec::new(),
            strikes: HashMap::new(),
            budget: FinalBudget::new(settings.max_result),
        })
    }

    /// Runs jobs until the event loop drops its handle or abandons this thread.
    fn serve(&mut self, jobs: &Receiver<CallbackJob>) -> Result<(), ChildError> {
        for job in jobs {
            let ran = match job {
                CallbackJob::Load(guest) => {
                    self.guests.push(guest);
                    Ok(())
                }
                CallbackJob::Run {
                    id,
                    guest,
                    model,
                    attempt,
                    export,
                    input,
                } => {
                    self.load_once(guest)?;
                    self.run_callback(&Call {
                        guest,
                        model,
                        export,
                        input: TaskInput::Json(&input),
                        task_id: id,
                        attempt,
                    })
                }
                CallbackJob::Final(guest, model) => {
                    self.load_once(guest)?;
                    self.run_final_callback(guest, model)
                }
            };
            if let Err(CallbackOverdue) = ran {
                break;
            }
        }
        Ok(())
    }

    /// Runs the callback of a task, unless the callbacks of its model are switched off.
    fn run_callback(&mut self, call: &Call<'_>) -> Result<(), CallbackOverdue> {
        let (id, model) = (call.task_id, (call.guest, call.model));
        let strikes = self.strikes.get(&model).copied().unwrap_or_default();
        if strikes >= MAX_CALLBACK_TIMEOUTS {
            self.sender.send(CallbackEvent::Skipped { id });
            return Ok(());
        }
        self.sender.begin(Source::Callback(id));
        let ending = self.call(call)?;
        // No record has its data and backtrace, so they are dropped here.
        let failure = ending
            .err()
            .map(|Failure { kind, message, .. }| Failure::new(kind, message));
        let timed_out = failure
            .as_ref()
            .is_some_and(|failure| failure.kind == Kind::Timeout);
        let strikes = if timed_out { strikes + 1 } else { 0 };
        self.strikes.insert(model, strikes);
        self.sender.send(CallbackEvent::Ended {
            id,
            failure,
            switches_off: strikes == MAX_CALLBACK_TIMEOUTS,
            kept: self.executor.has_kept_instance(call.guest, call.model),
        });
        Ok(())
    }

    /// Runs the final callback of a model.
    fn run_final_callback(&mut self, guest: GuestId, model: ModelId) -> Result<(), CallbackOverdue> {
        self.sender.begin(Source::FinalCallback { guest, model });
        let ending = self.call(&Call {
            guest,
            model,
            export: Export::FinalCallback,
            input: TaskInput::Json(b"null"),
            task_id: TaskId(u64::MAX),
            attempt: 0,
        })?;
        let ending = self.budget.admit(ending);
        self.sender.send(CallbackEvent::Final(ending));
        Ok(())
    }

    /// Runs a callback until its deadline.
    ///
    /// # Errors
    /// Returns [`CallbackOverdue`] when the callback ended after its deadline. The thread must exit then.
    fn call(&mut self, call: &Call<'_>) -> Result<CallbackResult, CallbackOverdue> {
        let at = clock::now() + self.settings.callback_timeout;
        self.watchdog.deadline().arm(at);
        self.watchdog.wake_by(at);
        let report = self.executor.run_kept(call, self.settings.callback_memory);
        match self.watchdog.deadline().disarm() {
            true => Ok(report.result),
            false => Err(CallbackOverdue),
        }
    }

    /// Loads a guest before its first callback, as most guests of a large pool run none.
    fn load_once(&mut self, number: GuestId) -> Result<(), ChildError> {
        // The executor refuses a call of a guest that does not exist.
        if let Some(guest) = self.guests.get(number.index())
            && !self.executor.has_guest(number)
        {
            let artifact = guest.checked().try_clone()?;
            self.executor.load_as(number, artifact, &guest.info)?;
        }
        Ok(())
    }
}

/// The value or failure of a callback.
type CallbackResult = Result<String, Failure>;

/// The callback ended after its deadline, and another thread has taken the place of this one.
struct CallbackOverdue;

/// Reports a callback that does not end at its deadline.
struct CallbackWatchdog {
    sender: Arc<EventSender>,
}

impl WatchdogHandler for CallbackWatchdog {
    fn grace(&self) -> Duration {
        CALLBACK_GRACE
    }

    fn on_stuck(&self) -> ! {
        self.sender.send(CallbackEvent::Stuck(self.sender.source()));
        loop {
            std::thread::park();
        }
    }
}
