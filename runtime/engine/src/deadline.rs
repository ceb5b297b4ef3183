//! The deadline of the running call, shared by the thread that runs it and the watchdog.
//!
//! The task's thread [arms](Deadline::arm) the deadline, runs the guest and [disarms](Deadline::disarm) it. The watchdog reads
//! it, wakes sleeping host calls, and may [abandon](Deadline::abandon) the call, after which the process is about to end. No
//! system call is made unless a host call sleeps. Incrementing the engine's epoch and ending the process is the watchdog's
//! part.
//!
//! # Memory orderings
//!
//! `word` is the only point of synchronisation. It holds `call number << 2 | state` and is written
//! - by [`arm`](Deadline::arm) with `Release`, after `at` (which is stored with `Release` too): a reader of the
//!   word with `Acquire` that finds call N sees the deadline of call N or a later one, never an earlier one;
//! - by [`disarm`](Deadline::disarm) and [`abandon`](Deadline::abandon) by compare-and-swap with `AcqRel`: of
//!   two that want to move the same value, one wins. A `disarm` that loses sees what the watchdog did before.
//!
//! `at` alone may be changed during a call ([`set`](Deadline::set)). A reader then sees the old or the new value, and both
//! were right at some moment. `cancelled` is written with `Release` and read with `Acquire`. It holds
//! the number of a call, so that a late request never hits the next call. The epoch counter inside the engine
//! is accessed `Relaxed`, so [`cancel`](Deadline::cancel) and [`expire`](Deadline::expire) end with a fence
//! that orders them before the caller's increment, and the executor has the fence that pairs with it
//! ([`interrupted_before_start`](Deadline::interrupted_before_start)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use mpwasm_system::clock;
use mpwasm_types::time::Time;

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const ABANDONED: u64 = 2;
const STATE: u64 = 3;

/// Number of a call into a guest, counted from 1 by the [`Deadline`] of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// Why a call has to end before it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptCause {
    /// Its deadline has passed.
    Timeout,
    /// It was cancelled.
    Cancelled,
}

/// The deadline of the running call, shared by the thread that runs it and the watchdog. The [module](self) describes the
/// memory orderings.
#[derive(Debug)]
pub struct Deadline {
    /// `call number << 2 | state`
    word: AtomicU64,
    /// The deadline of the call in `word`, as [`Time`]. Meaningless while the state is idle.
    at: AtomicU64,
    /// Number of the call that has to end as cancelled, or 0.
    cancelled: AtomicU64,
    /// Number of the call whose deadline has passed or that was cancelled, as the watchdog knows it. A hint: it saves calls into
    /// the host from reading the clock.
    expired: AtomicU64,
    /// The thread that runs the calls, if it accepts signals, or 0.
    thread: AtomicI32,
    /// Whether a host call waits or has been interrupted while it did. Such a call ends by itself.
    is_waiting: AtomicBool,
    /// Makes a sleeper's last check and its sleep one step for the threads that wake it. Guards no data.
    gate: Mutex<()>,
    wake: Condvar,
    /// Wakes a wait for a file descriptor. Set only in processes with such waits.
    waker: OnceLock<EventFd>,
}

impl Default for Deadline {
    fn default() -> Self {
        Self::new()
    }
}

