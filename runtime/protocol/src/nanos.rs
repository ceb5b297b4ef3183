//! Durations as one number, for `#[serde(with = "nanos")]`: they stand in every message about a task, and serde's own two
//! fields cost several times as much.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes it in nanoseconds. More than five hundred years become that much.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .serialize(serializer)
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{decode, put};

    #[derive(Serialize, Deserialize)]
    struct Message(#[serde(with = "super")] Duration);

    #[test]
    fn durations_travel_to_the_nanosecond_and_endless_ones_stay_long() {
        let sent = |duration| {
            let mut frame = Vec::new();
            put(&mut frame, &Message(duration));
            decode::<Message>(&frame[4..]).unwrap().0
        };
        for duration in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::new(7, 999_999_999),
        ] {
            assert_eq!(sent(duration), duration);
        }
        assert!(sent(Duration::MAX) > Duration::from_secs(500 * 365 * 86400));
    }
}
