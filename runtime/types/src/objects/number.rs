//! Numbers in shared memory: their types and the operations on them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Type of the numbers of a value or an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    /// 8 bits, signed.
    I8,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// 8 bits, unsigned.
    U8,
    /// 16 bits, unsigned.
    U16,
    /// 32 bits, unsigned.
    U32,
    /// 64 bits, unsigned.
    U64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
}

impl NumberType {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F32,
        Self::F64,
    ];

    /// Returns the code by which the guest ABI names the type, from 1. A code never changes.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// Returns the type with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the name, such as `i64`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Returns the bytes of a number of this type, which are also its alignment.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Returns whether the type is a float.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

impl fmt::Display for NumberType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An atomic operation on a number in shared memory.
///
/// [`Load`](Self::Load) returns the number, and [`Store`](Self::Store) returns 0. All others return the number that was there
/// before. Integers wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberOperation {
    /// Reads the number.
    Load = 0,
    /// Writes the first argument.
    Store = 1,
    /// Writes the first argument.
    Swap = 2,
    /// Adds the first argument.
    Add = 3,
    /// Subtracts the first argument.
    Sub = 4,
    /// Writes the first argument if it is smaller.
    Min = 5,
    /// Writes the first argument if it is larger.
    Max = 6,
    /// Keeps the bits that are set in the first argument. Integers only.
    And = 7,
    /// Sets the bits that are set in the first argument. Integers only.
    Or = 8,
    /// Inverts the bits that are set in the first argument. Integers only.
    Xor = 9,
    /// Writes the second argument if the number equals the first. Floats are compared by their bits.
    CompareAndSwap = 10,
}

impl NumberOperation {
    /// All operations, in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::Load,
        Self::Store,
        Self::Swap,
        Self::Add,
        Self::Sub,
        Self::Min,
        Self::Max,
        Self::And,
        Self::Or,
        Self::Xor,
        Self::CompareAndSwap,
    ];

    /// Returns the code by which the guest ABI names the operation, from 0. A code never changes.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Returns the operation with this code.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// Returns whether floats have the operation.
    #[must_use]
    pub const fn has_floats(self) -> bool {
        !matches!(self, Self::And | Self::Or | Self::Xor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_types_and_operations_are_stable() {
        for (index, kind) in NumberType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.code()), index + 1);
            assert_eq!(NumberType::from_code(kind.code()), Some(kind));
        }
        assert_eq!(NumberType::from_code(0), None);
        for (index, operation) in NumberOperation::ALL.into_iter().enumerate() {
            assert_eq!(operation.code(), i32::try_from(index).unwrap());
            assert_eq!(NumberOperation::from_code(operation.code()), Some(operation));
        }
        assert_eq!(NumberOperation::from_code(-1), None);
        assert_eq!(NumberOperation::from_code(11), None);
    }

    #[test]
    fn a_name_says_how_many_bits_a_number_has() {
        for kind in NumberType::ALL {
            assert_eq!(kind.as_str()[1..], (8 * kind.size()).to_string());
            assert_eq!(kind.as_str().starts_with('f'), kind.is_float());
        }
    }
}
