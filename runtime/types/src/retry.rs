//! When a task whose attempt failed is tried again: the policy, and how long the pauses are.
//!
//! Data only, with the text form that the command line has for it. Who decides by it is the dispatcher's scheduler.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Kind;
use crate::settings::{DEFAULT_CRASH_LIMIT, MAX_RETRIES};
use crate::task_line::duration;

/// When a task that failed is tried again. By default it never is.
///
/// What is tried again begins anew: a fresh instance, the whole timeout. Callbacks hear of the last attempt only, and
/// so does the [`Outcome`](crate::outcome::Outcome), which lists those before it as [`tried`](crate::outcome::Outcome::tried). The items of
/// a chunk are not tried again: they share an instance, and none of them can begin anew.
///
/// ```
/// use std::time::Duration;
/// use mpwasm::{Backoff, Kind, Retry};
///
/// // Up to five more attempts after a crash or a timeout; the pauses double from 100 ms to 10 s.
/// let pauses = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10));
/// let retry = Retry::times(5).also_on(Kind::Timeout).backoff(pauses);
/// assert!(retry.covers(Kind::Crash) && !retry.covers(Kind::Trap));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    times: u32,
    /// A bit for each kind.
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
    /// So many attempts after the first, at once, each when the one before ended as `crash`. At most 100; more counts
    /// as that.
    #[must_use]
    pub fn times(times: u32) -> Self {
        Self {
            times: times.min(MAX_RETRIES),
            kinds: bit(Kind::Crash),
            backoff: Backoff::NONE,
            crash_limit: DEFAULT_CRASH_LIMIT,
        }
    }

    /// Also when an attempt ended as `kind`. A task that was cancelled, and what is no task, is never tried again,
    /// whatever is said here.
    #[must_use]
    pub fn also_on(mut self, kind: Kind) -> Self {
        self.kinds |= bit(kind);
        self
    }

    /// With these pauses before the further attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// A task under which so many workers died is not tried again, however many attempts are left: 3 by default. Zero
    /// counts as one.
    #[must_use]
    pub fn crash_limit(mut self, limit: u32) -> Self {
        self.crash_limit = limit.max(1);
        self
    }

    /// Whether an attempt that ended as `kind` can be followed by another.
    #[must_use]
    pub fn covers(&self, kind: Kind) -> bool {
        self.kinds & bit(kind) != 0 && Self::can_cover(kind)
    }

    /// Whether there are policies that cover `kind`.
    #[must_use]
    pub fn can_cover(kind: Kind) -> bool {
        !matches!(kind, Kind::Cancelled | Kind::Invalid)
    }

    /// Attempts after the first, at most.
    pub fn most(&self) -> u32 {
        self.times
    }

    /// Whether there is ever a second attempt.
    pub fn is_any(&self) -> bool {
        self.times > 0
    }

    /// Whether another attempt may follow this one, counted from 1, which ended as `kind`.
    pub fn follows(&self, attempt: u32, kind: Kind) -> bool {
        attempt <= self.times && self.covers(kind)
    }

    /// Workers that may die under a task.
    pub fn crashes(&self) -> u32 {
        self.crash_limit
    }

    /// The pause after this attempt. See [`Backoff`].
    pub fn pause(&self, attempt: u32, random: u64) -> Duration {
        self.backoff.pause(attempt, random)
    }
}

fn bit(kind: Kind) -> u16 {
    1 << kind as u16
}

/// The pauses between the attempts of a task.
///
/// As text: `100ms` is the same pause each time, `100ms..10s` one that doubles each time, up to the second duration, and
/// `~50%` behind either shortens each pause by a random part of up to so much, so that tasks which failed together are
/// not tried again together.
///
/// A task that waits is one of the 4096 at most that the dispatcher has read: while all of them wait, no other task is
/// run before the first of the pauses ends. So long pauses are for tasks that fail seldom.
///
/// ```
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
    /// The longest one; a fixed pause is its own.
    longest: Duration,
    /// Percent.
    jitter: u8,
}

/// Longer pauses count as this: 136 years. Shortened by a part, it still is a duration.
const LONGEST_PAUSE: Duration = Duration::from_secs(u32::MAX as u64);

impl Backoff {
    /// No pauses: a task is tried again at once.
    pub const NONE: Self = Self::fixed(Duration::ZERO);

    /// The same pause each time. One of more than `u32::MAX` seconds counts as that.
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

    /// A pause that doubles each time, but gets no longer than `longest`, nor than `u32::MAX` seconds.
    #[must_use]
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        let longest = longest.min(LONGEST_PAUSE);
        Self {
            first: first.min(longest),
            longest,
            jitter: 0,
        }
    }

    /// Each pause is shorter by a random part of up to so many percent. More than 100 counts as that.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent.min(100);
        self
    }

    /// The pause after this attempt, counted from 1. `random` is any number.
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

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pauses, jitter) = match text.split_once('~') {
            None => (text, 0),
            Some((pauses, percent)) => {
                let number = percent.trim().strip_suffix('%').map(str::parse);
                match number {
                    Some(Ok(number @ 0..=100)) => (pauses, number),
                    _ => return Err("after ~ there is to be a percentage from 0% to 100%".to_owned()),
                }
            }
        };
        let backoff = match pauses.split_once("..") {
            None => Self::fixed(duration(pauses)?),
            Some((first, longest)) => {
                let (first, longest) = (duration(first)?, duration(longest)?);
                if longest < first {
                    return Err("the longest pause is shorter than the first".to_owned());
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
    fn no_pause_is_too_long_to_be_reckoned_with() {
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
    fn what_is_no_backoff_is_told_why() {
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
            let refusal = text.parse::<Backoff>().unwrap_err();
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
