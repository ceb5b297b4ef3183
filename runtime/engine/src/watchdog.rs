//! The watchdog thread, which enforces the deadline of the call that runs on another thread: steps 1 to 3 of a timeout.
//!
//! At the deadline the watchdog increments the engine's epoch, which traps the guest, and wakes host calls that sleep. A
//! call that has still not ended after a grace period is abandoned: its [`WatchdogHandler`] ends the process. Guest code without
//! checks for the epoch ([`Interrupt::Kill`]) gets no grace period, unless a host call waits. With [`Interrupt::Signal`] the
//! watchdog sends a signal to the task's thread instead of incrementing the epoch.
//!
//! A sleep ends late: the kernel must wake the thread. So the watchdog sleeps until shortly before the deadline of a call and then
//! spins ([`SPIN`]). A call that ends before that costs nothing.
//!
//! The deadline is an atomic. The watchdog sleeps until the deadline that it last read and then reads it again, so that a
//! task costs no system call. The guest's thread wakes it ([`WatchdogHandle::wake_by`]) only when something becomes due
//! earlier than the end of its sleep.
//!
//! Each process that runs guests has one: workers, the dispatcher (for callbacks) and the `tasks` process.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use wasmtime::Engine;

use crate::{CallId, Deadline, signal};
use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use mpwasm_system::process::cpu_count;
use mpwasm_types::settings::Interrupt;
use mpwasm_types::time::Time;

/// Interval at which the epoch is incremented while a call is past its deadline: 5 ms. An increment that falls between
/// arming the deadline and entering the guest is lost, so one is not enough.
const EPOCH_INTERVAL: Duration = Duration::from_millis(5);

/// Interval at which the watchdog checks whether a call past its deadline still waits in a host call, if guest code cannot be
/// interrupted: 1 ms.
const WAIT_INTERVAL: Duration = Duration::from_millis(1);

/// Time between the first two signals to a call past its deadline: 100 µs. The first one may have found the call in the host, or the
/// thread without a CPU.
const FIRST_SIGNAL_INTERVAL: Duration = Duration::from_micros(100);

/// Longest time between two signals: 500 µs. A guest that is rarely outside of the engine's operations is still found with some
/// hundred attempts.
const MAX_SIGNAL_INTERVAL: Duration = Duration::from_micros(500);

/// Longest sleep of the watchdog after a wake-up: 5 ms. The next wake-up is likely to follow soon, and a thread that ends
/// many short tasks then need not make a system call for each batch of messages. A timer of a [`WatchdogHandler`] should
/// therefore be set at least this far ahead.
pub const RECHECK_INTERVAL: Duration = Duration::from_millis(5);

/// Time before a deadline at which the watchdog wakes up to spin until then: 100 µs, which is longer than most wake-ups take
/// on an idle machine.
const SPIN: Duration = Duration::from_micros(100);

