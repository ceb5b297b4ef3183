//! How a run ends: what main does about each event, and which exit code and words follow from it.

pub mod halt;

use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use mpwasm::Pool;

use crate::process::exit::{EndSignal, Exit, Failure, error_line};
use crate::run::end::halt::{Halt, HaltCount};
use crate::run::output::reporter::{OutputFailure, OutputKind};
use crate::run::status;
use crate::terminal::stdio;
use mpwasm_system::limit_names::explain;

/// What the main thread waits for.
#[derive(Debug)]
pub enum RunEvent {
    /// No more tasks will be pushed.
    FeedEnded(Result<FeedEnd, Failure>),
    /// The user wants the run to end.
    Signal(EndSignal),
    /// The user wants to know what the run is doing.
    StatusRequested,
    /// This process is about to be stopped.
    Stopping,
    /// The run continues after a stop of this length.
    Continued(Duration),
    /// Prints or records can't be written any more.
    OutputFailed,
    /// Enough tasks went well or ill. The pool was told to end before any further task could begin.
    Halted(Halt),
    /// The pool has ended, and all its outcomes were reported.
    PoolEnded(Result<(), mpwasm::Error>),
    /// A thread of the command line panicked.
    Panicked,
}

/// How far the feeder came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEnd {
    /// All tasks were pushed.
    All,
    /// The pool took no more tasks before the last one was pushed.
    CutShort,
}

/// The total timeout of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunDeadline {
    total: Duration,
    /// `None` when it is too far away to be a moment.
    at: Option<Instant>,
}

impl RunDeadline {
    /// The run may take `total` from `started` on.
    pub fn new(started: Instant, total: Duration) -> Self {
        let at = started.checked_add(total);
        Self { total, at }
    }

    /// So much time does not count.
    fn extend(&mut self, by: Duration) {
        self.at = self.at.and_then(|at| at.checked_add(by));
    }
}

/// The ways in which main ends a pool. All return at once.
pub trait PoolControl {
    /// No more tasks come: all that were accepted run.
    fn finish(&self);
    /// Running tasks end, the others are cancelled.
    fn interrupt(&self);
    /// Everything ends now.
    fn kill(&self);
    /// Says what is going on.
    fn say_status(&self);
}

impl PoolControl for Arc<Pool> {
    fn finish(&self) {
        // It waits while the pipe of tasks is full, which can be as long as a reader does not read.
        let pool = Self::clone(self);
        thread::spawn(move || Pool::close(&pool));
    }

    fn interrupt(&self) {
        Pool::interrupt(self);
    }

    fn kill(&self) {
        Pool::terminate(self);
    }

