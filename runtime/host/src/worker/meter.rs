//! The processor time of tasks, without a system call for each.
//!
//! To read a thread's processor time costs a system call; two of them cost a short task as much as a fifth of all else.
//! But a thread that runs uses as much processor time as passes on the clock, and no more. So the kernel is only asked
//! where time may have passed in which the thread did not run: around a task that took long, and after a wait. What is
//! made of the rest errs by less than [`SHORT`] at a time.

use std::time::Duration;

use mpwasm_types::time::Time;

/// What a task takes on the clock, if it is no longer, counts as processor time. It is shorter than any slice for which
/// the kernel would let another thread run.
const SHORT: Duration = Duration::from_micros(20);
/// What the kernel said is used for so long.
const FRESH: Duration = Duration::from_millis(1);

/// Measures the thread that uses it.
#[derive(Debug)]
pub struct Meter {
    /// The thread's processor time, as the kernel knows it.
    clock: fn() -> Duration,
    /// What the kernel said, and when; `None` when it has to be asked anew.
    reading: Option<(Duration, Time)>,
    /// The last moment at which the thread was seen to run.
    seen: Time,
}

impl Meter {
    /// A meter that asks `clock`.
    pub fn new(clock: fn() -> Duration) -> Self {
        Self {
            clock,
            reading: None,
            seen: Time(0),
        }
    }

    /// The thread has waited for something.
    pub fn waited(&mut self) {
        self.reading = None;
    }

    /// A task starts now. Returns the processor time that the thread has used up to here.
    pub fn start(&mut self, now: Time) -> Duration {
        let has_run = now.since(self.seen) <= SHORT;
        self.seen = now;
        match self.reading {
            Some((used, at)) if has_run && now.since(at) <= FRESH => used + now.since(at),
            _ => self.read(now),
        }
    }

    /// The task that started when the thread had used `before` ends now. Returns its processor time.
    pub fn end(&mut self, before: Duration, now: Time) -> Duration {
        let wall = now.since(self.seen);
        self.seen = now;
        if wall <= SHORT {
            return wall;
        }
        self.read(now).saturating_sub(before).min(wall)
    }

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

    /// A thread: what it does takes time on the clock, and processor time or none.
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
        // Another thread ran in front of the task, or this one waited for it.
        for waited in [false, true] {
            thread.now += 900;
            if waited {
                thread.meter.waited();
            }
            assert_eq!(thread.task(|thread| thread.compute(400)), 400);
        }
    }
}
