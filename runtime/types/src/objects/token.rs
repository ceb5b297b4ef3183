//! The unguessable number that gives access to an object.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Gives access to an object of one manager to whoever has it: 128 random bits.
///
/// Its [`Debug`](fmt::Debug) form has no digits, so that a token does not get into logs. It is 32 hexadecimal digits in JSON, and 16
/// bytes in messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::SIZE]);

/// Reports a text that is not a token. It does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 32 hexadecimal digits, in lower case")]
pub struct TokenError;

impl Token {
    /// Bytes of a token.
    pub const SIZE: usize = 16;

    /// Creates a token from 16 bytes, which must come from the kernel's random numbers.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, in the order of the digits.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.0
    }

    /// Returns the 32 digits. A token has no `Display`, so that writing one is a decision.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 2 * Self::SIZE || !text.bytes().all(is_digit) {
            return Err(TokenError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| TokenError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            <[u8; Self::SIZE]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_token_is_hexadecimal_in_json_and_bytes_in_messages() {
        let token: Token = HEX.parse().unwrap();
        assert_eq!(token.to_bytes()[..3], [0x00, 0x11, 0x22]);
        let json = serde_json::to_string(&token).unwrap();
        assert_eq!(json, format!("\"{HEX}\""));
        assert_eq!(serde_json::from_str::<Token>(&json).unwrap(), token);
        let bytes = postcard::to_allocvec(&token).unwrap();
        assert_eq!(bytes, token.to_bytes());
        assert_eq!(postcard::from_bytes::<Token>(&bytes).unwrap(), token);
    }

    #[test]
    fn neither_debug_output_nor_an_error_shows_digits() {
        let token: Token = HEX.parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        let error = "ff".parse::<Token>().unwrap_err();
        assert!(!error.to_string().contains("ff"), "{error}");
    }

    #[test]
    fn other_texts_are_no_tokens() {
        for text in [
            "",
            "+0112233445566778899aabbccddeeff",
            "00112233445566778899AABBCCDDEEFF",
            &HEX[1..],
        ] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
    }
}
