//! Numbers in memory that tasks share.

use std::ops::{Bound, Range, RangeBounds};

use super::error::{ObjectError, ObjectErrorKind};
use super::lock::LockGuard;
use super::reference::{Info, Kind, Reference, Wait, proxy};
use crate::host;

/// The operations on a number, with their codes in the guest ABI.
#[derive(Clone, Copy)]
enum Operation {
    Load = 0,
    Store = 1,
    Swap = 2,
    Add = 3,
    Sub = 4,
    Min = 5,
    Max = 6,
    And = 7,
    Or = 8,
    Xor = 9,
    CompareAndSwap = 10,
}

mod sealed {
    /// A number type of the guest ABI.
    pub trait Sealed: Copy {
        /// The code of the type.
        const CODE: u8;
        /// The number 0.
        const ZERO: Self;

        /// Performs an operation on the number in shared memory, and returns the one that was there before.
        fn perform(object: i32, index: u32, operation: i32, a: Self, b: Self) -> Self;
        /// Returns whether two numbers have the same bits.
        fn same(self, other: Self) -> bool;
    }
}

use sealed::Sealed;

/// The type of the numbers of a [`Value`] or an [`Array`]: `i8` to `i64`, `u8` to `u64`, `f32` or `f64`.
pub trait Number: Sealed {}

/// The type of integers, which have operations on their bits.
pub trait Integer:
    Number + std::ops::BitAnd<Output = Self> + std::ops::BitOr<Output = Self> + std::ops::BitXor<Output = Self>
{
}

macro_rules! integers {
    ($($type:ident = $code:literal,)+) => {$(
        impl Sealed for $type {
            const CODE: u8 = $code;
            const ZERO: Self = 0;

            fn perform(object: i32, index: u32, operation: i32, a: Self, b: Self) -> Self {
                host::number_int(object, index, operation, a as i64, b as i64) as Self
            }
            fn same(self, other: Self) -> bool {
                self == other
            }
        }
        impl Number for $type {}
        impl Integer for $type {}
    )+};
}

macro_rules! floats {
    ($($type:ident = $code:literal,)+) => {$(
        impl Sealed for $type {
            const CODE: u8 = $code;
            const ZERO: Self = 0.0;

            fn perform(object: i32, index: u32, operation: i32, a: Self, b: Self) -> Self {
                host::number_float(object, index, operation, f64::from(a), f64::from(b)) as Self
            }
            fn same(self, other: Self) -> bool {
                self.to_bits() == other.to_bits()
            }
        }
        impl Number for $type {}
    )+};
}

/// The names of the types, in the order of their codes, from 1.
const TYPES: [&str; 10] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"];

integers! { i8 = 1, i16 = 2, i32 = 3, i64 = 4, u8 = 5, u16 = 6, u32 = 7, u64 = 8, }
floats! { f32 = 9, f64 = 10, }