/// What a process adds to its watchdog: a file descriptor, a timer, and how the process ends when a call is stuck.
pub trait WatchdogHandler {
    /// Returns the file descriptor to poll: the control channel, whose end is the end of this process.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Handles the descriptor when it is readable. Does not return if the process has to end.
    fn on_readable(&mut self, _context: &WatchdogContext<'_>) {}

    /// Returns the time at which [`WatchdogHandler::on_timer`] is due.
    fn timer_due(&self) -> Time {
        Time::NEVER
    }

    /// Does the work that is due. Must not block.
    fn on_timer(&mut self) {}

    /// Returns the time between a deadline and the moment at which its call counts as stuck.
    fn grace(&self) -> Duration;

    /// Ends this process, because a call neither ended in time nor can be interrupted.
    fn on_stuck(&self) -> !;
}

/// Handle of the watchdog, for the thread that runs guests.
#[derive(Debug)]
pub struct WatchdogHandle {
    deadline: Arc<Deadline>,
    wake: EventFd,
    /// End of the watchdog's sleep. Zero while it is awake or about to wake up: it then reads what is due before it sleeps again.
    sleeps_until: AtomicU64,
    /// Time before a deadline at which it starts to spin. Zero with a single CPU, which it would take from the guest.
    spin: Duration,
}

impl WatchdogHandle {
    /// Creates a handle for the calls that `deadline` covers.
    ///
    /// # Errors
    /// Returns an error if the process has no file descriptor left.
    pub fn new(deadline: Arc<Deadline>) -> std::io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            deadline,
            wake,
            sleeps_until: AtomicU64::new(0),
            spin: match cpu_count() {
                1 => Duration::ZERO,
                _ => SPIN,
            },
        })
    }

    /// Returns the deadline that the watchdog enforces.
    #[must_use]
    pub fn deadline(&self) -> &Arc<Deadline> {
        &self.deadline
    }

    /// Makes sure that the watchdog is awake at `at`. Call it after storing what is due then where the watchdog reads it.
    pub fn wake_by(&self, at: Time) {
        // Pairs with the fence in `sleep`: either this thread sees the end of the sleep, or the watchdog sees what was stored.
        fence(Ordering::SeqCst);
        let until = self.sleeps_until.load(Ordering::Relaxed);
        // One wake-up is enough: until the watchdog runs, which can take a while, it counts as awake. If the exchange fails,
        // another thread has woken it, or it has woken up by itself and looks after the fence above.
        if at.0 < until
            && self
                .sleeps_until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            // Fails only if the counter is full of wake-ups that were not read. The watchdog is awake then.
            let _ = self.wake.write(1);
        }
    }

    /// Pauses the deadline of the running call until the returned guard is dropped. The call then has as much time left as
    /// when it was paused.
    ///
    /// For host calls that wait for another process, whose delay the guest must not pay for.
    #[must_use = "the deadline resumes when the guard is dropped"]
    pub fn pause(&self) -> DeadlinePause<'_> {
        let remaining = self.deadline.remaining();
        self.deadline.set(Time::NEVER);
        DeadlinePause {
            watchdog: self,
            remaining,
        }
    }

    /// Returns the time at which the watchdog has to be awake for the deadline of the running call.
    fn deadline_due(&self) -> Time {
        match self.deadline.at() {
            Time::NEVER => Time::NEVER,
            at => at - self.spin,
        }
    }

    /// Spins until the deadline of the running call, if that is near. Returns early when the call ends or its deadline is moved.
    fn spin_until_deadline(&self) {
        let Some((call, at)) = self.deadline.running() else {
            return;
        };
        let is_near = |now: Time| now < at && at.since(now) <= self.spin;
        while is_near(clock::now()) && self.deadline.running() == Some((call, at)) {
            std::hint::spin_loop();
        }
    }

    /// Sleeps until `due()`, until a wake-up, or until `descriptor` is readable.
    fn sleep(&self, descriptor: Option<BorrowedFd<'_>>, due: impl Fn() -> Time) -> WakeReasons {
        let until = due();
        self.sleeps_until.store(until.0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut reasons = WakeReasons::default();
        if due() >= until {
            let own = self.wake.as_fd();
            let mut fds = [own, descriptor.unwrap_or(own)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            poll_until(&mut fds, until).expect("the descriptors of a watchdog stay open");
            if fds[0].any() == Some(true) {
                let _ = self.wake.read();
                reasons.woken = true;
            }
            reasons.readable = descriptor.is_some() && fds[1].any() == Some(true);
        }
        self.sleeps_until.store(0, Ordering::Relaxed);
        reasons
    }
}

/// Guard of a paused deadline, made by [`WatchdogHandle::pause`]. The deadline resumes when it is dropped.
#[derive(Debug)]
pub struct DeadlinePause<'a> {
    watchdog: &'a WatchdogHandle,
    remaining: Duration,
}

impl DeadlinePause<'_> {
    /// Resumes the deadline with `remaining` time left, instead of what was left when it was paused.
    pub fn resume_with(mut self, remaining: Duration) {
        self.remaining = remaining;
    }
}

impl Drop for DeadlinePause<'_> {
    fn drop(&mut self) {
        let at = clock::now() + self.remaining;
        self.watchdog.deadline.set(at);
        self.watchdog.wake_by(at);
    }
}

/// Why a watchdog woke up, apart from what is due.
#[derive(Debug, Default)]
struct WakeReasons {
    woken: bool,
    readable: bool,
}

