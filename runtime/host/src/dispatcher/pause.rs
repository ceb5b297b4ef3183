//! The pauses of a pool: what its clock has not counted, and when.

use std::time::Duration;

use mpwasm_types::time::Time;

/// The pauses of the pool's clock. The clock runs on during a pause, and is set back at its end.
#[derive(Debug, Default)]
pub struct Pauses {
    /// When the pause began that goes on.
    since: Option<Time>,
    /// When each of the others began by the pool's clock, and what it had not counted until then.
    over: Vec<(Time, Duration)>,
    /// What it has not counted so far.
    total: Duration,
}

impl Pauses {
    /// A pause goes on.
    pub fn is_paused(&self) -> bool {
        self.since.is_some()
    }

    /// A pause begins, unless one goes on already.
    pub fn begin(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// The pause ends. Returns how long it was, if there was one.
    pub fn end(&mut self, now: Time) -> Option<Duration> {
        let since = self.since.take()?;
        let length = now.since(since);
        self.over.push((since, self.total));
        self.total += length;
        Some(length)
    }

    /// A time of the pool's clock on that of the parent, which has no pauses.
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