proxy! {
    /// A number in memory that tasks share, as Python's `multiprocessing.Value`.
    ///
    /// Each operation is atomic, and needs no request: it takes some nanoseconds. So `add` of many tasks loses nothing, where
    /// `value += 1` in Python does. Integers wrap around.
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Value;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(total: Value<i64>) -> Result<(), Error> {
    /// for _ in 0..1000 {
    ///     total.add(1)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Value<N>, Value, "value"
}

proxy! {
    /// Numbers in memory that tasks share, as Python's `multiprocessing.Array`.
    ///
    /// Each operation on a number is atomic, and needs no request. One on several numbers is not atomic: hold the
    /// [`lock`](Self::lock).
    ///
    /// ```no_run
    /// use mpwasm_guest::objects::Array;
    /// # use mpwasm_guest::Error;
    ///
    /// # fn runnable(squares: Array<i32>) -> Result<(), Error> {
    /// for index in 0..squares.len()? {
    ///     let number = squares.load(index)?;
    ///     squares.store(index, number * number)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Array<N>, Array, "array"
}

/// Defines the operations on one number: of a value, or of an array at an index.
macro_rules! operations {
    ($($index:ident: $type:ty)?) => {
        /// Returns the number.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn load(&self $(, $index: $type)?) -> Result<N, ObjectError> {
            self.perform("load", $($index,)? Operation::Load, N::ZERO, N::ZERO)
        }

        /// Sets the number.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn store(&self $(, $index: $type)?, number: N) -> Result<(), ObjectError> {
            self.perform("store", $($index,)? Operation::Store, number, N::ZERO).map(drop)
        }

        /// Sets the number, and returns the one before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn swap(&self $(, $index: $type)?, number: N) -> Result<N, ObjectError> {
            self.perform("swap", $($index,)? Operation::Swap, number, N::ZERO)
        }

        /// Adds to the number, and returns the one before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn add(&self $(, $index: $type)?, number: N) -> Result<N, ObjectError> {
            self.perform("add", $($index,)? Operation::Add, number, N::ZERO)
        }

        /// Subtracts from the number, and returns the one before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn sub(&self $(, $index: $type)?, number: N) -> Result<N, ObjectError> {
            self.perform("sub", $($index,)? Operation::Sub, number, N::ZERO)
        }

        /// Sets the number to this one if this one is smaller, and returns the one before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn min(&self $(, $index: $type)?, number: N) -> Result<N, ObjectError> {
            self.perform("min", $($index,)? Operation::Min, number, N::ZERO)
        }

        /// Sets the number to this one if this one is larger, and returns the one before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn max(&self $(, $index: $type)?, number: N) -> Result<N, ObjectError> {
            self.perform("max", $($index,)? Operation::Max, number, N::ZERO)
        }

        /// Sets the number to `new` if it is `old`. Returns whether it was. Floats are compared by their bits.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn compare_and_swap(&self $(, $index: $type)?, old: N, new: N) -> Result<bool, ObjectError> {
            let before = self.perform("compare_and_swap", $($index,)? Operation::CompareAndSwap, old, new)?;
            Ok(before.same(old))
        }
    };
}

/// Defines the operations on the bits of an integer.
macro_rules! bit_operations {
    ($($index:ident: $type:ty)?) => {
        /// Keeps the bits that are set in `bits`, and returns the number before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn and(&self $(, $index: $type)?, bits: N) -> Result<N, ObjectError> {
            self.perform("and", $($index,)? Operation::And, bits, N::ZERO)
        }

        /// Sets the bits that are set in `bits`, and returns the number before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn or(&self $(, $index: $type)?, bits: N) -> Result<N, ObjectError> {
            self.perform("or", $($index,)? Operation::Or, bits, N::ZERO)
        }

        /// Inverts the bits that are set in `bits`, and returns the number before.
        ///
        /// # Errors
        /// If the object can't be used, or has no such index.
        pub fn xor(&self $(, $index: $type)?, bits: N) -> Result<N, ObjectError> {
            self.perform("xor", $($index,)? Operation::Xor, bits, N::ZERO)
        }
    };
}

impl<N: Number> Value<N> {
    operations! {}

    fn perform(&self, name: &str, operation: Operation, a: N, b: N) -> Result<N, ObjectError> {
        let (object, info) = self.reference.open(Self::KIND)?;
        check_type::<N>(&self.reference, Self::KIND, info, name)?;
        Ok(N::perform(object, 0, operation as i32, a, b))
    }
}

impl<N: Integer> Value<N> {
    bit_operations! {}
}

impl<N> Value<N> {
    /// Acquires the lock that belongs to this value, as [`Lock::acquire`](super::Lock::acquire) does. The operations on the number don't
    /// need it: it is for what takes several of them.
    ///
    /// # Errors
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub fn lock(&self) -> Result<LockGuard<'_>, ObjectError> {
        LockGuard::acquire(&self.reference, Self::KIND, Wait::Forever)
    }
}

impl<N: Number> Array<N> {
    operations! { index: usize }

