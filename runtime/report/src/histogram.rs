//! Counts values in bins.

use crate::report::Bin;

/// Most bins of equal width: 40.
const MAX_EQUAL: u64 = 40;

/// Factor between the smallest and the largest value up to which bins have equal widths.
const EQUAL_RANGE: u64 = 10;

/// Factor between the smallest and the largest value up to which there are ten bins per power of ten. Beyond it there are three.
const FINE_RANGE: u64 = 10_000;

/// Ten preferred numbers per power of ten, in tenths.
const FINE: [u64; 10] = [10, 12, 16, 20, 25, 32, 40, 50, 63, 80];

/// Three preferred numbers per power of ten, in tenths.
const COARSE: [u64; 3] = [10, 20, 50];

/// Returns the bins of sorted values, from that of the smallest to that of the largest one. There are at most 60.
pub fn histogram(sorted: &[u64]) -> Vec<Bin> {
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
        return Vec::new();
    };
    let range = max / min.max(1);
    let edges = if range < EQUAL_RANGE {
        equal_edges(min, max)
    } else if range <= FINE_RANGE {
        growing_edges(&FINE)
    } else {
        growing_edges(&COARSE)
    };
    let mut bins = Vec::new();
    let mut rest = sorted;
    for edge in edges.windows(2) {
        let (from_us, to_us) = (edge[0], edge[1]);
        // The last edge is the largest number, which is in the bin below it.
        let length = match to_us {
            u64::MAX => rest.len(),
            _ => rest.partition_point(|value| *value < to_us),
        };
        if length > 0 || !bins.is_empty() {
            bins.push(Bin {
                from_us,
                to_us,
                count: length as u64,
            });
        }
        rest = &rest[length..];
        if rest.is_empty() {
            break;
        }
    }
    bins
}

/// Returns the edges of bins of equal, round widths around all values from `min` to `max`.
fn equal_edges(min: u64, max: u64) -> Vec<u64> {
    let width = round_up((max - min) / MAX_EQUAL + 1);
    let mut edges = vec![min.min(u64::MAX - 1) / width * width];
    while let Some(&last) = edges.last()
        && last <= max
        && last < u64::MAX
    {
        edges.push(last.saturating_add(width));
    }
    edges
}

/// Returns the edges from 0 on whose widths grow with them.
fn growing_edges(steps: &[u64]) -> Vec<u64> {
    let mut edges = vec![0];
    let mut power: u64 = 1;
    loop {
        for step in steps {
            match power.checked_mul(*step) {
                // Below 10, some steps are the same whole number.
                Some(tenths) if edges.last() == Some(&(tenths / 10)) => {}
                Some(tenths) => edges.push(tenths / 10),
                None => {
                    edges.push(u64::MAX);
                    return edges;
                }
            }
        }
        power = power.saturating_mul(10);
    }
}

/// Rounds up to 1, 2 or 5 times a power of ten.
pub fn round_up(micros: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for step in [1, 2, 5] {
            match power.checked_mul(step) {
                Some(width) if width < micros => {}
                Some(width) => return width,
                None => return u64::MAX,
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[u64]) -> Vec<(u64, u64, u64)> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let bins = histogram(&sorted);
        bins.iter()
            .map(|bin| (bin.from_us, bin.to_us, bin.count))
            .collect()
    }

    #[test]
    fn values_of_the_same_size_are_in_bins_of_equal_width() {
        assert_eq!(
            counts(&[100, 104, 104, 109]),
            [
                (100, 101, 1),
                (101, 102, 0),
                (102, 103, 0),
                (103, 104, 0),
                (104, 105, 2),
                (105, 106, 0),
                (106, 107, 0),
                (107, 108, 0),
                (108, 109, 0),
                (109, 110, 1)
            ]
        );
        assert_eq!(counts(&[0, 0]), [(0, 1, 2)]);
        assert_eq!(counts(&[]), []);
    }

    #[test]
    fn values_of_different_sizes_are_in_bins_that_grow() {
        let bins = counts(&[9, 10, 11, 12, 900]);
        assert_eq!(bins[..3], [(8, 10, 1), (10, 12, 2), (12, 16, 1)]);
        assert_eq!(bins.last(), Some(&(800, 1000, 1)));
        let bins = counts(&[0, 3, 1_000_000]);
        assert_eq!(bins[..3], [(0, 1, 1), (1, 2, 0), (2, 5, 1)]);
        assert_eq!(bins.last(), Some(&(1_000_000, 2_000_000, 1)));
    }

    #[test]
    fn every_value_is_in_one_of_at_most_60_bins() {
        let extremes = [
            0,
            1,
            9,
            10,
            11,
            39,
            41,
            399,
            9_999,
            10_000,
            99_999,
            u64::MAX - 1,
            u64::MAX,
        ];
        for min in extremes {
            for max in extremes.into_iter().filter(|max| *max >= min) {
                let values = [min, min, max, max, max];
                let bins = counts(&values);
                assert!(bins.len() <= 60, "{min} to {max}: {}", bins.len());
                assert_eq!(bins.iter().map(|bin| bin.2).sum::<u64>(), 5, "{min} to {max}");
                assert!(bins.windows(2).all(|two| two[0].1 == two[1].0), "{min} to {max}");
                assert!(bins[0].2 > 0 && bins[bins.len() - 1].2 > 0, "{min} to {max}");
            }
        }
    }

    #[test]
    fn widths_are_round() {
        assert_eq!(
            [1, 2, 3, 6, 11, 60_000_000].map(round_up),
            [1, 2, 5, 10, 20, 100_000_000]
        );
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
