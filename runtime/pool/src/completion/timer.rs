//! A process-wide thread that makes scheduled calls: those of [`CancellationToken::cancel_after`].
//!
//! It is started with the first scheduled call and ends when none is left.
//!
//! [`CancellationToken::cancel_after`]: crate::completion::cancellation::CancellationToken::cancel_after

use std::collections::BTreeMap;
use std::time::Instant;

use crate::fork::Owner;
use crate::sync::{Condvar, Mutex, MutexGuard};

type TimerCall = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Timer {
    /// Calls by the time at which they are due. The number distinguishes calls that are due at the same time.
    waiting: BTreeMap<(Instant, u64), TimerCall>,
    next: u64,
    /// The process in which the thread runs: a fork does not inherit it.
    runs_in: Option<Owner>,
}

static TIMER: Mutex<Timer> = Mutex::new(Timer {
    waiting: BTreeMap::new(),
    next: 0,
    runs_in: None,
});
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Timer> {
    TIMER.lock()
}

/// A scheduled call. Dropping it cancels the call.
#[derive(Debug)]
pub struct ScheduledCall(Instant, u64);

impl Drop for ScheduledCall {
    fn drop(&mut self) {
        let cancelled = lock().waiting.remove(&(self.0, self.1));
        CHANGED.notify_one();
        drop(cancelled);
    }
}

/// Schedules `call` for the time `at`, on the timer's thread. It must neither block nor panic.
///
/// # Errors
/// When the thread can't be started.
pub fn at(at: Instant, call: impl FnOnce() + Send + 'static) -> std::io::Result<ScheduledCall> {
    let mut timer = lock();
    if !timer.runs_in.as_ref().is_some_and(Owner::is_here) {
        std::thread::Builder::new()
            .name("mpwasm-timer".to_owned())
            .spawn(run)?;
        timer.runs_in = Some(Owner::this());
    }
    let number = timer.next;
    timer.next += 1;
    timer.waiting.insert((at, number), Box::new(call));
    CHANGED.notify_one();
    Ok(ScheduledCall(at, number))
}

fn run() {
    let mut timer = lock();
    while let Some(first) = timer.waiting.first_entry() {
        let left = first.key().0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let call = first.remove();
            drop(timer);
            call();
            timer = lock();
        } else {
            let until = first.key().0;
            let is_first = |timer: &mut Timer| {
                timer
                    .waiting
                    .first_key_value()
                    .is_some_and(|(at, _)| at.0 == until)
            };
            timer = CHANGED.wait_while_until(timer, Some(until), is_first);
        }
    }
    timer.runs_in = None;
}