    /// Returns the length, which is at least 1.
    ///
    /// # Errors
    /// If the array can't be used.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> Result<usize, ObjectError> {
        Ok(self.open("len")?.1)
    }

    /// Returns the numbers in a range. Another task may change them meanwhile.
    ///
    /// # Errors
    /// [`Missing`](ObjectErrorKind::Missing), if the range is not within the array.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Vec<N>, ObjectError> {
        let (object, length) = self.open("slice")?;
        let range = within(range, length)
            .ok_or_else(|| self.missing("slice", &format!("a range that ends behind index {length}")))?;
        let load = |index| N::perform(object, index as u32, Operation::Load as i32, N::ZERO, N::ZERO);
        Ok(range.map(load).collect())
    }

    /// Returns all numbers. Another task may change them meanwhile.
    ///
    /// # Errors
    /// If the array can't be used.
    pub fn to_vec(&self) -> Result<Vec<N>, ObjectError> {
        self.slice(..)
    }

    /// Sets the numbers from an index on. Another task may see some of them before others.
    ///
    /// # Errors
    /// [`Missing`](ObjectErrorKind::Missing), if they don't fit. None is set then.
    pub fn store_slice(&self, start: usize, numbers: &[N]) -> Result<(), ObjectError> {
        let (object, length) = self.open("store_slice")?;
        if start.checked_add(numbers.len()).is_none_or(|end| end > length) {
            let detail = format!("{} numbers from index {start} of {length}", numbers.len());
            return Err(self.missing("store_slice", &detail));
        }
        for (index, number) in (start..).zip(numbers) {
            N::perform(object, index as u32, Operation::Store as i32, *number, N::ZERO);
        }
        Ok(())
    }

    fn perform(&self, name: &str, index: usize, operation: Operation, a: N, b: N) -> Result<N, ObjectError> {
        let (object, length) = self.open(name)?;
        if index >= length {
            return Err(self.missing(name, &format!("index {index} of {length}")));
        }
        Ok(N::perform(object, index as u32, operation as i32, a, b))
    }

    /// Returns the descriptor and the length, after checking the type.
    fn open(&self, operation: &str) -> Result<(i32, usize), ObjectError> {
        let (object, info) = self.reference.open(Self::KIND)?;
        check_type::<N>(&self.reference, Self::KIND, info, operation)?;
        Ok((object, info.count() as usize))
    }

    fn missing(&self, operation: &str, detail: &str) -> ObjectError {
        self.reference
            .error(Self::KIND, operation, ObjectErrorKind::Missing, &detail)
    }
}

impl<N: Integer> Array<N> {
    bit_operations! { index: usize }
}

impl<N> Array<N> {
    /// Acquires the lock that belongs to this array, as [`Lock::acquire`](super::Lock::acquire) does. An operation on one number does
    /// not need it: it is for what takes several of them.
    ///
    /// # Errors
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub fn lock(&self) -> Result<LockGuard<'_>, ObjectError> {
        LockGuard::acquire(&self.reference, Self::KIND, Wait::Forever)
    }
}

/// Checks that the numbers of an object have the type `N`.
fn check_type<N: Number>(
    reference: &Reference,
    kind: Kind,
    info: Info,
    operation: &str,
) -> Result<(), ObjectError> {
    if info.number() == N::CODE {
        return Ok(());
    }
    let name = |code: u8| TYPES.get(usize::from(code).wrapping_sub(1)).unwrap_or(&"unknown");
    let detail = format!(
        "it has numbers of type {}, and not {}",
        name(info.number()),
        name(N::CODE)
    );
    Err(reference.error(kind, operation, ObjectErrorKind::WrongType, &detail))
}

/// Returns a range of indices below `length`, or `None` if it is not within.
fn within(range: impl RangeBounds<usize>, length: usize) -> Option<Range<usize>> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => length,
    };
    (start <= end && end <= length).then_some(start..end)
}
