//! Numbers in JSON text: compared and added without loss.

use std::cmp::Ordering;
use std::fmt;

/// 2⁶⁴, the first float above all integers of [`JsonNumber`].
const ABOVE_INTEGERS: f64 = 18_446_744_073_709_551_616.0;

/// A number as Python reads it: an integer, or a float where the text has a point or an exponent.
///
/// Numbers compare by value, so 1 and 1.0 are equal, and 2⁵³ + 1 differs from the float 2⁵³.
#[derive(Clone, Copy, Debug)]
pub enum JsonNumber {
    /// An integer of at most [`i64::MAX`].
    Signed(i64),
    /// An integer above [`i64::MAX`].
    Unsigned(u64),
    /// A finite float.
    Float(f64),
}

impl JsonNumber {
    /// Parses a JSON number. `None` for other text, for integers that need more than 64 bits, and for floats outside of the
    /// range of `f64`.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        if text.contains(['.', 'e', 'E']) {
            return Self::parse_float(text);
        }
        text.parse()
            .map(Self::Signed)
            .or_else(|_| text.parse().map(Self::Unsigned))
            .ok()
    }

    /// Parses a JSON number, `true` as 1, or `false` as 0. An integer that needs more than 64 bits is rounded to a float. `None` for
    /// other text, and for numbers outside of the range of `f64`.
    pub fn of_value(text: &str) -> Option<Self> {
        match text.as_bytes() {
            b"true" => Some(Self::Signed(1)),
            b"false" => Some(Self::Signed(0)),
            [b'-' | b'0'..=b'9', ..] => Self::parse(text).or_else(|| Self::parse_float(text)),
            _ => None,
        }
    }

    fn parse_float(text: &str) -> Option<Self> {
        text.parse()
            .ok()
            .filter(|float: &f64| float.is_finite())
            .map(Self::Float)
    }

    /// Returns the number of an integer. `None` if it needs more than 64 bits.
    fn from_integer(integer: i128) -> Option<Self> {
        let signed = i64::try_from(integer).map(Self::Signed);
        signed
            .or_else(|_| u64::try_from(integer).map(Self::Unsigned))
            .ok()
    }

    /// Returns the sum. It is a float if one of the two is a float, and `None` if the result type cannot represent it.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        match (self.integer(), other.integer()) {
            (Some(one), Some(two)) => Self::from_integer(one + two),
            _ => Some(self.to_float() + other.to_float())
                .filter(|sum| sum.is_finite())
                .map(Self::Float),
        }
    }

    fn integer(self) -> Option<i128> {
        match self {
            Self::Signed(integer) => Some(integer.into()),
            Self::Unsigned(integer) => Some(integer.into()),
            Self::Float(_) => None,
        }
    }

    fn to_float(self) -> f64 {
        match self {
            Self::Signed(integer) => integer as f64,
            Self::Unsigned(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

/// Compares an integer with a finite float without rounding the integer.
fn compare_integer(integer: i128, float: f64) -> Ordering {
    if float >= ABOVE_INTEGERS {
        return Ordering::Less;
    }
    if float <= -ABOVE_INTEGERS {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    integer
        .cmp(&(whole as i128))
        .then_with(|| whole.total_cmp(&float))
}

impl Ord for JsonNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Some(one), Some(two)) => one.cmp(&two),
            (Some(integer), None) => compare_integer(integer, other.to_float()),
            (None, Some(integer)) => compare_integer(integer, self.to_float()).reverse(),
            // Both are finite, so they have an order. It makes 0.0 and -0.0 equal.
            (None, None) => self
                .to_float()
                .partial_cmp(&other.to_float())
                .unwrap_or(Ordering::Equal),
        }
    }
}

impl PartialOrd for JsonNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for JsonNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for JsonNumber {}

/// Writes the number as JSON. A float has a point or an exponent.
impl fmt::Display for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(integer) => integer.fmt(f),
            Self::Unsigned(integer) => integer.fmt(f),
            // `Debug` of a float is the shortest text that reads as the same float.
            Self::Float(float) => write!(f, "{float:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> JsonNumber {
        JsonNumber::parse(text).expect(text)
    }

    #[test]
    fn text_that_is_no_number_or_needs_more_bits_is_refused() {
        for text in [
            "",
            "true",
            "\"1\"",
            "inf",
            "NaN",
            "+1",
            "1e999",
            "-1e999",
            "18446744073709551616",
            "-9223372036854775809",
        ] {
            assert!(JsonNumber::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_value_is_a_number_in_more_cases() {
        let value = |text| JsonNumber::of_value(text).map(|number| number.to_string());
        assert_eq!(value("true").as_deref(), Some("1"));
        assert_eq!(value("false").as_deref(), Some("0"));
        assert_eq!(
            value("18446744073709551616").as_deref(),
            Some("1.8446744073709552e19")
        );
        for text in ["null", "\"1\"", "1e999", "inf", "[1]"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn equality_is_exact_across_integers_and_floats() {
        for (one, two) in [
            ("1", "1.0"),
            ("0", "-0.0"),
            ("-0", "0"),
            ("1e3", "1000"),
            ("18446744073709549568", "18446744073709549568.0"),
        ] {
            assert_eq!(number(one), number(two));
        }
        // The float nearest to the integer is another number.
        assert_ne!(number("9007199254740993"), number("9007199254740993.0"));
        assert_ne!(number("18446744073709551615"), number("18446744073709551615.0"));
    }

    #[test]
    fn the_order_is_that_of_the_values() {
        let ascending = [
            "-1e300",
            "-9223372036854775808",
            "-1.5",
            "-1",
            "-0.5",
            "0",
            "0.5",
            "1",
            "1.5",
            "9007199254740992.0",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616.0",
            "1e300",
        ];
        for pair in ascending.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
            assert!(number(pair[1]) > number(pair[0]), "{pair:?}");
        }
    }

    #[test]
    fn a_sum_is_exact_or_missing() {
        let sum = |one, two| JsonNumber::checked_add(number(one), number(two)).map(|sum| sum.to_string());
        assert_eq!(
            sum("9223372036854775807", "1").as_deref(),
            Some("9223372036854775808")
        );
        assert_eq!(
            sum("18446744073709551615", "-9223372036854775808").as_deref(),
            Some("9223372036854775807")
        );
        assert_eq!(sum("18446744073709551615", "1"), None);
        assert_eq!(sum("-9223372036854775808", "-1"), None);
        assert_eq!(sum("1", "0.5").as_deref(), Some("1.5"));
        assert_eq!(sum("1.0", "1").as_deref(), Some("2.0"));
        assert_eq!(sum("1e308", "1e308"), None);
    }

    #[test]
    fn what_is_written_reads_as_the_same_number() {
        for (text, written) in [
            ("-0.0", "-0.0"),
            ("1e3", "1000.0"),
            ("1E300", "1e300"),
            ("2.50", "2.5"),
            ("1e-7", "1e-7"),
        ] {
            assert_eq!(number(text).to_string(), written);
            assert_eq!(number(written), number(text));
        }
    }
}
