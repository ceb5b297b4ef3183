//! Parses the durations of options and task lines. None is zero.

use std::time::{Duration, TryFromFloatSecsError};

/// Why a text or a number is no duration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// A number without a unit.
    #[error("it has no unit: write {0}s for seconds or {0}ms for milliseconds")]
    NoUnit(String),
    /// Not a duration.
    #[error(transparent)]
    Malformed(#[from] humantime::DurationError),
    /// A number of seconds that is negative, too large or none.
    #[error(transparent)]
    OutOfRange(#[from] TryFromFloatSecsError),
    /// Zero, or less than a nanosecond.
    #[error("it must be longer than zero")]
    Zero,
}

/// Parses a duration greater than zero: `250ms`, `1s`, `1m30s`. A number without a unit is rejected.
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text.parse::<f64>().is_ok() {
        return Err(DurationError::NoUnit(text.to_owned()));
    }
    longer_than_zero(humantime::parse_duration(text)?)
}

/// Converts a number of seconds to a duration greater than zero.
///
/// # Errors
/// When it is not greater than zero, or too large.
pub fn from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    longer_than_zero(Duration::try_from_secs_f64(seconds)?)
}

fn longer_than_zero(duration: Duration) -> Result<Duration, DurationError> {
    if duration.is_zero() {
        Err(DurationError::Zero)
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let written = [
            ("1s", 1_000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            (" 2h ", 7_200_000),
        ];
        for (text, milliseconds) in written {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_rejected_with_a_hint() {
        for text in ["5", "0", "1.5"] {
            let refusal = parse(text).unwrap_err().to_string();
            assert!(refusal.contains(&format!("write {text}s")), "{refusal}");
        }
    }

    #[test]
    fn zero_negative_and_malformed_durations_are_rejected() {
        for text in ["0s", "0ms", "-1s", "", "s", "1 parsec", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for number in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(from_seconds(number).is_err(), "{number}");
        }
        assert_eq!(from_seconds(0.25), Ok(Duration::from_millis(250)));
    }
}
