//! Tests of how a run ends.

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
    fn print_status(&self) {
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

fn failure(exit: Exit) -> ExitError {
    ExitError {
        exit,
        error: anyhow!("because"),
    }
}

#[test]
fn after_all_tasks_are_pushed_the_pool_is_closed() {
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
fn a_run_that_never_began_is_killed_and_one_whose_tasks_export_failed_is_closed() {
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
fn a_status_request_changes_nothing() {
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
        fn print_status(&self) {}
    }
    let limit = RunDeadline::new(Instant::now(), Duration::from_millis(1));
    let end = wait(&EndsWhenKilled(sender), &inbox, Some(limit));
    assert_eq!(end.exit(None, false, false), Exit::TasksFailed);
    assert!(end.problems(None)[0].contains("--total-timeout 1ms"));
}

#[test]
fn objects_that_are_lost_are_a_failure_of_mpwasm() {
    let end = RunEnd {
        all_pushed: true,
        objects: Err(anyhow::anyhow!(
            "cannot write objects.json (--objects-out): no space"
        )),
        ..RunEnd::default()
    };
    assert_eq!(end.exit(None, true, false), Exit::Failed);
    assert!(end.problems(None)[0].contains("objects.json"));
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

fn output_failure(kind: ErrorKind, lost: bool) -> OutputFailure {
    OutputFailure {
        output: OutputKind::Records,
        error: kind.into(),
        lost,
    }
}

fn report_error() -> Result<(), mpwasm::Error> {
    Err(mpwasm::Error::Report(io::Error::from(ErrorKind::Other)))
}

#[test]
fn a_reader_that_closes_early_makes_141_whatever_failed_before() {
    let closed = output_failure(ErrorKind::BrokenPipe, true);
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
    let closed = output_failure(ErrorKind::BrokenPipe, false);
    assert_eq!(
        end.exit(Some(&closed), false, false),
        Exit::Unread,
        "there were more tasks"
    );
}

#[test]
fn a_reader_that_closes_at_the_end_changes_nothing() {
    let closed = output_failure(ErrorKind::BrokenPipe, false);
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
fn a_signal_has_priority_over_a_closed_reader() {
    let events = vec![
        RunEvent::Signal(EndSignal::Interrupt),
        RunEvent::OutputFailed,
        RunEvent::PoolEnded(Ok(())),
    ];
    let (_, end) = play(events, None);
    let closed = output_failure(ErrorKind::BrokenPipe, true);
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
    let full = output_failure(ErrorKind::StorageFull, false);
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
    let (sender, inbox) = mpsc::channel();
    sender.send(RunEvent::Panicked).unwrap();
    drop(sender); // no thread is left that could tell of the pool's end
    let calls = Calls::default();
    let end = wait(&calls, &inbox, None);
    assert_eq!(calls.0.into_inner(), ["kill"]);
    assert_eq!(end.exit(None, false, false), Exit::Failed);
}

#[test]
fn after_a_panic_the_end_of_the_pool_is_waited_for() {
    let events = vec![RunEvent::Panicked, RunEvent::PoolEnded(report_error())];
    let (calls, end) = play(events, None);
    assert_eq!(calls, ["kill"]);
    assert!(end.pool.is_err(), "the reporters were ended");
    assert_eq!(end.exit(None, false, false), Exit::Failed);
}
