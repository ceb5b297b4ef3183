//! The clock of a pool's processes, and their CPU time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpwasm_types::time::Time;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds that the clock of this process leaves out, unless [`FOLLOWED`] is set.
static SKIPPED: AtomicU64 = AtomicU64::new(0);

/// In a worker: the same number in the page that it shares with the dispatcher.
static FOLLOWED: OnceLock<&'static AtomicU64> = OnceLock::new();

/// Returns the nanoseconds that the clock of this process leaves out: the time for which the pool was paused.
#[must_use]
pub fn skipped() -> u64 {
    FOLLOWED.get().unwrap_or(&&SKIPPED).load(Ordering::Relaxed)
}

/// Leaves `time` out of the clock of this process. For the dispatcher.
pub fn skip(time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    SKIPPED.fetch_add(nanos, Ordering::Relaxed);
}

/// Makes the clock of this process leave out the nanoseconds in `skipped`. For a worker, which calls it once, before it has threads.
pub fn follow(skipped: &'static AtomicU64) {
    let _ = FOLLOWED.set(skipped); // set only once, since there is one page
}

/// Returns the current time.
#[must_use]
pub fn now() -> Time {
    Time(read(ClockId::CLOCK_MONOTONIC).saturating_sub(skipped()))
}

/// Wall-clock time of the zero of this process's clock: nanoseconds since the Unix epoch. 0 before the first use.
static EPOCH_OFFSET: AtomicU64 = AtomicU64::new(0);

/// Change of the offset between the two clocks above which the new offset is used: 1 s. A smaller change comes from the time between
/// the two readings, or from corrections of the wall clock.
const OFFSET_CHANGE: Duration = Duration::from_secs(1);

/// Returns the wall-clock time of a time on the clock of this process: microseconds since the Unix epoch.
///
/// Two such times differ as much as the times on the clock do, until the wall clock is set or the machine is suspended.
#[must_use]
pub fn unix_micros(time: Time) -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_epoch = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
    let current = since_epoch.saturating_sub(now().0);
    let mut offset = EPOCH_OFFSET.load(Ordering::Relaxed);
    if Duration::from_nanos(current.abs_diff(offset)) > OFFSET_CHANGE {
        EPOCH_OFFSET.store(current, Ordering::Relaxed);
        offset = current;
    }
    time.0.saturating_add(offset) / 1000
}

/// Returns the CPU time that the calling thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

/// Returns the CPU time that this process has used.
#[must_use]
pub fn process_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_PROCESS_CPUTIME_ID))
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("Linux has this clock, and the kernel can write to our stack");
    now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
}
