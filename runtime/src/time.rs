//! One clock for all processes of the pool.
//!
//! `CLOCK_MONOTONIC` counts alike in every process of a machine, so a [`Time`] may travel in a message or stand
//! in the shared page. `std::time::Instant` can do neither.

use std::ops::Add;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds that the clock of this process has not counted, where it is not told elsewhere.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

/// Where they stand in a worker: in the page that it shares with the dispatcher.
static ELSEWHERE: OnceLock<&'static AtomicU64> = OnceLock::new();

/// Nanoseconds that the clock of this process has not counted so far, because the pool was paused.
pub fn skipped() -> u64 {
    ELSEWHERE.get().unwrap_or(&&SKIPPED).load(Ordering::Relaxed)
}

/// The clock of this process does not count so much of what has passed. For the dispatcher.
pub fn skip(time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    SKIPPED.fetch_add(nanos, Ordering::Relaxed);
}

/// From now on the clock of this process does not count what `skipped` says. For a worker: once, before it has threads.
pub fn follow(skipped: &'static AtomicU64) {
    let _ = ELSEWHERE.set(skipped); // there is one page
}

/// Nanoseconds on `CLOCK_MONOTONIC`, without those during which the pool was paused: in the dispatcher and its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// Later than every moment that will come: a deadline that does not exist.
    pub const NEVER: Self = Self(u64::MAX);

    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(read(ClockId::CLOCK_MONOTONIC).saturating_sub(skipped()))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::NEVER`].
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Processor time that the calling thread has used so far.
#[must_use]
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

/// Processor time that this process has used so far.
#[must_use]
pub fn process_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_PROCESS_CPUTIME_ID))
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("Linux has this clock, and the kernel can write to our stack");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}
