//! The watchdog: the thread beside a guest that keeps its deadline (rungs 1 and 3 of the timeout ladder).
//!
//! The deadline stands in an atomic. The watchdog sleeps exactly to the one that it last saw and then looks again,
//! so that a task costs no system call: the guest's thread only wakes it ([`WatchdogHandle::nudge`]) when something is due
//! earlier than it means to sleep. At the deadline it bumps the engine's epoch and wakes host calls that sleep; a
//! call that has not ended a grace later is condemned, and what that means is for its [`WatchdogHandler`] to say.
//!
//! Used in each process that runs guests: a worker, the dispatcher (for callbacks), and the `tasks` process.

use mpwasm_system::clock;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use wasmtime::Engine;

use crate::{CallId, Deadline};
use mpwasm_system::poll::poll_until;
use mpwasm_types::time::Time;

/// A bump of the epoch that falls between the arming of a deadline and the entry into the guest is lost, so it is
/// repeated so often until the call has ended.
const BUMP_AGAIN: Duration = Duration::from_millis(5);

/// After a nudge the next one is likely to come soon: the watchdog sleeps no longer than this, so that a thread which
/// ends many short tasks need not wake it for each batch of them.
/// Errands fall due no earlier after a thread gave them, or it would have to.
pub const RECHECK_INTERVAL: Duration = Duration::from_millis(5);

/// What a watchdog guards besides the deadline.
pub trait WatchdogHandler {
    /// A descriptor to watch: the life of this process, and orders.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The descriptor is readable. Does not return when this process's life has ended.
    fn on_readable(&mut self, _orders: &WatchdogContext<'_>) {}

    /// When [`WatchdogHandler::on_timer`] is due.
    fn timer_due(&self) -> Time {
        Time::NEVER
    }

    /// Does what is due. Must not wait for anything.
    fn on_timer(&mut self) {}

    /// From a deadline until its call is condemned.
    fn grace(&self) -> Duration;

    /// A call did not end in time, and can't any more: ends this process.
    fn on_stuck(&self) -> !;
}

/// How the guest's thread reaches its watchdog.
#[derive(Debug)]
pub struct WatchdogHandle {
    deadline: Arc<Deadline>,
    wake: EventFd,
    /// Until when the watchdog sleeps; zero while it is awake or was nudged, and looks for itself before it sleeps
    /// again.
    sleeps_until: AtomicU64,
}

impl WatchdogHandle {
    /// A handle for the calls whose deadline stands in `deadline`.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new(deadline: Arc<Deadline>) -> std::io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            deadline,
            wake,
            sleeps_until: AtomicU64::new(0),
        })
    }

    /// The deadline that it keeps.
    #[must_use]
    pub fn deadline(&self) -> &Arc<Deadline> {
        &self.deadline
    }

    /// Something became due at `at`. Call it after that was stored where the watchdog looks.
    pub fn wake_by(&self, at: Time) {
        // With the fence in `sleep`: either we see until when the watchdog sleeps, or it sees what we stored.
        fence(Ordering::SeqCst);
        let until = self.sleeps_until.load(Ordering::Relaxed);
        // One nudge is enough: until it has woken up, which can take a while, it counts as awake. Should somebody else have
        // moved the time meanwhile, then it was nudged, or it has woken up and looks after the fence above.
        if at.0 < until
            && self
                .sleeps_until
                .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            // It can only fail when the counter is full of nudges that nobody has read: it is awake then.
            let _ = self.wake.write(1);
        }
    }

    /// Sleeps until `due()`, a nudge, or something to read from `descriptor`.
    fn sleep(&self, descriptor: Option<BorrowedFd<'_>>, due: impl Fn() -> Time) -> Woken {
        let until = due();
        self.sleeps_until.store(until.0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut woken = Woken::default();
        if due() >= until {
            let own = self.wake.as_fd();
            let mut fds = [own, descriptor.unwrap_or(own)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            poll_until(&mut fds, until).expect("the descriptors of a watchdog stay open");
            if fds[0].any() == Some(true) {
                let _ = self.wake.read();
                woken.nudged = true;
            }
            woken.readable = descriptor.is_some() && fds[1].any() == Some(true);
        }
        self.sleeps_until.store(0, Ordering::Relaxed);
        woken
    }
}

/// Why a watchdog woke up, when it was not for what is due.
#[derive(Debug, Default)]
struct Woken {
    nudged: bool,
    readable: bool,
}

/// What a ward may order while it handles its descriptor.
#[derive(Debug)]
pub struct WatchdogContext<'a> {
    watchdog: &'a WatchdogHandle,
    engine: &'a Engine,
}

