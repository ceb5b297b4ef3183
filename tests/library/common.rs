//! Shared by the tests of the library: pools, a guest, a reporter to wait for, and time limits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use mpwasm::{Builder, Guest, LogLine, Outcome, Pool, Reporter, Source, Task, TaskHandle, TaskId};

use crate::support;

/// Longest time that an immediate action may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any test, for timeouts that must not pass even on a busy machine.
pub const LONG: Duration = Duration::from_secs(3600);

/// The guest of these tests. Its file describes its models.
pub const GUEST: &str = include_str!("guest.wat");

/// Returns a builder for two workers, with a reporter that ignores everything and no timeout that passes in a test.
pub fn builder() -> Builder {
    struct Deaf;
    impl Reporter for Deaf {}
    Pool::builder()
        .executable(support::binary())
        .size(2)
        .timeout(LONG)
        .callback_timeout(LONG)
        .reporter(Deaf)
}

/// Starts a pool and loads the guest.
pub fn pool_and_guest(builder: Builder) -> (Pool, Guest) {
    let pool = builder.start().unwrap();
    let guest = pool.load_bytes("guest.wat", GUEST.as_bytes()).unwrap();
    (pool, guest)
}

/// Starts a pool and loads the guest. Returns the events of its reporter as well.
pub fn recorded(builder: Builder) -> (Pool, Guest, Record) {
    let (recorder, record) = recorder();
    let (pool, guest) = pool_and_guest(builder.reporter(recorder));
    (pool, guest, record)
}

/// Returns the result of a task that succeeded.
pub fn result(outcome: &Outcome) -> &str {
    outcome.result.as_ref().expect("the task went well").get()
}

/// Returns a task of one of the guest's models, without args.
pub fn task(guest: &Guest, model: &str) -> Task {
    guest.model(model).unwrap().task(())
}

/// An event of a reporter.
#[derive(Debug)]
pub enum ReceivedEvent {
    Outcome(Box<Outcome>),
    Log(Source, String),
}

/// A reporter that sends all its events to a channel.
pub struct Recorder(Sender<ReceivedEvent>);

/// The events that it received. A wait keeps the events that it does not look for.
pub struct Record {
    receiver: Receiver<ReceivedEvent>,
    kept: RefCell<VecDeque<ReceivedEvent>>,
}

pub fn recorder() -> (Recorder, Record) {
    let (sender, receiver) = mpsc::channel();
    let record = Record {
        receiver,
        kept: RefCell::default(),
    };
    (Recorder(sender), record)
}

impl Reporter for Recorder {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let _ = self.0.send(ReceivedEvent::Outcome(Box::new(outcome.clone())));
        Ok(())
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        let _ = self.0.send(ReceivedEvent::Log(line.source, line.text.to_owned()));
        Ok(())
    }
}

impl Record {
    /// Waits for the first event for which `answer` returns a value; `None` when it does not arrive in time.
    fn wait_for<T>(&self, mut answer: impl FnMut(&ReceivedEvent) -> Option<T>) -> Option<T> {
        let mut kept = self.kept.borrow_mut();
        if let Some((index, found)) = kept
            .iter()
            .enumerate()
            .find_map(|(index, event)| Some((index, answer(event)?)))
        {
            kept.remove(index);
            return Some(found);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.receiver.recv_timeout(left).ok()?;
            match answer(&event) {
                Some(found) => return Some(found),
                None => kept.push_back(event),
            }
        }
    }

    /// Waits for a log line.
    #[track_caller]
    pub fn wait_for_log(&self, source: Source, text: &str) {
        let is_it = |event: &ReceivedEvent| match event {
            ReceivedEvent::Log(from, line) => (*from == source && line == text).then_some(()),
            ReceivedEvent::Outcome(_) => None,
        };
        self.wait_for(is_it)
            .unwrap_or_else(|| panic!("{source:?} did not log {text:?}"));
    }

