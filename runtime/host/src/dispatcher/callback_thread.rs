//! The thread that runs callbacks, and the watchdog beside it.
//!
//! A callback is guest code in the one process that must not die: it has an instance, a deadline, a memory cap and
//! an output cap of its own, and the event loop never waits for it. What can block in it ends at the deadline by
//! itself, and so do loops and calls. But the engine looks at the deadline at these only, and a guest can compute for
//! minutes between two of them, or between two imports that each take a moment (on the way back out of a deep
//! recursion). A thread can't be killed alone: one that does not end in time is abandoned, the event loop starts
//! another, and what is left of the old one says nothing any more and ends with its call.

use mpwasm_system::clock;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::GuestArtifact;
use mpwasm_engine::watchdog;
use mpwasm_engine::watchdog::{WatchdogHandle, WatchdogHandler};
use mpwasm_engine::{Call, Deadline, EngineRole, Executor, Export, OutputSink};
use mpwasm_protocol::messages::Source;
use mpwasm_system::process::exact_timers;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::final_budget::FinalBudget;
use mpwasm_types::outcome::{Failure, Kind, LogLevel, Stream};
use mpwasm_types::settings::{CALLBACK_GRACE, MAX_CALLBACK_TIMEOUTS, OUTPUT_PIECE, Settings, thread_stack};

/// Memory that callbacks' prints and log lines may hold until the event loop takes them, bytes.
const PRINTS_HIGH_WATER: usize = 4 << 20;
/// What each of them holds besides its text: a guest can print a byte at a time, or log nothing at all.
const EVENT_COST: usize = 128;

/// From the event loop.
#[derive(Debug)]
pub enum CallbackJob {
    /// The next guest, in the order of loading. It becomes code with its first callback.
    Load(Arc<GuestArtifact>),
    /// A callback to run.
    Run {
        /// The task's id.
        id: u64,
        /// Its guest.
        guest: u32,
        /// Its model.
        model: u32,
        /// The attempt that ended so.
        attempt: u32,
        /// Which of the model's two callbacks.
        export: Export,
        /// The result, or the error object.
        input: Bytes,
    },
    /// The `final_callback` of this model of this guest.
    Final(u32, u32),
}

/// To the event loop.
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
    /// The callback for this task has ended, well or not. `last` says that it was the timeout with which the model's
    /// callbacks are switched off, `kept` that its instance lives on.
    Ended {
        id: u64,
        failure: Option<Failure>,
        last: bool,
        kept: bool,
    },
    /// A final callback has ended, with its value if it went well.
    Final(Result<String, Failure>),
    /// The callback for this task was not run: the model's callbacks had been switched off.
    Skipped { id: u64 },
    /// This callback did not end in time: nothing more will come from this thread.
    Stuck(Source),
    /// No callback can ever run.
    Unable(String),
}

/// The event loop's end.
#[derive(Debug)]
pub struct CallbackThread {
    jobs: Sender<CallbackJob>,
    events: Receiver<CallbackEvent>,
    sender: Arc<EventSender>,
}

impl CallbackThread {
    /// Starts the thread.
    pub fn start(settings: &Settings) -> std::io::Result<Self> {
        let (jobs, for_thread) = channel();
        let (events_in, events) = channel();
        let watchdog = Arc::new(WatchdogHandle::new(Arc::new(Deadline::new()))?);
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let sender = Arc::new(EventSender {
            events: Mutex::new(events_in),
            wake,
            is_woken: AtomicBool::new(false),
            source: Mutex::new(Source::Callback(0)),
            waiting: Mutex::new(0),
            drained: Condvar::new(),
            watchdog: Arc::clone(&watchdog),
        });
        let thread = CallbackRunner {
            settings: settings.clone(),
            sender: Arc::clone(&sender),
            watchdog,
        };
        std::thread::Builder::new()
            .name("callbacks".to_owned())
            .stack_size(thread_stack(settings.stack))
            .spawn(move || thread.run(&for_thread))?;
        Ok(Self { jobs, events, sender })
    }