impl WatchdogContext<'_> {
    /// The call that is running.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.watchdog.deadline.call()
    }

    /// `call` shall end as `cancelled`, as if its deadline were now. Does nothing when it is over.
    pub fn cancel(&self, call: CallId) {
        self.watchdog.deadline.cancel(call);
        self.engine.increment_epoch();
    }
}

/// A call past its deadline.
struct Expired {
    call: CallId,
    condemned_at: Time,
    bump_at: Time,
}

/// Watches over the calls of this process, for ever. The calling thread should have
/// [`exact_timers`](mpwasm_system::process::exact_timers).
pub fn watch(engine: &Engine, watchdog: &WatchdogHandle, ward: &mut impl WatchdogHandler) -> ! {
    let deadline = &watchdog.deadline;
    let mut expired: Option<Expired> = None;
    let mut attentive: Option<Time> = None;
    loop {
        let due = || {
            let errand = ward.timer_due().min(attentive.unwrap_or(Time::NEVER));
            match &expired {
                Some(expired) if deadline.call() == Some(expired.call) => errand.min(expired.bump_at),
                _ => errand.min(deadline.at()),
            }
        };
        let woken = watchdog.sleep(ward.descriptor(), due);
        if woken.readable {
            ward.on_readable(&WatchdogContext { watchdog, engine });
        }
        let now = clock::now();
        attentive = woken.nudged.then(|| now + RECHECK_INTERVAL);
        if ward.timer_due() <= now {
            ward.on_timer();
        }
        expired = match (expired, deadline.running()) {
            (_, None) => None,
            (Some(mut late), Some((call, _))) if late.call == call => {
                if late.condemned_at <= now && deadline.abandon(call) {
                    ward.on_stuck();
                }
                if late.bump_at <= now {
                    engine.increment_epoch();
                    late.bump_at = now + BUMP_AGAIN;
                }
                Some(late)
            }
            (_, Some((call, at))) if at <= now || deadline.interrupted().is_some() => {
                deadline.expire();
                engine.increment_epoch();
                Some(Expired {
                    call,
                    condemned_at: now + ward.grace(),
                    bump_at: now + BUMP_AGAIN,
                })
            }
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_nudged_once_and_only_for_what_comes_before_it_wakes_up() {
        let watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        watchdog.wake_by(Time(1));
        assert!(watchdog.wake.read().is_err(), "it is awake");
        for _ in 0..2 {
            watchdog.sleeps_until.store(1000, Ordering::Relaxed);
            watchdog.wake_by(Time(1000));
            assert!(watchdog.wake.read().is_err(), "it wakes up in time");
            watchdog.wake_by(Time(999));
            watchdog.wake_by(Time(5));
            assert_eq!(watchdog.wake.read(), Ok(1));
        }
    }

    #[test]
    fn a_nudge_is_never_lost() {
        const ROUNDS: u64 = 20_000;
        let watchdog = WatchdogHandle::new(Arc::default()).unwrap();
        let (wanted, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        // Something is due at once as long as it was not seen.
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
                // The second comes while the first may not have woken anybody yet.
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
                    // The other thread sleeps for ever: it is let go.
                    wanted.store(2 * ROUNDS, Ordering::Relaxed);
                    let _ = watchdog.wake.write(1);
                }
                is_lost
            })
        });
        assert_eq!(lost, None);
    }
}
