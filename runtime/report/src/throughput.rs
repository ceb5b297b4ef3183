//! Counts the tasks that ended, over time.

use crate::histogram::round_up;
use crate::periods::Period;
use crate::report::{Interval, Throughput};

/// Most intervals of a run without gaps: 60. Each further period adds at most one.
const MAX_INTERVALS: u64 = 60;

/// Returns the number of tasks that ended in each interval of the periods. `ends` has the end of each task, and whether it failed.
pub fn throughput(periods: &[Period], ends: impl Iterator<Item = (u64, bool)>) -> Option<Throughput> {
    let total = periods
        .iter()
        .map(|period| period.length())
        .fold(0, u64::saturating_add);
    let width_us = round_up(total / MAX_INTERVALS + 1);
    let mut intervals = Vec::new();
    // The number of the first interval of each period.
    let mut firsts = Vec::new();
    for period in periods {
        firsts.push(intervals.len());
        let count = period.length() / width_us + 1;
        intervals.extend((0..count).map(|n| Interval {
            start_us: period.start + n * width_us,
            ended: 0,
            failed: 0,
        }));
    }
    for (end, has_failed) in ends {
        let period = periods
            .partition_point(|period| period.start <= end)
            .checked_sub(1)?;
        let within = (end.min(periods[period].end) - periods[period].start) / width_us;
        let interval = &mut intervals[firsts[period] + within as usize];
        interval.ended += 1;
        interval.failed += u64::from(has_failed);
    }
    (!intervals.is_empty()).then_some(Throughput { width_us, intervals })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_counted_in_its_interval() {
        let periods = [
            Period {
                start: 1000,
                end: 1060,
            },
            Period {
                start: 5000,
                end: 5000,
            },
        ];
        let ends = [(1000, false), (1001, true), (1060, false), (5000, true)];
        let throughput = throughput(&periods, ends.into_iter()).unwrap();
        assert_eq!(throughput.width_us, 2);
        assert_eq!(throughput.intervals.len(), 32);
        let at = |n: usize| {
            let interval = throughput.intervals[n];
            (interval.start_us, interval.ended, interval.failed)
        };
        assert_eq!(
            [at(0), at(1), at(30), at(31)],
            [(1000, 2, 1), (1002, 0, 0), (1060, 1, 0), (5000, 1, 1)]
        );
    }

    #[test]
    fn absurd_periods_and_none_do_no_harm() {
        let whole = Period {
            start: 0,
            end: u64::MAX,
        };
        assert!(throughput(&[whole], [(u64::MAX, false)].into_iter()).is_some());
        assert_eq!(throughput(&[], [].into_iter()), None);
    }
}
