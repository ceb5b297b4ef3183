//! Retry policy and backoff of tasks, with the text form for the command line. The dispatcher's scheduler applies them.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::{self, DurationError};
use crate::outcome::Kind;

/// Workers that may die with a task in flight, claimed or not, before it ends as `crash`.
pub const MAX_WORKER_DEATHS: u32 = 3;

/// Attempts after the first that a task can have. Each is kept until the task's record is written.
pub const MAX_RETRIES: u32 = 100;

/// Default for the number of workers that may die under a task that is tried again.
pub const DEFAULT_CRASH_LIMIT: u32 = 3;

/// Retry policy of a task. By default, a failed task is not tried again.
///
/// Each attempt has a fresh instance and the whole timeout. Callbacks receive the last attempt only. The
/// [`Outcome`](crate::outcome::Outcome) describes the last attempt too, and lists the others as
/// [`tried`](crate::outcome::Outcome::tried). Items of a chunk are not tried again, since they share an instance.
///
/// ```
/// # mod mpwasm { pub use mpwasm_types::{outcome::Kind, retry::{Backoff, Retry}}; }
/// use std::time::Duration;
/// use mpwasm::{Backoff, Kind, Retry};
///
/// // Up to five more attempts after a crash or a timeout. The backoff doubles from 100 ms to 10 s.
/// let pauses = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
/// let retry = Retry::times(5).also_on(Kind::Timeout).backoff(pauses);
/// assert!(retry.covers(Kind::Crash) && !retry.covers(Kind::Trap));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    times: u32,
    /// One bit per kind.
    kinds: u16,
    backoff: Backoff,
    crash_limit: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self::times(0)
    }
}

impl Retry {
    /// Retries a task that ended as `crash` up to `times` times (at most 100), without backoff.
    #[must_use]
    pub fn times(times: u32) -> Self {
        Self {
            times: times.min(MAX_RETRIES),
            kinds: bit(Kind::Crash),
            backoff: Backoff::NONE,
            crash_limit: DEFAULT_CRASH_LIMIT,
        }
    }

    /// Also retries after an attempt that ended as `kind`. [`Kind::Cancelled`] and [`Kind::Invalid`] have no effect.
    #[must_use]
    pub fn also_on(mut self, kind: Kind) -> Self {
        self.kinds |= bit(kind);
        self
    }

    /// Sets the backoff before further attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how many workers may die under a task before it is not tried again: 3 by default, at least 1.
    #[must_use]
    pub fn crash_limit(mut self, limit: u32) -> Self {
        self.crash_limit = limit.max(1);
        self
    }

    /// Returns whether another attempt can follow one that ended as `kind`.
    #[must_use]
    pub fn covers(&self, kind: Kind) -> bool {
        self.kinds & bit(kind) != 0 && Self::can_cover(kind)
    }

    /// Returns whether any policy can cover `kind`.
    #[must_use]
    pub fn can_cover(kind: Kind) -> bool {
        !matches!(kind, Kind::Cancelled | Kind::Invalid)
    }

    /// Returns the largest number of attempts after the first.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.times
    }

    /// Returns whether there can be a second attempt.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.times > 0
    }

    /// Returns whether another attempt may follow this one, counted from 1, which ended as `kind`.
    #[must_use]
    pub fn follows(&self, attempt: u32, kind: Kind) -> bool {
        attempt <= self.times && self.covers(kind)
    }

    /// Returns the number of workers that may die under a task.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.crash_limit
    }

    /// Returns the backoff after this attempt, counted from 1. `random` sets the jitter.
    #[must_use]
    pub fn pause(&self, attempt: u32, random: u64) -> Duration {
        self.backoff.pause(attempt, random)
    }
}

fn bit(kind: Kind) -> u16 {
    1 << kind as u16
}

/// Pauses between the attempts of a task.
///
/// As text: `100ms` is a fixed pause, and `100ms..10s` doubles from the first duration up to the second. `~50%` after either
/// shortens each pause by a random part of up to 50 %, so that tasks which failed together are not tried again together.
///
/// A waiting task is one of at most 4096 that the dispatcher has read. While all of them wait, no other task runs, so use long
/// pauses only for tasks that seldom fail.
///
/// ```
/// # mod mpwasm { pub use mpwasm_types::retry::Backoff; }
/// use std::time::Duration;
/// use mpwasm::Backoff;
///
/// let pauses: Backoff = "100ms..10s~50%".parse().unwrap();
/// let same = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)).jitter(50);
/// assert_eq!(pauses, same);
/// assert!("10s..100ms".parse::<Backoff>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    first: Duration,
    /// Longest pause. Equal to `first` for a fixed pause.
    longest: Duration,
    /// Percent.
    jitter: u8,
}

/// Longest pause: 136 years. Jitter can be computed without overflow.
const LONGEST_PAUSE: Duration = Duration::from_secs(u32::MAX as u64);

impl Backoff {
    /// No pauses.
    pub const NONE: Self = Self::fixed(Duration::ZERO);

    /// Uses the same pause each time, at most `u32::MAX` seconds.
    #[must_use]
    pub const fn fixed(pause: Duration) -> Self {
        let pause = if pause.as_secs() < LONGEST_PAUSE.as_secs() {
            pause
        } else {
            LONGEST_PAUSE
        };
        Self {
            first: pause,
            longest: pause,
            jitter: 0,
        }
    }