    /// Waits until each of these tasks has logged "running".
    #[track_caller]
    pub fn wait_until_running(&self, tasks: &[&TaskHandle]) {
        for task in tasks {
            self.wait_for_log(Source::Task(task.id()), "running");
        }
    }

    /// Waits for the next outcome.
    #[track_caller]
    pub fn wait_for_outcome(&self) -> Outcome {
        let outcome = |event: &ReceivedEvent| match event {
            ReceivedEvent::Outcome(outcome) => Some((**outcome).clone()),
            ReceivedEvent::Log(..) => None,
        };
        self.wait_for(outcome).expect("a task ends")
    }

    /// Returns the outcomes so far that no wait has taken, in the order of their ids.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |event| match event {
            ReceivedEvent::Outcome(outcome) => Some(*outcome),
            ReceivedEvent::Log(..) => None,
        };
        let mut outcomes: Vec<_> = self.rest().into_iter().filter_map(outcome).collect();
        outcomes.sort_by_key(|outcome| outcome.id);
        outcomes
    }

    /// Returns the events so far that no wait has taken.
    pub fn rest(&self) -> Vec<ReceivedEvent> {
        let kept = self.kept.take();
        kept.into_iter().chain(self.receiver.try_iter()).collect()
    }
}

/// Asserts that the ids count up from 0, each exactly once.
#[track_caller]
pub fn assert_dense(ids: impl IntoIterator<Item = TaskId>) -> u64 {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..ids.len() as u64).map(TaskId).collect::<Vec<_>>());
    ids.len() as u64
}

/// Waits for the outcome. Panics when it does not arrive in time.
#[track_caller]
pub fn outcome(handle: &TaskHandle) -> Outcome {
    handle.wait_timeout(PATIENCE).expect("the outcome comes in time")
}

/// Returns how a task ended.
#[track_caller]
pub fn status(handle: &TaskHandle) -> &'static str {
    outcome(handle).status()
}

/// Returns what `call` returns. Panics when that takes too long, so that a test fails rather than hangs.
#[track_caller]
pub fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(sender.send(call())));
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => {
            thread.join().unwrap();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it takes too long"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// The smallest executor: parks the thread until it is woken.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The dispatcher and its workers, to check that they end.
pub struct Processes {
    dispatcher: u32,
    pidfds: Vec<std::os::fd::OwnedFd>,
}

impl Processes {
    /// Waits until all of them are there.
    pub fn of(pool: &Pool, workers: usize) -> Self {
        let dispatcher = pool.dispatcher_pid();
        let mut pidfds = support::until(|| {
            let all = support::descendants(dispatcher);
            // A worker may end between the two checks and be replaced.
            let pidfds: Option<Vec<_>> = all.into_iter().map(support::pidfd_if_there).collect();
            pidfds.filter(|all| all.len() == workers)
        });
        pidfds.push(support::pidfd(dispatcher));
        Self { dispatcher, pidfds }
    }

    /// Returns whether all of them have ended.
    pub fn are_gone(&self) -> bool {
        self.pidfds
            .iter()
            .all(|pidfd| support::wait_readable(pidfd, Duration::ZERO))
    }

    /// Panics when one of them is still there, or the dispatcher was not reaped.
    #[track_caller]
    pub fn assert_gone(&self) {
        self.assert_gone_within(Duration::ZERO);
    }

    /// As [`assert_gone`](Self::assert_gone), after a kill. A dispatcher that is too busy is killed itself, and its
    /// workers then end by themselves a moment later.
    #[track_caller]
    pub fn assert_killed(&self) {
        self.assert_gone_within(PATIENCE);
    }

    #[track_caller]
    fn assert_gone_within(&self, limit: Duration) {
        support::assert_all_end(&self.pidfds, limit);
        let left = std::fs::exists(format!("/proc/{}", self.dispatcher)).unwrap();
        assert!(!left, "the dispatcher was not reaped");
    }
}
