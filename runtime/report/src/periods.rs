//! Finds the periods in which tasks waited or ran.

/// Longest gap between tasks that is a part of a period: one minute. In a longer one, no run was going on.
const LONGEST_GAP: u64 = 60_000_000;

/// A gap is a part of a period if it is less than this part of the whole time, so that there are at most so many periods.
const MAX_PERIODS: u64 = 100;

/// A period in which tasks waited or ran: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its start.
    pub start: u64,
    /// Its end.
    pub end: u64,
}

impl Period {
    /// Returns its length, microseconds.
    pub const fn length(self) -> u64 {
        self.end - self.start
    }
}

/// Returns the periods that these times of single tasks form, in their order.
pub fn periods(mut times: Vec<Period>) -> Vec<Period> {
    times.sort_unstable_by_key(|time| time.start);
    let Some(first) = times.first() else {
        return Vec::new();
    };
    let last = times.iter().map(|time| time.end).max().unwrap_or(first.end);
    let longest_gap = LONGEST_GAP.max((last - first.start) / MAX_PERIODS);
    let mut periods = vec![*first];
    for time in times {
        match periods.last_mut() {
            Some(period) if time.start <= period.end.saturating_add(longest_gap) => {
                period.end = period.end.max(time.end);
            }
            _ => periods.push(time),
        }
    }
    periods
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(start: u64, end: u64) -> Period {
        Period { start, end }
    }

    #[test]
    fn tasks_with_short_gaps_are_one_period() {
        let times = vec![
            period(50, 60),
            period(0, 10),
            period(5, 100),
            period(60_000_100, 60_000_101),
        ];
        assert_eq!(periods(times), [period(0, 60_000_101)]);
        assert_eq!(periods(Vec::new()), []);
    }

    #[test]
    fn a_run_that_was_resumed_later_is_two_periods() {
        let times = vec![period(200_000_000, 200_000_007), period(0, 10)];
        assert_eq!(periods(times), [period(0, 10), period(200_000_000, 200_000_007)]);
    }

    #[test]
    fn the_number_of_periods_is_bounded_and_absurd_times_do_no_harm() {
        let times = (0..10_000)
            .map(|n| period(n * 3_600_000_000, n * 3_600_000_000))
            .collect();
        assert!(periods(times).len() <= MAX_PERIODS as usize + 1);
        let times = vec![period(0, u64::MAX), period(u64::MAX, u64::MAX)];
        assert_eq!(periods(times), [period(0, u64::MAX)]);
    }
}