/// What a [`WatchdogHandler`] can do while it handles its descriptor.
#[derive(Debug)]
pub struct WatchdogContext<'a> {
    watchdog: &'a WatchdogHandle,
    engine: &'a Engine,
}

impl WatchdogContext<'_> {
    /// Returns the running call.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.watchdog.deadline.call()
    }

    /// Ends `call` as `cancelled`, as if its deadline were now. Does nothing if the call is over.
    pub fn cancel(&self, call: CallId) {
        self.watchdog.deadline.cancel(call);
        self.engine.increment_epoch();
    }
}

/// A call past its deadline, or one that was cancelled.
struct ExpiredCall {
    call: CallId,
    stuck_at: Time,
    /// Time of the next attempt to interrupt it.
    next_at: Time,
    /// Time from the next signal to the one after it.
    signal_interval: Duration,
}

impl ExpiredCall {
    /// Interrupts the call, or calls [`WatchdogHandler::on_stuck`] if that has no effect.
    fn interrupt(
        &mut self,
        (engine, interrupt): (&Engine, Interrupt),
        deadline: &Deadline,
        handler: &impl WatchdogHandler,
        now: Time,
    ) {
        // A host call that waits was woken and ends by itself.
        let is_lost = interrupt == Interrupt::Kill && !deadline.is_waiting();
        if (is_lost || self.stuck_at <= now) && deadline.abandon(self.call) {
            handler.on_stuck();
        }
        if self.next_at <= now {
            self.next_at = now + self.attempt(engine, interrupt, deadline);
        }
    }

    /// Makes one attempt to interrupt the call. Returns the time until the next one.
    fn attempt(&mut self, engine: &Engine, interrupt: Interrupt, deadline: &Deadline) -> Duration {
        match interrupt {
            Interrupt::Signal => {
                if let Some(thread) = deadline.thread() {
                    signal::send(thread);
                }
                let interval = self.signal_interval;
                self.signal_interval = (interval * 3 / 2).min(MAX_SIGNAL_INTERVAL);
                interval
            }
            Interrupt::Kill => {
                engine.increment_epoch();
                WAIT_INTERVAL
            }
            _ => {
                engine.increment_epoch();
                EPOCH_INTERVAL
            }
        }
    }
}

