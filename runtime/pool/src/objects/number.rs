//! [`Value`] and [`Array`]: numbers in memory that all processes share.

use crate::objects::lock::LockGuard;
use crate::objects::proxy::typed_proxy;
use crate::objects::wait_limit::WaitLimit;
use mpwasm_system::number_memory::{NumberError, NumberMemory};
use mpwasm_types::objects::NumberOperation::{
    Add, And, CompareAndSwap, Load, Max, Min, Or, Store, Sub, Swap, Xor,
};
use mpwasm_types::objects::{NumberOperation, NumberType, ObjectError, ObjectErrorKind};

/// A type of numbers in shared memory: `i8` to `i64`, `u8` to `u64`, `f32` and `f64`.
pub trait Number: Copy + sealed::Perform {}

/// An integer in shared memory, which has operations on its bits.
pub trait Integer: Number {}

/// Keeps [`Number`] to the types of this crate.
mod sealed {
    use super::{NumberError, NumberMemory, NumberOperation, NumberType};

    pub trait Perform: Sized {
        /// Its name in the protocol.
        const TYPE: NumberType;
        /// What an operation does not use.
        const ZERO: Self;

        fn perform(
            memory: &NumberMemory,
            index: u32,
            operation: NumberOperation,
            a: Self,
            b: Self,
        ) -> Result<Self, NumberError>;

        fn has_same_bits(self, other: Self) -> bool;
    }
}

/// Implements [`Number`] for integers, or for floats.
macro_rules! numbers {
    ($($type:ty: $name:ident),*; $method:ident, $wide:ty) => {
        $(
            impl sealed::Perform for $type {
                const TYPE: NumberType = NumberType::$name;
                const ZERO: Self = 0 as Self;

                #[inline]
                fn perform(
                    memory: &NumberMemory,
                    index: u32,
                    operation: NumberOperation,
                    a: Self,
                    b: Self,
                ) -> Result<Self, NumberError> {
                    memory.$method(index, operation, a as $wide, b as $wide).map(|number| number as Self)
                }

                fn has_same_bits(self, other: Self) -> bool {
                    self.to_ne_bytes() == other.to_ne_bytes()
                }
            }
            impl Number for $type {}
        )*
    };
}

numbers!(i8: I8, i16: I16, i32: I32, i64: I64, u8: U8, u16: U16, u32: U32, u64: U64; int, i64);
numbers!(f32: F32, f64: F64; float, f64);

