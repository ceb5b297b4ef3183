//! The clock of all processes of a pool, and the processor time that they use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mpwasm_types::time::Time;
use nix::time::{ClockId, clock_gettime};

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

/// Returns the current time.
#[must_use]
pub fn now() -> Time {
    Time(read(ClockId::CLOCK_MONOTONIC).saturating_sub(skipped()))
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