    /// Doubles the pause each time up to `longest`, at most `u32::MAX` seconds.
    #[must_use]
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        let longest = longest.min(LONGEST_PAUSE);
        Self {
            first: first.min(longest),
            longest,
            jitter: 0,
        }
    }

    /// Shortens each pause by a random part of up to `percent` percent, at most 100.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent.min(100);
        self
    }

    /// Returns the pause after this attempt, counted from 1. `random` sets the jitter.
    fn pause(&self, attempt: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.first.saturating_mul(factor).min(self.longest);
        if self.jitter == 0 {
            return pause;
        }
        let part = (random >> 32) as f64 / f64::from(u32::MAX);
        pause.mul_f64(1.0 - f64::from(self.jitter) / 100.0 * part)
    }
}

/// Why a text is no [`Backoff`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// A pause is no duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// The part after `~` is no percentage.
    #[error("after ~ there is to be a percentage from 0% to 100%")]
    Jitter,
    /// The longest pause is shorter than the first.
    #[error("the longest pause is shorter than the first")]
    Order,
}

impl FromStr for Backoff {
    type Err = BackoffError;

    fn from_str(text: &str) -> Result<Self, BackoffError> {
        let (pauses, jitter) = match text.split_once('~') {
            None => (text, 0),
            Some((pauses, percent)) => {
                let number = percent.trim().strip_suffix('%').map(str::parse);
                match number {
                    Some(Ok(number @ 0..=100)) => (pauses, number),
                    _ => return Err(BackoffError::Jitter),
                }
            }
        };
        let backoff = match pauses.split_once("..") {
            None => Self::fixed(duration::parse(pauses)?),
            Some((first, longest)) => {
                let (first, longest) = (duration::parse(first)?, duration::parse(longest)?);
                if longest < first {
                    return Err(BackoffError::Order);
                }
                Self::exponential(first, longest)
            }
        };
        Ok(backoff.jitter(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pauses(backoff: &str, random: u64) -> Vec<Duration> {
        let backoff: Backoff = backoff.parse().unwrap();
        (1..6).map(|attempt| backoff.pause(attempt, random)).collect()
    }

    #[test]
    fn a_fixed_pause_stays_and_an_exponential_one_doubles_up_to_its_longest() {
        assert_eq!(pauses("30ms", 7), [30 * MS; 5]);
        assert_eq!(pauses("30ms..200ms", 7), [30, 60, 120, 200, 200].map(|n| n * MS));
        let long = Backoff::exponential(MS, Duration::MAX);
        assert_eq!(long.pause(u32::MAX, 0), MS * u32::MAX);
    }

    #[test]
    fn the_longest_pauses_do_not_overflow() {
        for backoff in [
            Backoff::fixed(Duration::MAX),
            Backoff::exponential(Duration::MAX, Duration::MAX),
        ] {
            for percent in [0, 1, 100] {
                let backoff = backoff.jitter(percent);
                assert_eq!(backoff.pause(1, 0), LONGEST_PAUSE);
                assert!(backoff.pause(u32::MAX, u64::MAX) <= LONGEST_PAUSE);
            }
        }
    }

    #[test]
    fn jitter_only_shortens_a_pause_and_by_no_more_than_it_says() {
        assert_eq!(pauses("100ms~25%", 0), [100 * MS; 5]);
        assert_eq!(pauses("100ms~25%", u64::MAX), [75 * MS; 5]);
        assert_eq!(pauses("100ms..1s~100%", u64::MAX), [Duration::ZERO; 5]);
        let half = pauses("100ms~50%", 1 << 63)[0];
        assert!((74 * MS..76 * MS).contains(&half), "{half:?}");
    }

    #[test]
    fn malformed_backoffs_are_rejected_with_a_reason() {
        for (text, why) in [
            ("100", "no unit"),
            ("0s", "longer than zero"),
            ("", "empty"),
            ("100ms..", "empty"),
            ("2s..1s", "shorter than the first"),
            ("1s~", "percentage"),
            ("1s~101%", "percentage"),
            ("1s~half", "percentage"),
        ] {
            let refusal = text.parse::<Backoff>().unwrap_err().to_string();
            assert!(refusal.contains(why), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn a_policy_covers_crashes_and_what_it_names_but_never_what_was_cancelled_or_no_task() {
        let retry = Retry::times(2)
            .also_on(Kind::Trap)
            .also_on(Kind::Cancelled)
            .also_on(Kind::Invalid);
        let covered = [
            Kind::Crash,
            Kind::Trap,
            Kind::Timeout,
            Kind::Cancelled,
            Kind::Invalid,
        ];
        assert_eq!(
            covered.map(|kind| retry.covers(kind)),
            [true, true, false, false, false]
        );
        assert_eq!(
            [1, 2, 3].map(|attempt| retry.follows(attempt, Kind::Crash)),
            [true, true, false]
        );
        assert!(!Retry::default().follows(1, Kind::Crash));
        assert_eq!(Retry::times(u32::MAX), Retry::times(MAX_RETRIES));
    }
}