    fn say_status(&self) {
        // The answer can take a while.
        let pool = Self::clone(self);
        thread::spawn(move || status::say(&pool));
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct RunEnd {
    /// What the pool said.
    pub pool: Result<(), mpwasm::Error>,
    /// Whether all tasks were pushed.
    pub all_pushed: bool,
    /// Why the feeder could not go on.
    pub feeder: Option<Failure>,
    /// The first signal.
    pub signal: Option<EndSignal>,
    /// The total timeout, if it passed.
    pub timed_out: Option<Duration>,
    /// Why it ended early.
    pub halted: Option<Halt>,
}

/// Waits until the pool has ended, and sees to it that it does.
pub fn wait(pool: &impl PoolControl, inbox: &Receiver<RunEvent>, mut limit: Option<RunDeadline>) -> RunEnd {
    let mut end = RunEnd {
        pool: Ok(()),
        all_pushed: false,
        feeder: None,
        signal: None,
        timed_out: None,
        halted: None,
    };
    let mut signals = 0;
    let mut is_stopped = false;
    loop {
        // What waits in the inbox comes before the limit: that this process was stopped is known before time has passed.
        let event = match limit.and_then(|limit| limit.at).filter(|_| !is_stopped) {
            Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(RunEvent::FeedEnded(Ok(fed))) => {
                end.all_pushed = fed == FeedEnd::All;
                pool.finish();
            }
            Ok(RunEvent::FeedEnded(Err(failure))) => {
                match failure.exit {
                    Exit::Usage | Exit::Unread => pool.kill(), // nothing was pushed
                    _ => pool.finish(),                        // what was pushed still runs
                }
                end.feeder = Some(failure);
            }
            Ok(RunEvent::Signal(signal)) => {
                let first = *end.signal.get_or_insert(signal);
                signals += 1;
                on_signal(pool, signals, signal, first);
            }
            Ok(RunEvent::StatusRequested) => pool.say_status(),
            Ok(RunEvent::Stopping) => is_stopped = true,
            Ok(RunEvent::Continued(stopped)) => {
                is_stopped = false;
                if let Some(limit) = &mut limit {
                    limit.extend(stopped);
                }
            }
            Ok(RunEvent::OutputFailed) => pool.kill(),
            Ok(RunEvent::Halted(halt)) => end.halted = Some(halt),
            Ok(RunEvent::PoolEnded(result)) => {
                end.pool = result;
                return end;
            }
            Ok(RunEvent::Panicked) | Err(RecvTimeoutError::Disconnected) => {
                pool.kill();
                end.feeder = Some(Failure::internal(anyhow!("a thread of mpwasm panicked")));
                return end;
            }
            Err(RecvTimeoutError::Timeout) => {
                pool.kill();
                end.timed_out = limit.take().map(|limit| limit.total);
            }
        }
    }
}

fn on_signal(pool: &impl PoolControl, count: u32, signal: EndSignal, first: EndSignal) {
    match count {
        1 => {
            pool.interrupt();
            stdio::try_print_message(&format!(
                "{signal}: running tasks may end, the others are cancelled; a second signal kills all"
            ));
        }
        2 => {
            pool.kill();
            stdio::try_print_message(&format!(
                "{signal}: all is killed; a third signal does not wait for records"
            ));
        }
        // The reader of stdout or of the records does not read: all that is left to do is to leave.
        _ => process::exit(Exit::Interrupted(first).code()),
    }
}

impl RunEnd {
    /// The exit code. mpwasm's own failures come before everything else, a signal before what follows from it.
    /// `any_failure` says whether a task or callback failed, `lost_values` whether a final value was lost.
    pub fn exit(&self, broken: Option<&OutputFailure>, any_failure: bool, lost_values: bool) -> Exit {
        let of_tasks = |failed| if failed { Exit::TasksFailed } else { Exit::Success };
        let feeder = self.feeder.as_ref().map(|failure| failure.exit);
        if broken.is_some_and(|broken| !broken.is_closed_pipe()) || feeder == Some(Exit::Failed) {
            return Exit::Failed;
        }
        if self.pool.is_err() && broken.is_none() {
            return Exit::Failed;
        }
        if let Some(signal) = self.signal {
            return Exit::Interrupted(signal);
        }
        // A reader that leaves when all is done takes nothing away.
        if let Some(broken) = broken
            && (broken.lost || !self.all_pushed || lost_values)
        {
            return Exit::Unread;
        }
        // A run that was to end with so many good ones has what it was for, whatever went ill until then. That there is no
        // final value follows from the early end.
        if let Some(halt) = self.halted
            && self.timed_out.is_none()
        {
            return of_tasks(halt.of == HaltCount::Fail);
        }
        feeder.unwrap_or(of_tasks(any_failure || lost_values || self.timed_out.is_some()))
    }

    /// What went wrong apart from tasks, a line each.
    pub fn problems(&self, broken: Option<&OutputFailure>) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(broken) = broken.filter(|broken| !broken.is_closed_pipe()) {
            let what = match broken.place {
                OutputKind::Prints => "what guests print",
                OutputKind::Records => "records",
                OutputKind::OrderBuffer => {
                    "what waits for its turn to a temporary file (leave out --keep-order, or set TMPDIR to another folder)"
                }
            };
            problems.push(format!(
                "cannot write {what}, the run was ended: {}",
                explain(&broken.error)
            ));
        }
        if let Err(error) = &self.pool
            && !(broken.is_some() && matches!(error, mpwasm::Error::Report { .. }))
        {
            problems.push(error.to_string());
        }
        let feeder = self
            .feeder
            .as_ref()
            .filter(|failure| failure.exit != Exit::Unread);
        problems.extend(feeder.map(|failure| error_line(&failure.error)));
        if let Some(halt) = self.halted {
            problems.push(format!("the run was ended early: --halt {halt}"));
        }
        if let Some(total) = self.timed_out {
            let total = humantime::format_duration(total);
            problems.push(format!(
                "the run took longer than --total-timeout {total} and was ended"
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{self, ErrorKind};
    use std::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Calls(RefCell<Vec<&'static str>>);

    impl PoolControl for Calls {
        fn finish(&self) {
            self.0.borrow_mut().push("finish");
        }
        fn interrupt(&self) {
            self.0.borrow_mut().push("interrupt");
        }
        fn kill(&self) {
            self.0.borrow_mut().push("kill");
        }
        fn say_status(&self) {
            self.0.borrow_mut().push("status");
        }
    }

    fn play(events: Vec<RunEvent>, limit: Option<RunDeadline>) -> (Vec<&'static str>, RunEnd) {
        let (sender, inbox) = mpsc::channel();
        events.into_iter().for_each(|event| sender.send(event).unwrap());
        let calls = Calls::default();
        let end = wait(&calls, &inbox, limit);
        (calls.0.into_inner(), end)
    }

    fn failure(exit: Exit) -> Failure {
        Failure {
            exit,
            error: anyhow!("because"),
        }
    }

    #[test]
    fn when_all_is_pushed_the_pool_drains() {
        let (calls, end) = play(
            vec![RunEvent::FeedEnded(Ok(FeedEnd::All)), RunEvent::PoolEnded(Ok(()))],
            None,
        );
        assert_eq!(calls, ["finish"]);
        assert_eq!(end.exit(None, false, false), Exit::Success);
        assert_eq!(end.exit(None, true, false), Exit::TasksFailed);
        assert!(end.problems(None).is_empty());
    }

    #[test]
    fn a_run_that_never_began_is_killed_and_one_whose_tasks_failed_is_drained() {
        for (exit, call) in [
            (Exit::Usage, "kill"),
            (Exit::TasksFailed, "finish"),
            (Exit::Failed, "finish"),
        ] {
            let (calls, end) = play(
                vec![
                    RunEvent::FeedEnded(Err(failure(exit))),
                    RunEvent::PoolEnded(Ok(())),
                ],
                None,
            );
            assert_eq!(calls, [call], "{exit:?}");
            assert_eq!(end.exit(None, false, false), exit);
            assert_eq!(end.problems(None), ["because"]);
        }
    }

    #[test]
    fn the_first_signal_interrupts_the_second_kills_and_the_first_decides_the_code() {
        let events = vec![
            RunEvent::Signal(EndSignal::Terminate),
            RunEvent::Signal(EndSignal::Interrupt),
            RunEvent::FeedEnded(Ok(FeedEnd::All)),
            RunEvent::PoolEnded(Ok(())),
        ];
        let (calls, end) = play(events, None);
        assert_eq!(calls, ["interrupt", "kill", "finish"]);
        assert_eq!(
            end.exit(None, true, false),
            Exit::Interrupted(EndSignal::Terminate)
        );
    }

    #[test]
    fn a_question_changes_nothing() {
        let (calls, end) = play(
            vec![
                RunEvent::StatusRequested,
                RunEvent::StatusRequested,
                RunEvent::PoolEnded(Ok(())),
            ],
            None,
        );
        assert_eq!(calls, ["status", "status"]);
        assert_eq!(end.exit(None, false, false), Exit::Success);
    }

    #[test]
    fn a_pool_that_ends_does_not_wait_for_the_feeder() {
        let died = mpwasm::Error::DispatcherDied("signal 9".into());
        let (calls, end) = play(vec![RunEvent::PoolEnded(Err(died))], None);
        assert!(calls.is_empty());
        assert_eq!(end.exit(None, true, false), Exit::Failed);
        assert_eq!(end.problems(None).len(), 1);
    }

    #[test]
    fn the_total_timeout_kills_once_and_fails_the_run() {
        let (sender, inbox) = mpsc::channel();
        struct EndsWhenKilled(mpsc::Sender<RunEvent>);
        impl PoolControl for EndsWhenKilled {
            fn finish(&self) {}
            fn interrupt(&self) {}
            fn kill(&self) {
                self.0.send(RunEvent::PoolEnded(Ok(()))).unwrap();
            }
            fn say_status(&self) {}
        }
        let limit = RunDeadline::new(Instant::now(), Duration::from_millis(1));
        let end = wait(&EndsWhenKilled(sender), &inbox, Some(limit));
        assert_eq!(end.exit(None, false, false), Exit::TasksFailed);
        assert!(end.problems(None)[0].contains("--total-timeout 1ms"));
    }

    #[test]
    fn while_this_process_is_stopped_the_total_timeout_does_not_pass() {
        let hour = Duration::from_secs(3600);
        let limit = RunDeadline::new(Instant::now().checked_sub(hour).unwrap(), hour);
        let events = vec![
            RunEvent::Stopping,
            RunEvent::Continued(hour),
            RunEvent::PoolEnded(Ok(())),
        ];
        let (calls, end) = play(events, Some(limit));
        assert!(calls.is_empty() && end.timed_out.is_none());
    }

    #[test]
    fn a_total_timeout_beyond_all_time_never_comes() {
        let limit = RunDeadline::new(Instant::now(), Duration::MAX);
        let (calls, end) = play(vec![RunEvent::PoolEnded(Ok(()))], Some(limit));
        assert!(calls.is_empty() && end.timed_out.is_none());
    }

    #[test]
    fn a_halt_is_a_failure_unless_it_is_for_success() {
        for (halt, exit) in [
            ("now,fail=1", Exit::TasksFailed),
            ("soon,fail=1", Exit::TasksFailed),
            ("soon,success=1", Exit::Success),
        ] {
            let events = vec![
                RunEvent::Halted(halt.parse().unwrap()),
                RunEvent::PoolEnded(Ok(())),
            ];
            let (_, end) = play(events, None);
            assert_eq!(end.exit(None, true, false), exit);
            assert!(end.problems(None)[0].contains(halt));
        }
    }

    fn broken(kind: ErrorKind, lost: bool) -> OutputFailure {
        OutputFailure {
            place: OutputKind::Records,
            error: kind.into(),
            lost,
        }
    }

    fn report_error() -> Result<(), mpwasm::Error> {
        Err(mpwasm::Error::Report(io::Error::from(ErrorKind::Other)))
    }

    #[test]
    fn a_reader_that_leaves_early_makes_141_whatever_failed_until_then() {
        let closed = broken(ErrorKind::BrokenPipe, true);
        let (_, end) = play(
            vec![
                RunEvent::FeedEnded(Ok(FeedEnd::All)),
                RunEvent::PoolEnded(report_error()),
            ],
            None,
        );
        for any_failure in [false, true] {
            assert_eq!(end.exit(Some(&closed), any_failure, false), Exit::Unread);
        }
        assert!(end.problems(Some(&closed)).is_empty());
        let (calls, end) = play(vec![RunEvent::OutputFailed, RunEvent::PoolEnded(Ok(()))], None);
        assert_eq!(calls, ["kill"]);
        let closed = broken(ErrorKind::BrokenPipe, false);
        assert_eq!(
            end.exit(Some(&closed), false, false),
            Exit::Unread,
            "there were more tasks"
        );
    }

    #[test]
    fn a_reader_that_leaves_when_all_is_done_changes_nothing() {
        let closed = broken(ErrorKind::BrokenPipe, false);
        let events = vec![
            RunEvent::OutputFailed,
            RunEvent::FeedEnded(Ok(FeedEnd::All)),
            RunEvent::PoolEnded(Ok(())),
        ];
        let (_, end) = play(events, None);
        assert_eq!(end.exit(Some(&closed), false, false), Exit::Success);
        assert_eq!(end.exit(Some(&closed), true, false), Exit::TasksFailed);
        assert_eq!(
            end.exit(Some(&closed), false, true),
            Exit::Unread,
            "the final callback was not run"
        );
    }

    #[test]
    fn a_signal_comes_before_a_reader_that_leaves() {
        let events = vec![
            RunEvent::Signal(EndSignal::Interrupt),
            RunEvent::OutputFailed,
            RunEvent::PoolEnded(Ok(())),
        ];
        let (_, end) = play(events, None);
        let closed = broken(ErrorKind::BrokenPipe, true);
        assert_eq!(
            end.exit(Some(&closed), false, false),
            Exit::Interrupted(EndSignal::Interrupt)
        );
    }

    #[test]
    fn a_full_disk_is_a_failure_of_mpwasm_even_after_a_signal_and_says_so() {
        let events = vec![
            RunEvent::Signal(EndSignal::Interrupt),
            RunEvent::PoolEnded(report_error()),
        ];
        let (_, end) = play(events, None);
        let full = broken(ErrorKind::StorageFull, false);
        assert_eq!(end.exit(Some(&full), false, false), Exit::Failed);
        let problems = end.problems(Some(&full));
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("cannot write records, the run was ended: "),
            "{problems:?}"
        );
    }

    #[test]
    fn a_panic_is_a_failure_of_mpwasm() {
        let (calls, end) = play(vec![RunEvent::Panicked], None);
        assert_eq!(calls, ["kill"]);
        assert_eq!(end.exit(None, false, false), Exit::Failed);
    }
}