    /// Hands a job to the thread.
    pub fn send(&self, job: CallbackJob) {
        // It can only fail after `CallbackEvent::Unable`, with which the pool fails.
        let _ = self.jobs.send(job);
    }

    /// What the thread said next.
    pub fn receive(&self) -> Option<CallbackEvent> {
        let event = self.events.try_recv().ok()?;
        match &event {
            CallbackEvent::Output { bytes, .. } => self.sender.release(bytes.len()),
            CallbackEvent::Log { text, .. } => self.sender.release(text.len()),
            _ => {}
        }
        Some(event)
    }

    /// The event loop is about to look.
    pub fn clear_wake(&self) {
        // It may not be readable yet: then it will be, and another look follows.
        if self.sender.is_woken.load(Ordering::Relaxed) && self.sender.wake.read().is_ok() {
            // In this order: what is said from here on wakes again, and what was said before is there to be seen.
            self.sender.is_woken.swap(false, Ordering::AcqRel);
        }
    }

    /// The event loop has not heard all.
    pub fn wake_again(&self) {
        self.sender.wake();
    }
}

impl AsFd for CallbackThread {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sender.wake.as_fd()
    }
}

/// Through which the thread speaks.
#[derive(Debug)]
struct EventSender {
    events: Mutex<Sender<CallbackEvent>>,
    wake: EventFd,
    /// `wake` is readable, or about to be: one is enough for all events until the event loop looks.
    is_woken: AtomicBool,
    /// The callback that runs.
    source: Mutex<Source>,
    /// Memory of prints and log lines that the event loop has not taken yet.
    waiting: Mutex<usize>,
    drained: Condvar,
    watchdog: Arc<WatchdogHandle>,
}

impl EventSender {
    fn source(&self) -> Source {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on another callback runs.
    fn begin(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    fn send(&self, event: CallbackEvent) {
        // It can only fail when the event loop is gone, and with it the process.
        let _ = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(event);
        self.wake();
    }

    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            let _ = self.wake.write(1);
        }
    }

    /// The event loop has taken a print or log line with so much text.
    fn release(&self, text: usize) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) -= text + EVENT_COST;
        self.drained.notify_all();
    }

    /// Notes that a print or log line with so much text is about to be said. Waits until there is room for it: the
    /// back-pressure of callbacks' output. The callback's clock stands still meanwhile, unless its time is over.
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

struct CallbackRunner {
    settings: Settings,
    sender: Arc<EventSender>,
    watchdog: Arc<WatchdogHandle>,
}

impl CallbackRunner {
    fn run(self, jobs: &Receiver<CallbackJob>) {
        if let Err(why) = self.serve(jobs) {
            self.sender.send(CallbackEvent::Unable(why));
        }
    }