macro_rules! integers {
    ($($type:ty),*) => { $(impl Integer for $type {})* };
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

typed_proxy! {
    /// A number in shared memory, as `multiprocessing.Value`. Each operation is atomic, where Python's `value.value += 1` loses
    /// updates, and takes no round trip. Integers wrap around.
    ///
    /// For more than one operation at a time it has a lock, as `value.get_lock()`: [`lock`](Self::lock).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = mpwasm::objects::Manager::start()?;
    /// let total = manager.value::<i64>(0)?;
    /// assert_eq!(total.add(5), 0); // the number before
    /// assert_eq!(total.load(), 5);
    /// # Ok(())
    /// # }
    /// ```
    Value<N>
}

typed_proxy! {
    /// Numbers in shared memory, as `multiprocessing.Array`. Each operation on one of them is atomic and takes no round trip.
    Array<N>
}

/// Defines the lock of a value or an array.
macro_rules! own_lock {
    ($name:ident) => {
        impl<N> $name<N> {
            /// Acquires its own lock, and waits until that is possible. Operations on numbers do not need the lock, and do not wait
            /// for it.
            ///
            /// # Errors
            /// `Deadlock`, `Unavailable`.
            pub fn lock(&self) -> Result<LockGuard, ObjectError> {
                LockGuard::acquire(&self.proxy, WaitLimit::Forever)
            }
        }
    };
}

own_lock!(Value);
own_lock!(Array);

impl<N: Number> Value<N> {
    fn perform(&self, operation: NumberOperation, a: N, b: N) -> N {
        N::perform(self.proxy.memory(), 0, operation, a, b)
            .expect("the memory of a value has one number of its type")
    }

    /// Returns the number.
    #[must_use]
    pub fn load(&self) -> N {
        self.perform(Load, N::ZERO, N::ZERO)
    }

    /// Writes the number.
    pub fn store(&self, number: N) {
        self.perform(Store, number, N::ZERO);
    }

    /// Writes the number, and returns the one before.
    pub fn swap(&self, number: N) -> N {
        self.perform(Swap, number, N::ZERO)
    }

    /// Adds to the number, and returns the one before.
    pub fn add(&self, number: N) -> N {
        self.perform(Add, number, N::ZERO)
    }

    /// Subtracts from the number, and returns the one before.
    pub fn sub(&self, number: N) -> N {
        self.perform(Sub, number, N::ZERO)
    }

    /// Writes `number` if it is smaller, and returns the number before.
    pub fn min(&self, number: N) -> N {
        self.perform(Min, number, N::ZERO)
    }

    /// Writes `number` if it is larger, and returns the number before.
    pub fn max(&self, number: N) -> N {
        self.perform(Max, number, N::ZERO)
    }

    /// Writes `new` if the number is `old`, and returns whether it was. Floats are compared by their bits.
    pub fn compare_and_swap(&self, old: N, new: N) -> bool {
        self.perform(CompareAndSwap, old, new).has_same_bits(old)
    }
}

impl<N: Integer> Value<N> {
    /// Keeps the bits that are set in `bits`, and returns the number before.
    pub fn and(&self, bits: N) -> N {
        self.perform(And, bits, N::ZERO)
    }

    /// Sets the bits that are set in `bits`, and returns the number before.
    pub fn or(&self, bits: N) -> N {
        self.perform(Or, bits, N::ZERO)
    }

    /// Inverts the bits that are set in `bits`, and returns the number before.
    pub fn xor(&self, bits: N) -> N {
        self.perform(Xor, bits, N::ZERO)
    }
}

impl<N: Number> Array<N> {
    fn perform(
        &self,
        index: usize,
        operation: NumberOperation,
        name: &'static str,
        (a, b): (N, N),
    ) -> Result<N, ObjectError> {
        let at = u32::try_from(index).unwrap_or(u32::MAX);
        N::perform(self.proxy.memory(), at, operation, a, b).map_err(|error| {
            self.proxy
                .error(ObjectErrorKind::Missing, name, &error.to_string())
        })
    }

    /// Returns the number of numbers, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.proxy.memory().len() as usize
    }

    /// Returns the number at an index.
    ///
    /// # Errors
    /// `Missing` when there is none.
    pub fn load(&self, index: usize) -> Result<N, ObjectError> {
        self.perform(index, Load, "load", (N::ZERO, N::ZERO))
    }

    /// Writes the number at an index.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn store(&self, index: usize, number: N) -> Result<(), ObjectError> {
        self.perform(index, Store, "store", (number, N::ZERO)).map(drop)
    }

    /// Writes the number at an index, and returns the one before.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn swap(&self, index: usize, number: N) -> Result<N, ObjectError> {
        self.perform(index, Swap, "swap", (number, N::ZERO))
    }

    /// Adds to the number at an index, and returns the one before.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn add(&self, index: usize, number: N) -> Result<N, ObjectError> {
        self.perform(index, Add, "add", (number, N::ZERO))
    }

    /// Subtracts from the number at an index, and returns the one before.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn sub(&self, index: usize, number: N) -> Result<N, ObjectError> {
        self.perform(index, Sub, "sub", (number, N::ZERO))
    }

    /// Writes `number` at an index if it is smaller, and returns the number before.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn min(&self, index: usize, number: N) -> Result<N, ObjectError> {
        self.perform(index, Min, "min", (number, N::ZERO))
    }

    /// Writes `number` at an index if it is larger, and returns the number before.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn max(&self, index: usize, number: N) -> Result<N, ObjectError> {
        self.perform(index, Max, "max", (number, N::ZERO))
    }

    /// Writes `new` at an index if the number is `old`, and returns whether it was. Floats are compared by their bits.
    ///
    /// # Errors
    /// As [`Array::load`].
    pub fn compare_and_swap(&self, index: usize, old: N, new: N) -> Result<bool, ObjectError> {
        let before = self.perform(index, CompareAndSwap, "compare_and_swap", (old, new))?;
        Ok(before.has_same_bits(old))
    }

    /// Returns all numbers. Each is read atomically, but not all at the same moment: hold the lock for that.
    #[must_use]
    pub fn to_vec(&self) -> Vec<N> {
        (0..self.len()).map_while(|index| self.load(index).ok()).collect()
    }

    /// Writes `numbers` from index `start` on, each atomically, but not all at the same moment.
    ///
    /// # Errors
    /// `Missing` when they reach beyond the end; then nothing was written.
    pub fn store_slice(&self, start: usize, numbers: &[N]) -> Result<(), ObjectError> {
        let fits = start
            .checked_add(numbers.len())
            .is_some_and(|end| end <= self.len());
        if !fits {
            let detail = format!("{} numbers from index {start} of {}", numbers.len(), self.len());
            return Err(self.proxy.error(ObjectErrorKind::Missing, "store_slice", &detail));
        }
        (start..)
            .zip(numbers)
            .try_for_each(|(index, &number)| self.store(index, number))
    }
}
