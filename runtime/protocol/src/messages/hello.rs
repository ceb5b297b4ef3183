//! The first frame of each child: the version of its protocol and its build, which the process that started it checks.

use mpwasm_types::bounded;
use serde::{Deserialize, Serialize};

use crate::channel::ReceiveError;
use crate::frame::{FrameError, decode, decode_prefix};

/// Longest version or build in a child's handshake. Both are short, and a refused one is shown.
const MAX_HELLO: usize = 128;

/// Version of the protocol between the processes of a pool.
///
/// Both sides must agree on all of these:
///
/// - the header of a frame, and how a message is encoded in it;
/// - each message: its fields, their order and types, and what they mean;
/// - the largest frame per direction, and the bound of each text and list;
/// - which file descriptors travel with which message, and in which order;
/// - the layout of the shared page, and which transitions of a slot each side makes;
/// - the order of messages from the hello to the last one.
///
/// The first commit after a release that changes any of these raises it by one. A commit that changes the encoding of a
/// message also changes the seeds in `fuzz/corpus`. Artifacts and code pointers depend on more than the protocol, so
/// [`Hello::build`] shows whether both sides are the same build.
pub const PROTOCOL_VERSION: u32 = 2;

/// The protocol and the build of a child.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The [`PROTOCOL_VERSION`]. Always the first field: it is decoded before the others, which another version may have
    /// changed.
    pub protocol: u32,
    /// The version of mpwasm.
    #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_HELLO>")]
    pub version: &'a str,
    /// A hash of the sources of all crates whose processes exchange messages.
    #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_HELLO>")]
    pub build: &'a str,
}

/// Reports why a child can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It ended before its hello, or sent something else.
    #[error("it did not say hello: {0}")]
    Silent(#[from] ReceiveError),
    /// It has another version of the protocol.
    #[error(
        "it has version {theirs} of the protocol between processes; this process has version {ours}: both must be the same \
         build of mpwasm"
    )]
    OtherProtocol {
        /// The child's version.
        theirs: u32,
        /// This process's version.
        ours: u32,
    },
    /// It is another version or build of mpwasm.
    #[error("it is another build: {theirs}; this is {ours}")]
    OtherBuild {
        /// The child's version and build.
        theirs: String,
        /// This process's version and build.
        ours: String,
    },
}

impl From<FrameError> for HelloError {
    fn from(error: FrameError) -> Self {
        Self::Silent(error.into())
    }
}

impl Hello<'static> {
    /// Returns the hello of this build.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            build: env!("MPWASM_BUILD"),
        }
    }
}

impl Hello<'_> {
    /// Checks the first frame of a child.
    ///
    /// # Errors
    /// When it is no hello, or comes from another version of the protocol or another build.
    pub fn check(frame: &[u8]) -> Result<(), HelloError> {
        let ours = Hello::ours();
        let protocol: u32 = decode_prefix(frame)?;
        if protocol != ours.protocol {
            return Err(HelloError::OtherProtocol {
                theirs: protocol,
                ours: ours.protocol,
            });
        }
        let theirs: Hello<'_> = decode(frame)?;
        if theirs == ours {
            return Ok(());
        }
        let name = |hello: &Hello<'_>| format!("{} ({})", hello.version, hello.build);
        Err(HelloError::OtherBuild {
            theirs: name(&theirs),
            ours: name(&ours),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::encode;

    #[test]
    fn the_own_build_is_accepted() {
        Hello::check(&encode(&Hello::ours())).unwrap();
    }

    #[test]
    fn another_protocol_is_named_whatever_else_its_hello_holds() {
        let theirs = PROTOCOL_VERSION + 1;
        for frame in [
            encode(&Hello {
                protocol: theirs,
                ..Hello::ours()
            }),
            encode(&(theirs, "fields of another version", 7_u64, [true; 9])),
            encode(&theirs),
        ] {
            let error = Hello::check(&frame).unwrap_err();
            assert!(
                matches!(error, HelloError::OtherProtocol { theirs: told, ours: PROTOCOL_VERSION } if told == theirs),
                "{error}"
            );
        }
    }

    #[test]
    fn another_build_of_the_same_protocol_is_named() {
        let other = Hello {
            build: "another",
            ..Hello::ours()
        };
        let error = Hello::check(&encode(&other)).unwrap_err();
        assert!(matches!(&error, HelloError::OtherBuild { .. }), "{error}");
        assert!(error.to_string().contains("(another)"), "{error}");
    }

    #[test]
    fn what_is_no_hello_is_refused() {
        for frame in [&[][..], &[0xff; 20], &[PROTOCOL_VERSION as u8]] {
            assert!(
                matches!(Hello::check(frame), Err(HelloError::Silent(_))),
                "{frame:?}"
            );
        }
    }
}
