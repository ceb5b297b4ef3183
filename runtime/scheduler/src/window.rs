//! How many tasks a worker may have in in_flight: enough that it never idles, few enough that none of them waits long, and
//! no more than a worker process is for.

use std::time::Duration;

/// The work that a worker should have in in_flight: several times what a turn of the event loop takes.
const AHEAD: Duration = Duration::from_millis(4);
/// Tasks that a worker may have in hand, however short they are.
pub(super) const MAX_WINDOW: usize = 512;
/// The window while nothing is known.
const FIRST_WINDOW: usize = 2;
/// A run counts by one part in so many towards the average.
const WEIGHT: u64 = 8;
/// A longer run counts as this long. One such run brings the average to twice [`AHEAD`] and so the window to 1;
/// a cap keeps the time short in which the average recovers from it.
const LONG: Duration = AHEAD.saturating_mul(2 * WEIGHT as u32);

/// What takes less on the clock counts with its processor time: the rest it mostly waited for a processor, since other
/// processes of the pool need one, too. Were it counted, the window would close whenever that happens.
const NO_WAIT: Duration = Duration::from_millis(1);

/// How long a task counts as, that took `run` on the clock and `cpu` of a processor, as its worker says.
#[must_use]
pub fn counted_length(run: Duration, cpu: Duration) -> Duration {
    if run < NO_WAIT { cpu.min(run) } else { run }
}

/// A moving average of the lengths of tasks over the whole pool.
#[derive(Debug)]
pub(super) struct Window {
    /// Nanoseconds.
    average: Option<u64>,
    /// It never opens wider.
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

    /// The tasks that a worker may have in hand, the running one among them.
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
    fn it_holds_four_milliseconds_of_work() {
        assert_eq!(after([]), 2);
        assert_eq!(after([Duration::ZERO; 9]), 512);
        assert_eq!(after([Duration::from_micros(1); 9]), 512);
        assert_eq!(after([Duration::from_micros(100); 9]), 40);
        assert_eq!(after([Duration::from_micros(1500); 9]), 3);
        assert_eq!(after([Duration::from_millis(50); 9]), 1);
        assert_eq!(after([Duration::MAX]), 1);
    }

    #[test]
    fn a_short_task_that_waited_for_a_processor_is_short_and_one_that_sleeps_is_not() {
        let (micros, millis) = (Duration::from_micros, Duration::from_millis);
        assert_eq!(counted_length(micros(6), micros(6)), micros(6));
        assert_eq!(counted_length(micros(900), micros(7)), micros(7));
        assert_eq!(counted_length(millis(50), micros(7)), millis(50));
        assert_eq!(
            counted_length(micros(6), Duration::MAX),
            micros(6),
            "who says so can't be believed"
        );
    }

    #[test]
    fn a_process_for_one_task_has_one() {
        let mut window = Window::new(Some(1));
        assert_eq!(window.tasks(), 1);
        window.observe(Duration::ZERO);
        assert_eq!(window.tasks(), 1);
    }

    #[test]
    fn one_long_run_closes_it_and_short_ones_open_it_again() {
        let short = [Duration::from_micros(5); 100];
        let long = [Duration::from_secs(60)];
        assert_eq!(after(short.into_iter().chain(long)), 1);
        assert!(after(short.into_iter().chain(long).chain(short)) > 100);
    }
}
