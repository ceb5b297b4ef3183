//! `--halt`: ends a run early once enough tasks have failed or succeeded.

use std::str::FromStr;
use std::{fmt, io};

use anyhow::{Result, anyhow, bail};
use mpwasm::{Event, Reporter};

/// Fewest ended tasks for which a percentage is compared: 3, as one failure of one task says little.
const MIN_TASKS_FOR_PERCENT: u64 = 3;

/// How a run ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltMode {
    /// Running tasks are killed.
    Now,
    /// Running tasks may end.
    Soon,
}

/// Which tasks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltCount {
    /// Tasks that failed, or whose callback failed.
    Fail,
    /// The others.
    Success,
}

/// The number of counted tasks that ends the run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum HaltThreshold {
    Count(u64),
    /// Percentage of all tasks that have ended.
    Percent(f64),
}

/// The condition of `--halt`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Halt {
    /// How the run ends.
    pub when: HaltMode,
    /// Which tasks are counted.
    pub counted: HaltCount,
    threshold: HaltThreshold,
}

impl Halt {
    /// Returns whether the condition is met after these numbers of successful and failed tasks.
    pub fn is_reached(&self, ok: u64, failed: u64) -> bool {
        let counted = match self.counted {
            HaltCount::Fail => failed,
            HaltCount::Success => ok,
        };
        let ended = ok + failed;
        match self.threshold {
            HaltThreshold::Count(count) => counted >= count,
            #[expect(clippy::cast_precision_loss, reason = "a percentage needs no more")]
            HaltThreshold::Percent(percent) => {
                ended >= MIN_TASKS_FOR_PERCENT && counted as f64 * 100.0 >= percent * ended as f64
            }
        }
    }
}

/// Counts outcomes, and ends the run once the condition of `--halt` is met.
pub struct HaltReporter {
    /// `None` once it is met.
    halt: Option<Halt>,
    ok: u64,
    failed: u64,
    on_reached: Box<dyn FnMut(Halt) + Send>,
}

impl HaltReporter {
    /// Returns a reporter that calls `on_reached` once the condition is met. It must end the pool, so that no further task begins,
    /// and must not block.
    pub fn new(halt: Halt, on_reached: impl FnMut(Halt) + Send + 'static) -> Self {
        Self {
            halt: Some(halt),
            ok: 0,
            failed: 0,
            on_reached: Box::new(on_reached),
        }
    }
}

impl Reporter for HaltReporter {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Event::Ended(outcome) = event else {
            return Ok(());
        };
        match outcome.is_success() {
            true => self.ok += 1,
            false => self.failed += 1,
        }
        if let Some(halt) = self.halt.take_if(|halt| halt.is_reached(self.ok, self.failed)) {
            (self.on_reached)(halt);
        }
        Ok(())
    }
}

impl FromStr for Halt {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = || anyhow!("write when and why, as in now,fail=1 or soon,success=10 or soon,fail=25%");
        let (when, why) = text.split_once(',').ok_or_else(form)?;
        let when = match when {
            "now" => HaltMode::Now,
            "soon" => HaltMode::Soon,
            _ => return Err(form()),
        };
        let (of, bound) = why.split_once('=').ok_or_else(form)?;
        let of = match of {
            "fail" => HaltCount::Fail,
            "success" => HaltCount::Success,
            _ => return Err(form()),
        };
        let bound = match bound.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => HaltThreshold::Percent(percent),
                _ => bail!("a percentage is above 0 and at most 100"),
            },
            None => match bound.parse() {
                Ok(0) => bail!("none are no reason: write at least 1"),
                Ok(count) => HaltThreshold::Count(count),
                Err(_) => return Err(form()),
            },
        };
        Ok(Self {
            when,
            counted: of,
            threshold: bound,
        })
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            HaltMode::Now => "now",
            HaltMode::Soon => "soon",
        };
        let of = match self.counted {
            HaltCount::Fail => "fail",
            HaltCount::Success => "success",
        };
        match self.threshold {
            HaltThreshold::Count(count) => write!(f, "{when},{of}={count}"),
            HaltThreshold::Percent(percent) => write!(f, "{when},{of}={percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use mpwasm::Kind;

    use super::*;
    use crate::run::output::tests::{failed, ok};

    fn halt(text: &str) -> Halt {
        let halt: Halt = text.parse().unwrap();
        assert_eq!(halt.to_string(), text);
        halt
    }

    #[test]
    fn enough_are_a_number_or_a_part_of_those_that_ended() {
        let one = halt("now,fail=2");
        assert_eq!((one.when, one.counted), (HaltMode::Now, HaltCount::Fail));
        assert!(!one.is_reached(100, 1) && one.is_reached(0, 2));
        let success = halt("soon,success=1");
        assert!(!success.is_reached(0, 50) && success.is_reached(1, 50));
        let half = halt("soon,fail=50%");
        assert!(!half.is_reached(0, 2), "two tasks are too few");
        assert!(half.is_reached(1, 2) && !half.is_reached(3, 2));
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "now",
            "fail=1",
            "later,fail=1",
            "now,done=1",
            "now,fail",
            "now,fail=x",
        ] {
            assert!(
                text.parse::<Halt>()
                    .unwrap_err()
                    .to_string()
                    .contains("now,fail=1"),
                "{text:?}"
            );
        }
        for text in ["now,fail=0", "now,fail=0%", "now,fail=101%", "now,fail=x%"] {
            assert!(text.parse::<Halt>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_run_is_ended_once_and_by_an_outcome() {
        let reached = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&reached);
        let mut reporter = HaltReporter::new(halt("now,fail=2"), move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let expected = [
            (ok(0, "1"), 0),
            (failed(1, Kind::Trap, ""), 0),
            (failed(2, Kind::Trap, ""), 1),
        ];
        for (outcome, count) in expected {
            reporter.event(&Event::Ended(&outcome)).unwrap();
            assert_eq!(reached.load(Ordering::Relaxed), count);
        }
        reporter.event(&Event::Ended(&failed(3, Kind::Trap, ""))).unwrap();
        assert_eq!(reached.load(Ordering::Relaxed), 1);
    }
}
