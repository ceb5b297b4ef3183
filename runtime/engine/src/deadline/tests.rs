use std::sync::Barrier;
use std::thread;

use super::*;

fn soon() -> Time {
    clock::now() + Duration::from_millis(20)
}

fn late() -> Time {
    clock::now() + Duration::from_secs(600)
}

#[test]
fn nothing_is_interrupted_while_idle() {
    let deadline = Deadline::new();
    assert_eq!(
        (deadline.at(), deadline.call(), deadline.interrupted()),
        (Time::NEVER, None, None)
    );
    deadline.arm(Time(0));
    assert_eq!(deadline.interrupted(), Some(InterruptCause::Timeout));
    assert_eq!(deadline.remaining(), Duration::ZERO);
    assert!(deadline.disarm());
    assert_eq!((deadline.at(), deadline.interrupted()), (Time::NEVER, None));
    assert!(deadline.disarm(), "to disarm twice is harmless");
}

#[test]
fn a_cancel_request_hits_its_own_call_only() {
    let deadline = Deadline::new();
    deadline.cancel_running();
    deadline.arm(late());
    assert_eq!(deadline.interrupted(), None, "cancelled before it began");
    let first = deadline.call().unwrap();
    deadline.cancel_running();
    assert_eq!(deadline.interrupted(), Some(InterruptCause::Cancelled));
    assert!(deadline.disarm());
    deadline.arm(late());
    assert_eq!(deadline.interrupted(), None);
    deadline.cancel(first);
    assert_eq!(deadline.interrupted(), None, "a late request");
}

#[test]
fn a_deadline_can_be_moved_while_the_call_runs() {
    let deadline = Deadline::new();
    deadline.arm(Time(0));
    deadline.set(late());
    assert_eq!(deadline.interrupted(), None);
    assert!(deadline.remaining() > Duration::from_secs(500));
    let (call, at) = deadline.running().unwrap();
    assert_eq!((Some(call), at), (deadline.call(), deadline.at()));
}

#[test]
fn a_sleeper_wakes_when_it_wanted_to_or_at_the_deadline() {
    let deadline = Deadline::new();
    deadline.arm(late());
    let wanted = soon();
    assert_eq!(deadline.sleep_until(wanted), Ok(()));
    assert!(clock::now() >= wanted);
    assert!(deadline.disarm());

    let at = soon();
    deadline.arm(at);
    assert_eq!(deadline.sleep_until(Time::NEVER), Err(InterruptCause::Timeout));
    assert!(clock::now() >= at);
}

#[test]
fn a_sleeper_wakes_when_it_is_cancelled() {
    let deadline = Deadline::new();
    deadline.arm(Time::NEVER);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| deadline.sleep_until(Time::NEVER));
        // Whether it sleeps already or not: it must not miss the request.
        deadline.cancel_running();
        assert_eq!(sleeper.join().unwrap(), Err(InterruptCause::Cancelled));
    });
}

#[test]
fn a_sleeper_notices_that_its_deadline_was_moved_to_an_earlier_moment() {
    let deadline = Deadline::new();
    deadline.arm(Time::NEVER);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| deadline.sleep_until(Time::NEVER));
        deadline.set(Time(0));
        assert_eq!(sleeper.join().unwrap(), Err(InterruptCause::Timeout));
    });
}

#[test]
fn an_abandoned_call_stays_abandoned() {
    let deadline = Deadline::new();
    deadline.arm(Time(0));
    let call = deadline.call().unwrap();
    assert!(deadline.abandon(call));
    assert!(!deadline.abandon(call), "only once");
    assert!(!deadline.disarm());
    assert!(!deadline.disarm());
    deadline.arm(late());
    assert!(!deadline.disarm(), "no new call begins");
}

#[test]
fn a_call_that_has_ended_cannot_be_abandoned() {
    let deadline = Deadline::new();
    deadline.arm(Time(0));
    let call = deadline.call().unwrap();
    assert!(deadline.disarm());
    assert!(!deadline.abandon(call));
    deadline.arm(late());
    assert!(!deadline.abandon(call), "the next call is another one");
    assert!(deadline.disarm());
}

#[test]
fn of_disarm_and_abandon_exactly_one_wins() {
    let mut wins = [0, 0];
    for _ in 0..2000 {
        let deadline = Deadline::new();
        deadline.arm(Time(0));
        let call = deadline.call().unwrap();
        let start = Barrier::new(2);
        let (disarmed, abandoned) = thread::scope(|scope| {
            let watchdog = scope.spawn(|| {
                start.wait();
                deadline.abandon(call)
            });
            start.wait();
            (deadline.disarm(), watchdog.join().unwrap())
        });
        assert_ne!(disarmed, abandoned);
        wins[usize::from(abandoned)] += 1;
    }
    assert_eq!(wins[0] + wins[1], 2000);
}

#[test]
fn a_watchdog_never_sees_an_earlier_deadline_than_the_calls_own() {
    // Call number N gets deadline N, so a torn view would show.
    let deadline = Deadline::new();
    thread::scope(|scope| {
        let watchdog = scope.spawn(|| {
            loop {
                if let Some((call, at)) = deadline.running() {
                    assert_eq!(at, Time(call.0));
                    if call.0 == 100_000 {
                        break;
                    }
                }
            }
        });
        for n in 1..100_000 {
            deadline.arm(Time(n));
            assert!(deadline.disarm());
        }
        deadline.arm(Time(100_000));
        watchdog.join().unwrap();
    });
}

#[test]
fn a_call_counts_as_expired_once_the_watchdog_has_seen_it_and_the_next_one_does_not() {
    let deadline = Deadline::new();
    deadline.arm(Time(0));
    assert_eq!(deadline.expired(), None);
    deadline.expire();
    assert_eq!(deadline.expired(), Some(InterruptCause::Timeout));
    assert!(deadline.disarm());
    deadline.arm(late());
    assert_eq!(deadline.expired(), None);
    // Too late for the call that it was meant for.
    deadline.expire();
    assert_eq!(deadline.expired(), None);
    deadline.cancel_running();
    assert_eq!(deadline.expired(), Some(InterruptCause::Cancelled));
    assert!(deadline.disarm());
}
