//! Encodes argv and stdin of a command guest as the args of a task.
//!
//! The encoding is argv as one line of JSON, a newline, and stdin. The processes between the parent and the worker pass it on
//! unread, like the args of any task.

use serde_json::value::RawValue;

/// Longest `argv[0]`, bytes. The rest of a guest's name is cut.
const MAX_NAME: usize = 255;

/// Why the args of a task can't be those of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvocationError {
    /// An arg is not a string.
    #[error("the args of a command are strings, and one is not")]
    NotText,
    /// An arg contains a zero byte, with which argv can't have it.
    #[error("an argument of a command holds a zero byte")]
    ZeroByte,
}

/// Arguments and stdin of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation<'a> {
    /// The guest's name, and its arguments.
    pub argv: Vec<String>,
    /// The whole stdin.
    pub stdin: &'a [u8],
}

impl<'a> Invocation<'a> {
    /// Creates the invocation of a command from the args of a task, a JSON array.
    ///
    /// # Errors
    /// Fails if an arg is not a string, or contains a zero byte.
    pub fn new(name: &str, args: &RawValue, stdin: &'a [u8]) -> Result<Self, InvocationError> {
        let args: Vec<String> = serde_json::from_str(args.get()).map_err(|_| InvocationError::NotText)?;
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(InvocationError::ZeroByte);
        }
        let name = &name[..name.floor_char_boundary(MAX_NAME)];
        let mut argv = vec![name.replace('\0', "")];
        argv.extend(args);
        Ok(Self { argv, stdin })
    }

    /// Encodes the invocation for the worker.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.argv).expect("strings can be written as JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(self.stdin);
        bytes
    }

    /// Decodes the bytes of [`encode`](Self::encode). `None` for any other bytes.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        // JSON on one line has no newline of its own.
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        Some(Self {
            argv: serde_json::from_slice(&bytes[..end]).ok()?,
            stdin: &bytes[end + 1..],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_invocation_round_trips() {
        let args = args(r#"["a\nb","","\u00e4 \u001b\""]"#);
        let sent = Invocation::new("echo.wasm", &args, b"\xff\n\0").unwrap();
        assert_eq!(sent.argv, ["echo.wasm", "a\nb", "", "ä \u{1b}\""]);
        assert_eq!(Invocation::decode(&sent.encode()), Some(sent));
    }

    #[test]
    fn an_argument_is_a_string_without_zero_bytes() {
        for text in [
            "[1]",
            "[\"a\",null]",
            "[[\"a\"]]",
            r#"["\ud800"]"#,
            r#"["a\u0000b"]"#,
        ] {
            assert!(Invocation::new("x", &args(text), b"").is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = "ä".repeat(1000);
        let sent = Invocation::new(&name, &args("[]"), b"").unwrap();
        assert_eq!(sent.argv, ["ä".repeat(127)]);
    }

    #[test]
    fn malformed_bytes_are_not_decoded() {
        for bytes in [&b""[..], b"[]", b"\n", b"[1]\n"] {
            assert_eq!(Invocation::decode(bytes), None);
        }
    }
}
