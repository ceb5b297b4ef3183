//! Decodes texts and lists with a bound on their length, for `#[serde(deserialize_with = "...")]`.
//!
//! A length over its bound is rejected before anything is allocated for it. These functions decode every text and list from a
//! process of lower trust, with two exceptions: fields that are borrowed from their frame and never copied, and a failure's
//! data, which is never larger than its frame.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Longest warning, reason or event that a process sends about itself or a guest. It has one or two sentences, which may quote
/// [`MAX_DISPLAYED_ERROR`](crate::escape::MAX_DISPLAYED_ERROR) characters, each escaped as ten bytes.
pub const MAX_NOTE: usize = 16 << 10;

/// Decodes a text of at most `MAX` bytes.
pub fn text<'de, D: Deserializer<'de>, const MAX: usize>(deserializer: D) -> Result<String, D::Error> {
    Text::<MAX>::deserialize(deserializer).map(|text| text.0)
}

/// Decodes an optional text of at most `MAX` bytes.
pub fn optional_text<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<Text<MAX>>::deserialize(deserializer)?.map(|text| text.0))
}

/// Decodes a text of at most `MAX` bytes, borrowed from its frame.
pub fn borrowed_text<'de: 'a, 'a, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<&'a str, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    check(text.len(), MAX)?;
    Ok(text)
}

/// Decodes at most `MAX` bytes, borrowed from their frame.
pub fn borrowed_bytes<'de: 'a, 'a, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<&'a [u8], D::Error> {
    let bytes: &[u8] = serde_bytes::deserialize(deserializer)?;
    check(bytes.len(), MAX)?;
    Ok(bytes)
}

/// Decodes a list of at most `MAX` elements.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    collect::<D, T, T, MAX>(deserializer, |element| element)
}

/// Decodes a list of at most `COUNT` texts, each of at most `MAX` bytes.
pub fn texts<'de, D: Deserializer<'de>, const COUNT: usize, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    collect::<D, Text<MAX>, String, COUNT>(deserializer, |text| text.0)
}

/// Decodes a list of at most `COUNT` pairs of texts, each text of at most `MAX` bytes.
pub fn pairs<'de, D: Deserializer<'de>, const COUNT: usize, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    collect::<D, (Text<MAX>, Text<MAX>), _, COUNT>(deserializer, |(first, second)| (first.0, second.0))
}

/// Returns the longest beginning of `text` that has at most `max` bytes and ends between two characters.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn check<E: Error>(len: usize, max: usize) -> Result<(), E> {
    if len > max {
        return Err(E::custom(format_args!(
            "a length of {len}; at most {max} is allowed"
        )));
    }
    Ok(())
}

/// A decoded text of at most `MAX` bytes.
struct Text<const MAX: usize>(String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText<const MAX: usize>;

        impl<const MAX: usize> Visitor<'_> for OfText<MAX> {
            type Value = Text<MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text of at most {MAX} bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                check(text.len(), MAX)?;
                Ok(Text(text.to_owned()))
            }
        }

        deserializer.deserialize_str(OfText)
    }
}

/// Decodes a list of at most `MAX` elements `E`, each of which becomes a `T`.
fn collect<'de, D: Deserializer<'de>, E: Deserialize<'de>, T, const MAX: usize>(
    deserializer: D,
    make: fn(E) -> T,
) -> Result<Vec<T>, D::Error> {
    struct OfList<E, T, const MAX: usize> {
        make: fn(E) -> T,
        element: PhantomData<E>,
    }

    impl<'de, E: Deserialize<'de>, T, const MAX: usize> Visitor<'de> for OfList<E, T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
            // The announced length is checked before anything is decoded. Elements are allocated as they come.
            check(elements.size_hint().unwrap_or(0), MAX)?;
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                check(list.len() + 1, MAX)?;
                list.push((self.make)(element));
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(OfList::<E, T, MAX> {
        make,
        element: PhantomData,
    })
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    /// One field of each kind.
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Message<'a> {
        #[serde(deserialize_with = "text::<_, 4>")]
        text: String,
        #[serde(deserialize_with = "optional_text::<_, 4>")]
        optional: Option<String>,
        #[serde(deserialize_with = "borrowed_text::<_, 4>")]
        borrowed: &'a str,
        #[serde(
            serialize_with = "serde_bytes::serialize",
            deserialize_with = "borrowed_bytes::<_, 4>"
        )]
        bytes: &'a [u8],
        #[serde(deserialize_with = "list::<_, _, 2>")]
        numbers: Vec<u64>,
        #[serde(deserialize_with = "texts::<_, 2, 4>")]
        texts: Vec<String>,
        #[serde(deserialize_with = "pairs::<_, 2, 4>")]
        pairs: Vec<(String, String)>,
    }

    fn is_accepted(message: &Message<'_>) -> bool {
        let bytes = postcard::to_allocvec(message).unwrap();
        match postcard::from_bytes::<Message<'_>>(&bytes) {
            Ok(decoded) => {
                assert_eq!(decoded, *message);
                true
            }
            Err(error) => {
                assert_eq!(error, postcard::Error::SerdeDeCustom);
                false
            }
        }
    }

    #[test]
    fn each_field_accepts_its_bound_and_rejects_more() {
        let (most, long) = ("1234".to_owned(), "12345".to_owned());
        assert!(is_accepted(&Message {
            text: most.clone(),
            optional: Some(most.clone()),
            borrowed: &most,
            bytes: b"1234",
            numbers: vec![1, 2],
            texts: vec![most.clone(), most.clone()],
            pairs: vec![(most.clone(), most.clone()); 2],
        }));
        let too_much = [
            Message {
                text: long.clone(),
                ..Message::default()
            },
            Message {
                optional: Some(long.clone()),
                ..Message::default()
            },
            Message {
                borrowed: &long,
                ..Message::default()
            },
            Message {
                bytes: b"12345",
                ..Message::default()
            },
            Message {
                numbers: vec![0; 3],
                ..Message::default()
            },
            Message {
                texts: vec![String::new(); 3],
                ..Message::default()
            },
            Message {
                texts: vec![long.clone()],
                ..Message::default()
            },
            Message {
                pairs: vec![(String::new(), String::new()); 3],
                ..Message::default()
            },
            Message {
                pairs: vec![(most, long.clone())],
                ..Message::default()
            },
        ];
        for message in &too_much {
            assert!(!is_accepted(message), "{message:?}");
        }
    }

    #[test]
    fn a_count_over_its_bound_is_rejected_even_without_elements() {
        let bytes = postcard::to_allocvec(&(u64::MAX, 0_u8)).unwrap();
        let mut deserializer = postcard::Deserializer::from_bytes(&bytes);
        assert!(list::<_, u64, 1000>(&mut deserializer).is_err());
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("aé", 2), "a");
    }
}