/// Runs the watchdog on the calling thread until the process ends. `interrupt` says how guest code was compiled. The thread
/// should have [`exact_timers`](mpwasm_system::process::exact_timers).
pub fn watch(
    engine: &Engine,
    interrupt: Interrupt,
    watchdog: &WatchdogHandle,
    handler: &mut impl WatchdogHandler,
) -> ! {
    let deadline = &watchdog.deadline;
    let mut expired: Option<ExpiredCall> = None;
    let mut recheck_at: Option<Time> = None;
    loop {
        let due = || {
            let timer = handler.timer_due().min(recheck_at.unwrap_or(Time::NEVER));
            match &expired {
                Some(expired) if deadline.call() == Some(expired.call) => timer.min(expired.next_at),
                _ => timer.min(watchdog.deadline_due()),
            }
        };
        let reasons = watchdog.sleep(handler.descriptor(), due);
        if reasons.readable {
            handler.on_readable(&WatchdogContext { watchdog, engine });
        }
        if expired.is_none() {
            watchdog.spin_until_deadline();
        }
        let now = clock::now();
        recheck_at = reasons.woken.then(|| now + RECHECK_INTERVAL);
        if handler.timer_due() <= now {
            handler.on_timer();
        }
        expired = match (expired, deadline.running()) {
            (Some(late), Some((call, _))) if late.call == call => Some(late),
            (_, Some((call, at))) if at <= now || deadline.interrupted().is_some() => {
                deadline.expire();
                Some(ExpiredCall {
                    call,
                    stuck_at: now + handler.grace(),
                    next_at: now,
                    signal_interval: FIRST_SIGNAL_INTERVAL,
                })
            }
            _ => None,
        };
        if let Some(late) = &mut expired {
            late.interrupt((engine, interrupt), deadline, handler, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_watchdog_is_woken_once_and_only_for_what_is_due_before_the_end_of_its_sleep() {
        let watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        watchdog.wake_by(Time(1));
        assert!(watchdog.wake.read().is_err(), "the watchdog is awake");
        for _ in 0..2 {
            watchdog.sleeps_until.store(1000, Ordering::Relaxed);
            watchdog.wake_by(Time(1000));
            assert!(
                watchdog.wake.read().is_err(),
                "the watchdog wakes up in time by itself"
            );
            watchdog.wake_by(Time(999));
            watchdog.wake_by(Time(5));
            assert_eq!(watchdog.wake.read(), Ok(1));
        }
    }

    #[test]
    fn a_wake_up_is_never_lost() {
        const ROUNDS: u64 = 20_000;
        let watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        let (wanted, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        // Something is due at once until it was seen.
        let due = || match wanted.load(Ordering::Relaxed) == seen.load(Ordering::Relaxed) {
            true => Time::NEVER,
            false => Time(0),
        };
        let patience = clock::now() + Duration::from_secs(60);
        let lost = std::thread::scope(|scope| {
            scope.spawn(|| {
                while seen.load(Ordering::Relaxed) < 2 * ROUNDS {
                    watchdog.sleep(None, due);
                    seen.store(wanted.load(Ordering::Relaxed), Ordering::Release);
                }
            });
            (1..=ROUNDS).find(|&round| {
                // The second wake-up comes while the first may not have had an effect yet.
                let round = 2 * round;
                for step in [round - 1, round] {
                    wanted.store(step, Ordering::Relaxed);
                    watchdog.wake_by(Time(0));
                }
                while seen.load(Ordering::Acquire) < round && clock::now() < patience {
                    std::thread::yield_now();
                }
                let is_lost = seen.load(Ordering::Acquire) < round;
                if is_lost {
                    // The other thread would sleep forever: end it.
                    wanted.store(2 * ROUNDS, Ordering::Relaxed);
                    let _ = watchdog.wake.write(1);
                }
                is_lost
            })
        });
        assert_eq!(lost, None);
    }

    #[test]
    fn the_watchdog_is_awake_shortly_before_a_deadline_and_spins_until_then() {
        let mut watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        watchdog.spin = Duration::from_millis(50);
        assert_eq!(watchdog.deadline_due(), Time::NEVER);
        let at = clock::now() + Duration::from_millis(20);
        watchdog.deadline().arm(at);
        assert_eq!(watchdog.deadline_due(), Time(at.0 - 50_000_000));
        watchdog.spin_until_deadline();
        assert!(clock::now() >= at);
        // It is not near, or there is none.
        watchdog.deadline().set(clock::now() + Duration::from_secs(600));
        watchdog.spin_until_deadline();
        assert!(watchdog.deadline().disarm());
        watchdog.spin_until_deadline();
    }

    #[test]
    fn a_watchdog_stops_spinning_when_the_call_ends_or_its_deadline_is_moved() {
        let mut watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        watchdog.spin = Duration::from_secs(3600);
        let end: [fn(&Deadline); 2] = [
            |deadline| assert!(deadline.disarm()),
            |deadline| deadline.set(Time::NEVER),
        ];
        for end in end {
            watchdog.deadline().arm(clock::now() + Duration::from_secs(1800));
            std::thread::scope(|scope| {
                let spinning = scope.spawn(|| watchdog.spin_until_deadline());
                end(watchdog.deadline());
                spinning.join().unwrap();
            });
            let _ = watchdog.deadline().disarm();
        }
    }

    #[test]
    fn a_paused_deadline_resumes_with_what_was_left_or_with_what_it_is_given() {
        let watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        let deadline = watchdog.deadline();
        deadline.arm(clock::now() + Duration::from_secs(60));
        {
            let _pause = watchdog.pause();
            assert_eq!(deadline.at(), Time::NEVER);
            watchdog.sleeps_until.store(u64::MAX, Ordering::Relaxed);
        }
        assert!(deadline.remaining() <= Duration::from_secs(60));
        assert!(deadline.remaining() > Duration::from_secs(30));
        assert_eq!(watchdog.wake.read(), Ok(1), "the watchdog learns of the deadline");
        watchdog.pause().resume_with(Duration::from_secs(600));
        assert!(deadline.remaining() > Duration::from_secs(500));
    }
}
