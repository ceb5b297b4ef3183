//! What the guest ABI says about an object, in one number.

use super::number::NumberType;
use super::spec::{ObjectKind, ObjectSpec};

/// What an object is, as a guest sees it.
///
/// In the number that the ABI's `object_info` returns, bits 0 to 7 are the code of the kind, bits 8 to 15 the code of the number
/// type or 0, and bits 16 to 47 the count of numbers: the length of an array, 1 for a value, otherwise 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// What the object is.
    pub kind: ObjectKind,
    /// The type of its numbers, for a value or an array.
    pub number: Option<NumberType>,
    /// The count of its numbers.
    pub count: u32,
}

impl ObjectInfo {
    /// Returns the info in one number, which is positive.
    #[must_use]
    pub fn pack(self) -> i64 {
        let number = self.number.map_or(0, NumberType::code);
        i64::from(self.kind.code()) | i64::from(number) << 8 | i64::from(self.count) << 16
    }

    /// Reads what [`pack`](Self::pack) wrote. Returns `None` for any other number.
    #[must_use]
    pub fn unpack(packed: i64) -> Option<Self> {
        let [kind, number, count @ .., 0, 0] = packed.to_le_bytes() else {
            return None;
        };
        let number = match number {
            0 => None,
            code => Some(NumberType::from_code(code)?),
        };
        Some(Self {
            kind: ObjectKind::from_code(kind)?,
            number,
            count: u32::from_le_bytes(count),
        })
    }
}

impl From<ObjectSpec> for ObjectInfo {
    fn from(spec: ObjectSpec) -> Self {
        let numbers = spec.numbers();
        Self {
            kind: spec.kind(),
            number: numbers.map(|(kind, _)| kind),
            count: numbers.map_or(0, |(_, count)| count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_tells_its_type_and_length() {
        let info = ObjectInfo::from("array:f64:10".parse::<ObjectSpec>().unwrap());
        assert_eq!(info.pack(), 0x000a_0a02);
        assert_eq!(ObjectInfo::unpack(info.pack()), Some(info));
        let lock = ObjectInfo::from(ObjectSpec::Lock);
        assert_eq!(lock.pack(), 3);
        assert_eq!(ObjectInfo::unpack(3), Some(lock));
    }

    #[test]
    fn the_largest_array_is_a_positive_number() {
        let info = ObjectInfo {
            kind: ObjectKind::Array,
            number: Some(NumberType::U8),
            count: u32::MAX,
        };
        assert!(info.pack() > 0);
        assert_eq!(ObjectInfo::unpack(info.pack()), Some(info));
    }

    #[test]
    fn other_numbers_are_no_info() {
        for packed in [0, -1, 0xff, 0x0b01, 1 << 48] {
            assert_eq!(ObjectInfo::unpack(packed), None, "{packed:#x}");
        }
    }
}
