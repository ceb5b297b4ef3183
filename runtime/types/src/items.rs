//! Encodes the args of a chunk's items: one after another, each after its length.

/// Bytes of the length before an item.
pub const HEADER: usize = 4;

/// Appends one item's args.
///
/// # Panics
/// Panics if they are larger than 4 GiB. The bounds in [`crate::settings`] are far below.
pub fn put(bytes: &mut Vec<u8>, args: &[u8]) {
    let len = u32::try_from(args.len()).expect("args are capped far below 4 GiB");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(args);
}

/// Returns the first item's args and the remaining items. `None` if there is no item or the bytes are malformed.
#[must_use]
pub fn split_first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<HEADER>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// Iterates over each item's args, up to the first malformed one.
pub fn iter(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (first, rest) = split_first(bytes)?;
        bytes = rest;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_round_trip() {
        let args: [&[u8]; 4] = [b"[1]", b"", b"[\"two\",2]", &[b'x'; 300]];
        let mut bytes = Vec::new();
        args.iter().for_each(|args| put(&mut bytes, args));
        assert_eq!(iter(&bytes).collect::<Vec<_>>(), args);
        assert_eq!(split_first(b""), None);
    }

    #[test]
    fn malformed_bytes_have_no_items() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"[1]");
        for len in 0..bytes.len() {
            assert_eq!(iter(&bytes[..len]).count(), 0);
        }
        assert_eq!(iter(&u32::MAX.to_le_bytes()).count(), 0);
    }
}