impl Deadline {
    /// Creates a deadline that is not armed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            word: AtomicU64::new(IDLE),
            at: AtomicU64::new(u64::MAX),
            cancelled: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            thread: AtomicI32::new(0),
            is_waiting: AtomicBool::new(false),
            gate: Mutex::new(()),
            wake: Condvar::new(),
            waker: OnceLock::new(),
        }
    }

    /// Starts a new call, which has to end by `at`. A request to cancel the previous call has no effect on it.
    ///
    /// After a successful [`abandon`](Self::abandon) this does nothing, since the process is about to end.
    pub fn arm(&self, at: Time) {
        // Only this thread moves the word out of idle, so a plain load sees the latest number.
        let word = self.word.load(Ordering::Relaxed);
        if word & STATE == ABANDONED {
            return;
        }
        debug_assert_eq!(word & STATE, IDLE, "one call at a time");
        self.is_waiting.store(false, Ordering::Relaxed);
        // `Release`, for `running()`: a thread that sees this deadline also sees that the previous call has ended.
        self.at.store(at.0, Ordering::Release);
        self.word
            .store(((word >> 2) + 1) << 2 | RUNNING, Ordering::Release);
    }

    /// Ends the call. Returns `false` if it was abandoned before. The process is then about to end, and the caller must not send
    /// an outcome but park forever.
    #[must_use = "after `false` nothing may be sent any more"]
    pub fn disarm(&self) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        match word & STATE {
            IDLE => true,
            RUNNING => self
                .word
                .compare_exchange(word, word & !STATE | IDLE, Ordering::AcqRel, Ordering::Acquire)
                .is_ok(),
            _ => false,
        }
    }

    /// Returns the deadline of the running call, or [`Time::NEVER`] if none is running.
    #[must_use]
    pub fn at(&self) -> Time {
        match self.word.load(Ordering::Acquire) & STATE {
            IDLE => Time::NEVER,
            _ => Time(self.at.load(Ordering::Relaxed)),
        }
    }

    /// Returns the running call and its deadline. [`call`](Self::call) and [`at`](Self::at) in a row might be about two
    /// different calls.
    #[must_use]
    pub fn running(&self) -> Option<(CallId, Time)> {
        loop {
            let call = self.call()?;
            // `Acquire` keeps the second load of the word after this one.
            let at = Time(self.at.load(Ordering::Acquire));
            if self.call() == Some(call) {
                return Some((call, at));
            }
        }
    }

    /// Returns the time until the deadline of the running call, or zero if it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at().since(clock::now())
    }

    /// Changes the deadline of the running call.
    pub fn set(&self, at: Time) {
        self.at.store(at.0, Ordering::Release);
        self.wake_sleepers();
    }

    /// Cancels `call` if it is still running. A host call that sleeps wakes at once. To interrupt guest code, the caller has to
    /// increment the epoch afterwards.
    pub fn cancel(&self, call: CallId) {
        self.cancelled.store(call.0, Ordering::Release);
        self.expired.store(call.0, Ordering::Release);
        self.wake_sleepers();
        fence(Ordering::SeqCst);
    }

    /// Cancels the running call.
    #[cfg(test)]
    pub fn cancel_running(&self) {
        if let Some(call) = self.call() {
            self.cancel(call);
        }
    }

    /// Returns why the running call has to end now, or `None` if it may go on. A call that was cancelled counts as cancelled even
    /// past its deadline.
    #[must_use]
    pub fn interrupted(&self) -> Option<InterruptCause> {
        let word = self.word.load(Ordering::Acquire);
        if word & STATE == IDLE {
            None
        } else if self.cancelled.load(Ordering::Acquire) == word >> 2 {
            Some(InterruptCause::Cancelled)
        } else if clock::now().0 >= self.at.load(Ordering::Acquire) {
            Some(InterruptCause::Timeout)
        } else {
            None
        }
    }

    /// Returns the same as [`interrupted`](Self::interrupted) once the watchdog knows it, and `None` until then. It reads no clock.
    pub(crate) fn expired(&self) -> Option<InterruptCause> {
        match self.expired.load(Ordering::Acquire) == self.word.load(Ordering::Relaxed) >> 2 {
            true => self.interrupted(),
            false => None,
        }
    }

    /// Returns the same as [`interrupted`](Self::interrupted), for the moment between reading the engine's epoch and entering the
    /// guest. An increment before that read does not interrupt the guest, so its cause must be visible here.
    pub(crate) fn interrupted_before_start(&self) -> Option<InterruptCause> {
        fence(Ordering::SeqCst);
        self.interrupted()
    }

    /// Returns whether the running call waits in [`sleep_until`](Self::sleep_until) or another wait of a host call, or was
    /// interrupted there. It then ends by itself at its deadline or after a cancel, unless the wait has just ended.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// Calls `wait`, and sets [`is_waiting`](Self::is_waiting) meanwhile. [`is_waiting`](Self::is_waiting) stays true after
    /// an interrupted one, as that ends the call.
    fn wait<T>(&self, wait: impl FnOnce() -> Result<T, InterruptCause>) -> Result<T, InterruptCause> {
        self.is_waiting.store(true, Ordering::Relaxed);
        let done = wait()?;
        self.is_waiting.store(false, Ordering::Relaxed);
        Ok(done)
    }

    /// Sleeps until `t`, for host calls.
    ///
    /// # Errors
    /// Returns an error if the call's deadline passes or the call is cancelled before `t`, or by the time `t` is reached.
    pub fn sleep_until(&self, t: Time) -> Result<(), InterruptCause> {
        self.wait(|| self.sleep_in_steps(t))
    }

    fn sleep_in_steps(&self, t: Time) -> Result<(), InterruptCause> {
        // The gate guards no data, so a poisoned one is as good.
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(interrupt) = self.interrupted() {
                return Err(interrupt);
            }
            let now = clock::now();
            if now >= t {
                return Ok(());
            }
            let until = t.min(self.at());
            (gate, _) = self
                .wake
                .wait_timeout(gate, until.since(now))
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Prepares for [`wait_readable`](Self::wait_readable). Called before the sandbox is entered, which forbids it.
    ///
    /// # Errors
    /// Returns an error if the process has no file descriptor left.
    pub fn allow_waits(&self) -> io::Result<()> {
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let _ = self.waker.set(waker); // one is enough
        Ok(())
    }

    /// Waits until `descriptor` is readable or at its end, but not past `t`. Returns which of these is the case. For host calls,
    /// after [`allow_waits`](Self::allow_waits).
    ///
    /// # Errors
    ///
    /// Returns an error if the call's deadline passes or the call is cancelled before.
    pub fn wait_readable(&self, descriptor: BorrowedFd<'_>, t: Time) -> Result<PollFlags, InterruptCause> {
        self.wait(|| self.poll_in_steps(descriptor, PollFlags::POLLIN, t))
    }

    /// Waits as [`wait_readable`](Self::wait_readable) does, until `descriptor` is readable, writable or at its end.
    ///
    /// # Errors
    ///
    /// Returns an error if the call's deadline passes or the call is cancelled before.
    pub fn wait_writable(&self, descriptor: BorrowedFd<'_>) -> Result<PollFlags, InterruptCause> {
        let events = PollFlags::POLLIN | PollFlags::POLLOUT;
        self.wait(|| self.poll_in_steps(descriptor, events, Time::NEVER))
    }

    fn poll_in_steps(
        &self,
        descriptor: BorrowedFd<'_>,
        events: PollFlags,
        t: Time,
    ) -> Result<PollFlags, InterruptCause> {
        let waker = self.waker.get().expect("`allow_waits` comes before a wait");
        loop {
            if let Some(interrupt) = self.interrupted() {
                return Err(interrupt);
            }
            let until = t.min(self.at());
            let timeout = (until != Time::NEVER).then(|| TimeSpec::from(until.since(clock::now())));
            let mut fds = [
                PollFd::new(descriptor, events),
                PollFd::new(waker.as_fd(), PollFlags::POLLIN),
            ];
            match ppoll(&mut fds, timeout, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => panic!("the descriptors of a worker stay open: {errno}"),
            }
            if fds[1].any() == Some(true) {
                let _ = waker.read(); // it was for this call or for an earlier one: the next check tells
            }
            let found = fds[0].revents().unwrap_or(PollFlags::empty());
            if !found.is_empty() || clock::now() >= t {
                return Ok(found);
            }
        }
    }

    /// Returns the running call.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        let word = self.word.load(Ordering::Acquire);
        (word & STATE != IDLE).then_some(CallId(word >> 2))
    }

    /// Wakes host calls that sleep, which then check the deadline themselves. For the watchdog, at a deadline. The caller
    /// increments the epoch afterwards.
    pub fn expire(&self) {
        // If the call has ended meanwhile, the next one reads the clock until it ends.
        self.expired
            .store(self.word.load(Ordering::Relaxed) >> 2, Ordering::Release);
        self.wake_sleepers();
        fence(Ordering::SeqCst);
    }

    /// Sets the thread that runs the calls. It has to have a handler for the signal of [`signal`](crate::signal).
    pub(crate) fn set_thread(&self, thread: i32) {
        self.thread.store(thread, Ordering::Release);
    }

    /// Returns the thread that runs the calls and accepts signals, if there is one.
    pub(crate) fn thread(&self) -> Option<i32> {
        let thread = self.thread.load(Ordering::Acquire);
        (thread != 0).then_some(thread)
    }

    /// Abandons `call`. Returns whether it was still running. If so, [`disarm`](Self::disarm) returns `false` from then on, and
    /// the caller has to end the process.
    pub fn abandon(&self, call: CallId) -> bool {
        let running = call.0 << 2 | RUNNING;
        self.word
            .compare_exchange(
                running,
                call.0 << 2 | ABANDONED,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    fn wake_sleepers(&self) {
        // Holding the gate once makes sure that a sleeper has either seen what was written before, or already sleeps and
        // gets the notification.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
        if let Some(waker) = self.waker.get() {
            let _ = waker.write(1); // fails only if wake-ups are pending already
        }
    }
}

#[cfg(test)]
mod tests;
