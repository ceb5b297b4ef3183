//! Parses and formats sizes and JSON args of the command line.

use std::num::IntErrorKind;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use bytesize::ByteSize;
use mpwasm_types::task_line::json_error;
use serde_json::value::RawValue;

/// Parses a number of bytes: `4096`, `64k` (thousands), `256MiB` (powers of 1024).
pub fn size(text: &str) -> Result<u64> {
    let text = text.trim();
    if is_too_large(text) {
        bail!(
            "it is larger than the largest size, {} bytes (just below 16EiB)",
            u64::MAX
        );
    }
    ByteSize::from_str(text)
        .map(|size| size.as_u64())
        .map_err(|error| anyhow!("{error}; write bytes, or a size such as 64KiB or 1.5GiB"))
}

/// Returns whether a size has more than 64 bits. [`ByteSize`] parses most of these as the largest size.
fn is_too_large(size: &str) -> bool {
    /// 2^64: the first number of bytes that is too large.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let unit_at = size.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = size.split_at(unit_at.unwrap_or(size.len()));
    let Ok(factor) = ByteSize::from_str(&format!("1{unit}")) else {
        return false;
    };
    if number.contains('.') {
        #[expect(
            clippy::cast_precision_loss,
            reason = "powers of 1000 and 1024 up to 2^60 are exact"
        )]
        let factor = factor.as_u64() as f64;
        return number.parse().is_ok_and(|number: f64| number * factor >= LIMIT);
    }
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor.as_u64()).is_none(),
        Err(error) => *error.kind() == IntErrorKind::PosOverflow,
    }
}

/// Formats a number of bytes, with a binary unit.
pub fn display_size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// The args of a task: the text of a JSON array, unchanged.
#[derive(Clone, Debug)]
pub struct JsonArgs(pub Box<RawValue>);

impl FromStr for JsonArgs {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let args: Box<RawValue> = serde_json::from_str(text).map_err(|error| anyhow!(json_error(&error)))?;
        if !args.get().starts_with('[') {
            bail!("it is JSON, but no array: write the args in brackets, as in '[1, \"two\"]'");
        }
        Ok(Self(args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_thousands_or_powers_of_1024() {
        let written = [
            ("0", 0),
            ("4096", 4096),
            ("64k", 64_000),
            ("64KiB", 65_536),
            ("256MiB", 256 << 20),
            ("1.5 GiB", 3 << 29),
            ("1MB", 1_000_000),
        ];
        for (text, bytes) in written {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "-1", "MiB", "1 furlong"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_size_beyond_64_bits_is_refused() {
        let largest = [
            ("18446744073709551615", u64::MAX),
            ("18446744073709551615B", u64::MAX),
            ("15EiB", 15 << 60),
            ("15.5EiB", 31 << 59),
            ("18EB", 18_000_000_000_000_000_000),
        ];
        for (text, bytes) in largest {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        let beyond = [
            "18446744073709551616",
            "18446744073709551616B",
            "99999999999TiB",
            "16EiB",
            "16.0EiB",
            "16 EiB",
            "19EB",
            "18446744073709551.7kB",
            "999999999999999999999999999999999999999999k",
        ];
        for text in beyond {
            let why = size(text).unwrap_err().to_string();
            assert!(why.contains("16EiB"), "{text}: {why}");
        }
    }

    #[test]
    fn args_are_the_text_of_a_json_array() {
        assert_eq!(
            "[1,  {\"a\": 2}]".parse::<JsonArgs>().unwrap().0.get(),
            "[1,  {\"a\": 2}]"
        );
        for text in ["", "{}", "1", "\"[]\"", "[1", "[1] 2"] {
            assert!(text.parse::<JsonArgs>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_json_error_names_the_column_only() {
        let refusal = "[1 2]".parse::<JsonArgs>().unwrap_err();
        assert_eq!(refusal.to_string(), "expected `,` or `]` at column 4");
    }
}
