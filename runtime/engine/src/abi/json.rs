//! Results and errors that guests return: JSON or text, checked and bounded.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use mpwasm_types::json::MAX_JSON_DEPTH;
use mpwasm_types::json::{into_line, one_line};
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::outcome::{Failure, Kind};

/// Largest size of a guest's own message, 64 KiB. A guest with more to say returns JSON, which is not cut.
const MAX_MESSAGE: usize = 64 << 10;

/// Returns the result of a `runnable` that returned `code` and wrote `output`.
pub(crate) fn result(code: i32, output: &mut Vec<u8>) -> Result<String, Failure> {
    if code != 0 {
        return Err(reported(code, output));
    }
    if output.is_empty() {
        return Ok("null".into());
    }
    let line = if output.len() < LARGE_PAYLOAD {
        // A copy, so that the buffer can serve the next call.
        one_line(output, MAX_JSON_DEPTH).map(Cow::into_owned)
    } else {
        into_line(std::mem::take(output), MAX_JSON_DEPTH)
    };
    line.map_err(|error| Failure::new(Kind::Error, format!("the result is {error}")))
}

/// Returns the result of an export without one (`callback`, `error_callback`, `tasks`) that returned `code`: `null`.
pub(crate) fn no_result(code: i32, output: &[u8]) -> Result<String, Failure> {
    match code {
        0 => Ok("null".into()),
        _ => Err(reported(code, output)),
    }
}

/// An error that a guest reports with a message and data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageAndData<'a> {
    message: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Returns the failure that a guest reported. A JSON string or plain text is its message. An object of exactly `message` (a
/// string) and `data` is both. Any other JSON is its data.
fn reported(code: i32, output: &[u8]) -> Failure {
    let bare = || format!("the guest returned {code}");
    if output.is_empty() {
        return Failure::new(Kind::Error, bare());
    }
    match one_line(output, MAX_JSON_DEPTH) {
        Ok(line) => match serde_json::from_str::<String>(&line) {
            Ok(text) => Failure::new(Kind::Error, truncate(text)),
            // A string that is valid JSON but not valid text (a lone surrogate) is shown as it was written.
            Err(_) if line.starts_with('"') => Failure::new(Kind::Error, truncate(line.into_owned())),
            Err(_) => match serde_json::from_str::<MessageAndData<'_>>(&line) {
                Ok(MessageAndData { message, data }) => Failure {
                    data: Some(data.get().to_owned()),
                    ..Failure::new(Kind::Error, truncate(message))
                },
                Err(_) => Failure {
                    data: Some(line.into_owned()),
                    ..Failure::new(Kind::Error, bare())
                },
            },
        },
        Err(_) => Failure::new(Kind::Error, message(output)),
    }
}

/// Returns a guest's message as text. Invalid UTF-8 is replaced, and the text is cut at [`MAX_MESSAGE`].
pub(crate) fn message(bytes: &[u8]) -> String {
    // Decode little more than is kept.
    let head = &bytes[..bytes.len().min(MAX_MESSAGE + 4)];
    let text = truncate(String::from_utf8_lossy(head).into_owned());
    if head.len() < bytes.len() && !text.ends_with(CUT) {
        return text + CUT;
    }
    text
}

/// Stands at the end of a text that was cut.
const CUT: &str = " [cut]";

/// Cuts a text at [`MAX_MESSAGE`].
pub(crate) fn truncate(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::call::Export;
    use crate::config::EngineRole;
    use crate::testing::{Rig, ended, guest, runnable, settings};
    use mpwasm_types::engine_settings::EngineSettings;

    /// How a `runnable` ends that outputs `output` and returns `code`.
    fn returned(code: i32, output: &[u8]) -> Result<String, Failure> {
        let data: String = output.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let wat = guest(&format!(
            "(data (i32.const 0) \"{data}\")
             (func (export \"runnable\") (result i32)
               (call $output_write (i32.const 0) (i32.const {})) (i32.const {code}))",
            output.len()
        ));
        Rig::new(&wat).call(Export::Runnable, "[]").result
    }

    fn refused(output: &[u8]) -> String {
        let failure = returned(0, output).expect_err("this is no result");
        assert_eq!(failure.kind, Kind::Error);
        failure.message
    }

    #[test]
    fn a_result_is_one_line_of_json() {
        assert_eq!(
            returned(0, b"{\n \"a\" : 1e999\n}").as_deref(),
            Ok("{\"a\":1e999}")
        );
    }

    #[test]
    fn a_result_that_is_not_json_is_an_error_that_says_why() {
        assert_eq!(refused(b"[1,\"\xff\"]"), "the result is not UTF-8 at byte 4");
        assert!(refused(b"hello").starts_with("the result is not JSON: expected value at line 1"));
        assert!(refused(b"\"a\nb\"").contains("control character"));
        assert_eq!(
            refused(&[b'['; 200]),
            "the result is JSON nested deeper than 128 at byte 128"
        );
    }

    #[test]
    fn a_result_that_is_nested_a_million_deep_is_an_error() {
        let settings = EngineSettings {
            memory: 4 << 20,
            max_result: 4 << 20,
            ..settings()
        };
        let wat = runnable(
            "(drop (memory.grow (i32.const 32)))
             (memory.fill (i32.const 0) (i32.const 0x5b) (i32.const 1000000))
             (memory.fill (i32.const 1000000) (i32.const 0x5d) (i32.const 1000000))
             (call $output_write (i32.const 0) (i32.const 2000000)) (i32.const 0)",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        let failure = ended(Kind::Error, rig.call(Export::Runnable, "[]"));
        assert!(failure.message.contains("nested deeper than 128"));
    }

    #[test]
    fn what_a_failed_guest_returned_is_its_message_or_its_data() {
        let failed = |output: &[u8]| {
            let failure = returned(3, output).expect_err("it returned 3");
            assert_eq!(failure.kind, Kind::Error);
            (failure.message, failure.data)
        };
        let bare = || "the guest returned 3".to_owned();
        assert_eq!(failed(b""), (bare(), None));
        assert_eq!(failed(b" \"quoted \\u00e4\" "), ("quoted ä".to_owned(), None));
        assert_eq!(failed(b"plain text"), ("plain text".to_owned(), None));
        assert_eq!(failed(b"{\"a\":\n[1]}"), (bare(), Some("{\"a\":[1]}".to_owned())));
        assert_eq!(failed(b"null"), (bare(), Some("null".to_owned())));
        let both = br#"{"data": [1], "message": "taken"}"#;
        assert_eq!(failed(both), ("taken".to_owned(), Some("[1]".to_owned())));
        // Data that only resembles it stays what it is.
        for data in [
            r#"{"message":"taken"}"#,
            r#"{"message":1,"data":2}"#,
            r#"{"message":"a","data":1,"x":2}"#,
        ] {
            assert_eq!(failed(data.as_bytes()), (bare(), Some(data.to_owned())));
        }
        assert_eq!(failed(b"\"\\ud800\""), ("\"\\ud800\"".to_owned(), None));
        assert_eq!(failed(b"\xff!"), ("\u{fffd}!".to_owned(), None));
        assert_eq!(failed(&[b'['; 200]).0.len(), 200);
    }
}
