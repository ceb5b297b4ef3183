//! Sizes and JSON args as people write them on the command line.

use std::str::FromStr;

use bytesize::ByteSize;
use mpwasm::json_error;
use serde_json::value::RawValue;

/// A number of bytes: `4096`, `64k` (thousands), `256MiB` (powers of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    ByteSize::from_str(text.trim())
        .map(|size| size.as_u64())
        .map_err(|error| format!("{error}; write bytes, or a size such as 64KiB or 1.5GiB"))
}

/// A number of bytes for people.
pub fn display_size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// The args of one task as the user wrote them: the text of a JSON array.
#[derive(Clone, Debug)]
pub struct JsonArgs(pub Box<RawValue>);

impl FromStr for JsonArgs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let args: Box<RawValue> = serde_json::from_str(text).map_err(|error| json_error(&error))?;
        if !args.get().starts_with('[') {
            return Err("it is JSON, but no array: write the args in brackets, as in '[1, \"two\"]'".into());
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
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "MiB", "1 furlong"] {
            assert!(size(text).is_err(), "{text:?}");
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
        assert_eq!(refusal, "expected `,` or `]` at column 4");
    }
}
