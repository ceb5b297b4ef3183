//! Encodes a duration as one number, for `#[serde(with = "nanos")]`. Each message about a task has durations, and serde's own
//! two fields take several times as long.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Encodes a duration in nanoseconds. One that is longer than 584 years is encoded as that.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .serialize(serializer)
}

/// Decodes a duration that [`serialize`] has encoded.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Message(#[serde(with = "super")] Duration);

    #[test]
    fn durations_travel_to_the_nanosecond_and_endless_ones_stay_long() {
        let sent = |duration| {
            let mut bytes = [0; 16];
            let sent = postcard::to_slice(&Message(duration), &mut bytes).unwrap();
            postcard::from_bytes::<Message>(sent).unwrap().0
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
