//! Keeps the pauses of a pool, and converts times of its clock to the parent's clock.

use std::time::Duration;

use mpwasm_types::time::Time;

/// The pauses of the pool's clock. The clock goes on during a pause and is set back by the pause's length at its end.
#[derive(Debug, Default)]
pub struct Pauses {
    /// Start of the current pause.
    since: Option<Time>,
    /// The earlier pauses: start by the pool's clock, and total length of all pauses before it.
    over: Vec<(Time, Duration)>,
    /// Total length of the earlier pauses.
    total: Duration,
}

impl Pauses {
    /// Returns whether the pool is paused.
    pub fn is_paused(&self) -> bool {
        self.since.is_some()
    }

    /// Begins a pause. Does nothing if the pool is already paused.
    pub fn begin(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// Ends the pause. Returns its length, or `None` if the pool was not paused.
    pub fn end(&mut self, now: Time) -> Option<Duration> {
        let since = self.since.take()?;
        let length = now.since(since);
        self.over.push((since, self.total));
        self.total += length;
        Some(length)
    }

    /// Converts a time of the pool's clock to the parent's clock, which has no pauses.
    pub fn for_parent(&self, time: Time) -> Time {
        let later = self.over.iter().find(|(began, _)| time <= *began);
        time + later.map_or(self.total, |(_, counted)| *counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_the_parent_with_the_pauses_before_it() {
        let mut pauses = Pauses::default();
        pauses.begin(Time(100));
        pauses.begin(Time(110));
        assert_eq!(pauses.end(Time(130)), Some(Duration::from_nanos(30)));
        assert_eq!(pauses.end(Time(140)), None);
        pauses.begin(Time(200));
        assert_eq!(pauses.end(Time(1200)), Some(Duration::from_nanos(1000)));
        for (pool, parent) in [(50, 50), (100, 100), (101, 131), (200, 230), (201, 1231)] {
            assert_eq!(pauses.for_parent(Time(pool)), Time(parent));
        }
    }
}
