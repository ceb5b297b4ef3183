//! Measures the CPU time of tasks without a system call per task.
//!
//! Reading a thread's CPU time takes a system call. Two of them add about a fifth to the cost of a short task. A thread that
//! is not descheduled uses as much CPU time as passes on the monotonic clock. The meter therefore reads the CPU clock only
//! where the thread may have been descheduled: around a long task and after a wait. Elsewhere it takes the elapsed time, with
//! an error below [`SHORT`] per interval.

use std::time::Duration;

use mpwasm_types::time::Time;

/// Longest elapsed time that counts as CPU time without a reading: 20 µs, which is shorter than any time slice that the
/// kernel gives another thread.
const SHORT: Duration = Duration::from_micros(20);
/// Longest time for which a reading of the CPU clock is extrapolated: 1 ms, which bounds the accumulated error.
const FRESH: Duration = Duration::from_millis(1);

/// Measures the CPU time of the tasks that the calling thread runs.
#[derive(Debug)]
pub struct Meter {
    /// Reads the thread's CPU time from the kernel.
    clock: fn() -> Duration,
    /// The last reading and its time. `None` when a new reading is needed.
    reading: Option<(Duration, Time)>,
    /// Last time at which the thread is known to have run.
    seen: Time,
}

impl Meter {
    /// Creates a meter that reads CPU time with `clock`.
    pub fn new(clock: fn() -> Duration) -> Self {
        Self {
            clock,
            reading: None,
            seen: Time(0),
        }
    }

    /// Discards the last reading, after the thread has waited.
    pub fn waited(&mut self) {
        self.reading = None;
    }

    /// Starts the measurement of a task. Returns the CPU time that the thread has used so far.
    pub fn start(&mut self, now: Time) -> Duration {
        let has_run = now.since(self.seen) <= SHORT;
        self.seen = now;
        match self.reading {
            Some((used, at)) if has_run && now.since(at) <= FRESH => used + now.since(at),
            _ => self.read(now),
        }
    }

    /// Ends the measurement that [`start`](Self::start) began when it returned `before`. Returns the task's CPU time.
    pub fn end(&mut self, before: Duration, now: Time) -> Duration {
        let wall = now.since(self.seen);
        self.seen = now;
        if wall <= SHORT {
            return wall;
        }
        self.read(now).saturating_sub(before).min(wall)
    }

    /// Reads the CPU clock.
    fn read(&mut self, now: Time) -> Duration {
        let used = (self.clock)();
        self.reading = Some((used, now));
        used
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static USED: Cell<u64> = const { Cell::new(0) };
        static READINGS: Cell<u32> = const { Cell::new(0) };
    }

    fn clock() -> Duration {
        READINGS.set(READINGS.get() + 1);
        Duration::from_micros(USED.get())
    }

    /// A simulated thread, whose steps take elapsed time, and CPU time or none.
    struct Thread {
        meter: Meter,
        now: u64,
    }

    impl Thread {
        fn new() -> Self {
            USED.set(7_000);
            READINGS.set(0);
            Self {
                meter: Meter::new(clock),
                now: 5_000_000,
            }
        }

        fn compute(&mut self, micros: u64) {
            self.now += micros;
            USED.set(USED.get() + micros);
        }

        fn task(&mut self, run: impl FnOnce(&mut Self)) -> u64 {
            let before = self.meter.start(self.time());
            run(self);
            let used = self.meter.end(before, self.time());
            u64::try_from(used.as_micros()).unwrap()
        }

        fn time(&self) -> Time {
            Time(self.now * 1000)
        }
    }

    #[test]
    fn short_tasks_in_a_row_cost_next_to_no_reading() {
        let mut thread = Thread::new();
        for _ in 0..1000 {
            assert_eq!(thread.task(|thread| thread.compute(6)), 6);
            thread.compute(2);
        }
        assert!(READINGS.get() <= 9, "{}", READINGS.get());
    }

    #[test]
    fn a_long_task_is_told_from_the_short_ones_before_it() {
        let mut thread = Thread::new();
        for _ in 0..100 {
            assert_eq!(thread.task(|thread| thread.compute(6)), 6);
        }
        assert_eq!(thread.task(|thread| thread.compute(5_000)), 5_000);
        assert_eq!(thread.task(|thread| thread.compute(3)), 3);
    }

    #[test]
    fn time_in_which_the_thread_does_not_run_is_not_counted() {
        let mut thread = Thread::new();
        let sleeps = |thread: &mut Thread| {
            thread.compute(10);
            thread.now += 50_000;
            thread.compute(10);
        };
        assert_eq!(thread.task(sleeps), 20);
        // Before the task, the thread was descheduled or waited.
        for waited in [false, true] {
            thread.now += 900;
            if waited {
                thread.meter.waited();
            }
            assert_eq!(thread.task(|thread| thread.compute(400)), 400);
        }
    }
}
