//! Limits the tasks in flight per worker: enough that it never idles, few enough that none waits long, and no more than a worker
//! process may run.

use std::time::Duration;

/// Run time that a worker should have in flight: several times a turn of the event loop.
const AHEAD: Duration = Duration::from_millis(4);
/// Largest number of tasks in flight per worker, however short they are.
pub(super) const MAX_WINDOW: usize = 512;
/// Largest number of offers of one worker in flight, including revoked ones: the entries of its shared page.
pub const MAX_UNREAD: usize = 2 * MAX_WINDOW;
/// Initial window, before any task has ended.
const FIRST_WINDOW: usize = 2;
/// A run counts with one part in `WEIGHT` towards the average.
const WEIGHT: u64 = 8;
/// Longest run time that is counted. One such run raises the average to twice [`AHEAD`], which closes the window to 1. The cap
/// lets the average recover quickly.
const LONG: Duration = AHEAD.saturating_mul(2 * WEIGHT as u32);

/// A run shorter than this counts with its CPU time. The rest is mostly time in which it waited for a CPU, which would close the
/// window on a busy machine.
const NO_WAIT: Duration = Duration::from_millis(1);

/// Returns the run time that counts for a task with this wall time and, as its worker reports, CPU time.
#[must_use]
pub fn counted_length(run: Duration, cpu: Duration) -> Duration {
    if run < NO_WAIT { cpu.min(run) } else { run }
}

/// Computes the window from a moving average of run times in the whole pool.
#[derive(Debug)]
pub(super) struct Window {
    /// Nanoseconds.
    average: Option<u64>,
    /// Upper bound of the window.
    widest: usize,
}

impl Window {
    pub fn new(tasks_per_process: Option<u32>) -> Self {
        Self {
            average: None,
            widest: tasks_per_process.map_or(MAX_WINDOW, |most| MAX_WINDOW.min(most as usize)),
        }
    }

    /// Takes the [`counted_length`] of a task that ended into account.
    pub fn observe(&mut self, length: Duration) {
        let length = nanos(length.min(LONG));
        self.average = Some(match self.average {
            Some(average) => average - average / WEIGHT + length / WEIGHT,
            None => length,
        });
    }

    /// Returns how many tasks a worker may have in flight, including the running one.
    pub fn tasks(&self) -> usize {
        let Some(average) = self.average else {
            return FIRST_WINDOW.min(self.widest);
        };
        let tasks = nanos(AHEAD).div_ceil(average.max(1));
        usize::try_from(tasks).map_or(self.widest, |tasks| tasks.clamp(1, self.widest))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(runs: impl IntoIterator<Item = Duration>) -> usize {
        let mut window = Window::new(None);
        runs.into_iter().for_each(|run| window.observe(run));
        window.tasks()
    }

    #[test]
    fn the_window_holds_four_milliseconds_of_work() {
        assert_eq!(after([]), 2);
        assert_eq!(after([Duration::ZERO; 9]), 512);
        assert_eq!(after([Duration::from_micros(1); 9]), 512);
        assert_eq!(after([Duration::from_micros(100); 9]), 40);
        assert_eq!(after([Duration::from_micros(1500); 9]), 3);
        assert_eq!(after([Duration::from_millis(50); 9]), 1);
        assert_eq!(after([Duration::MAX]), 1);
    }

    #[test]
    fn a_short_task_counts_with_its_cpu_time_and_a_long_one_with_its_wall_time() {
        let (micros, millis) = (Duration::from_micros, Duration::from_millis);
        assert_eq!(counted_length(micros(6), micros(6)), micros(6));
        assert_eq!(counted_length(micros(900), micros(7)), micros(7));
        assert_eq!(counted_length(millis(50), micros(7)), millis(50));
        assert_eq!(
            counted_length(micros(6), Duration::MAX),
            micros(6),
            "the worker is not trusted"
        );
    }

    #[test]
    fn a_process_for_one_task_has_one_in_flight() {
        let mut window = Window::new(Some(1));
        assert_eq!(window.tasks(), 1);
        window.observe(Duration::ZERO);
        assert_eq!(window.tasks(), 1);
    }

    #[test]
    fn one_long_run_closes_the_window_and_short_ones_open_it_again() {
        let short = [Duration::from_micros(5); 100];
        let long = [Duration::from_secs(60)];
        assert_eq!(after(short.into_iter().chain(long)), 1);
        assert!(after(short.into_iter().chain(long).chain(short)) > 100);
    }
}