    fn serve(&self, jobs: &Receiver<CallbackJob>) -> Result<(), String> {
        let engine = EngineSettings::from(&self.settings);
        let prints: Arc<dyn OutputSink> = Arc::clone(&self.sender) as _;
        let deadline = Arc::clone(self.watchdog.deadline());
        let mut executor = Executor::new(EngineRole::Callbacks, &engine, deadline, prints)
            .map_err(|error| error.to_string())?;
        let (engine, watchdog) = (executor.engine().clone(), Arc::clone(&self.watchdog));
        let sender = Arc::clone(&self.sender);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                exact_timers();
                watchdog::watch(&engine, &watchdog, &mut CallbackWatchdog { sender })
            })
            .map_err(|error| error.to_string())?;
        exact_timers();
        // Timeouts in a row, by guest and model.
        let mut strikes: HashMap<(u32, u32), u32> = HashMap::new();
        let mut budget = FinalBudget::new(self.settings.max_result);
        let mut guests: Vec<Arc<GuestArtifact>> = Vec::new();
        for job in jobs {
            match job {
                CallbackJob::Load(guest) => guests.push(guest),
                CallbackJob::Run {
                    id,
                    guest,
                    model,
                    attempt,
                    export,
                    input,
                } => {
                    let strikes = strikes.entry((guest, model)).or_default();
                    if *strikes >= MAX_CALLBACK_TIMEOUTS {
                        self.sender.send(CallbackEvent::Skipped { id });
                        continue;
                    }
                    load_once(&mut executor, &guests, guest)?;
                    self.sender.begin(Source::Callback(id));
                    let call = Call {
                        guest,
                        model,
                        export,
                        input: &input,
                        task_id: id,
                        attempt,
                    };
                    let Ok(ending) = self.call(&mut executor, &call) else {
                        return Ok(());
                    };
                    // Its data and backtrace are in no record: they do not wait for the event loop.
                    let failure = ending
                        .err()
                        .map(|Failure { kind, message, .. }| Failure::new(kind, message));
                    let timed_out = failure
                        .as_ref()
                        .is_some_and(|failure| failure.kind == Kind::Timeout);
                    *strikes = if timed_out { *strikes + 1 } else { 0 };
                    let last = *strikes == MAX_CALLBACK_TIMEOUTS;
                    let kept = executor.has_kept_instance(guest, model);
                    self.sender.send(CallbackEvent::Ended {
                        id,
                        failure,
                        last,
                        kept,
                    });
                }
                CallbackJob::Final(guest, model) => {
                    load_once(&mut executor, &guests, guest)?;
                    self.sender.begin(Source::FinalCallback { guest, model });
                    let call = Call {
                        guest,
                        model,
                        export: Export::FinalCallback,
                        input: b"null",
                        task_id: u64::MAX,
                        attempt: 0,
                    };
                    let Ok(ending) = self.call(&mut executor, &call) else {
                        return Ok(());
                    };
                    self.sender.send(CallbackEvent::Final(budget.admit(ending)));
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// When this thread has been abandoned.
    fn call(&self, executor: &mut Executor, call: &Call<'_>) -> Result<CallbackResult, Abandoned> {
        let at = clock::now() + self.settings.callback_timeout;
        self.watchdog.deadline().arm(at);
        self.watchdog.wake_by(at);
        let report = executor.run_kept(call, self.settings.callback_memory);
        match self.watchdog.deadline().disarm() {
            true => Ok(report.result),
            false => Err(Abandoned),
        }
    }
}

/// Makes code of a guest before its first callback: most guests of a large pool have none to run.
fn load_once(executor: &mut Executor, guests: &[Arc<GuestArtifact>], number: u32) -> Result<(), String> {
    if executor.has_guest(number) {
        return Ok(());
    }
    // What is not there is refused by the executor.
    let Some(guest) = guests.get(number as usize) else {
        return Ok(());
    };
    let artifact = guest.artifact.try_clone().map_err(|error| error.to_string())?;
    executor
        .load_as(number, artifact, &guest.info)
        .map_err(|error| error.to_string())
}

/// How a callback ended.
type CallbackResult = Result<String, Failure>;

/// Another thread has taken over.
struct Abandoned;

/// What the watchdog of callbacks guards: only their deadline.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_between_the_two_steps_of_a_wake_up_leaves_nothing_to_read_for_ever() {
        let thread = CallbackThread::start(&Settings::default()).unwrap();
        // The thread is about to write.
        thread.sender.is_woken.store(true, Ordering::Relaxed);
        thread.clear_wake();
        thread.sender.wake.write(1).unwrap();
        thread.clear_wake();
        assert!(
            thread.sender.wake.read().is_err(),
            "it is readable, and nobody will read it"
        );
        thread.sender.wake();
        assert_eq!(thread.sender.wake.read(), Ok(1), "what is said next wakes again");
    }
}
