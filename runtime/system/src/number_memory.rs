//! Numbers in memory that several processes share, changed by atomic operations without a system call.
//!
//! The numbers are in a memory file (memfd_create(2)), which travels to other processes as a file descriptor. Any process that has
//! mapped the file can write any bytes at any time, also one that a guest has taken over. So the numbers are accessed by atomic
//! operations only, and every pattern of bits is a valid number. The size of the file is sealed: a process that could shrink it
//! would make the next access of another process raise SIGBUS.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
};

use mpwasm_types::objects::{NumberOperation, NumberType};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use rustix::fs::{MemfdFlags, SealFlags};

/// Name of the files, shown in `/proc`.
const NAME: &str = "mpwasm-numbers";

/// Why an operation on numbers is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// There are fewer numbers.
    #[error("index {index} of {count} numbers")]
    OutOfRange {
        /// The index.
        index: u32,
        /// How many numbers there are.
        count: u32,
    },
    /// The numbers have another type than the operation.
    #[error("an operation on {wanted} for numbers of type {actual}")]
    WrongType {
        /// Which type the operation has.
        wanted: &'static str,
        /// The type of the numbers.
        actual: NumberType,
    },
    /// The operation is for integers only.
    #[error("an operation on bits for numbers of type {0}")]
    NoBits(NumberType),
}

/// A mapping of numbers that are shared with other processes.
pub struct NumberMemory {
    start: NonNull<u8>,
    bytes: NonZeroUsize,
    number: NumberType,
    count: u32,
}

// SAFETY: the mapping is shared memory, which all threads access by atomic operations only.
unsafe impl Send for NumberMemory {}
// SAFETY: as above.
unsafe impl Sync for NumberMemory {}

impl fmt::Debug for NumberMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NumberMemory")
            .field("number", &self.number)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Creates a memory file with `count` numbers, all of them 0. Its size can't be changed.
///
/// # Errors
/// When there are none, or no memory or file descriptor is left.
pub fn create(number: NumberType, count: u32) -> io::Result<OwnedFd> {
    let bytes = size_of_all(number, count)?;
    let file = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, bytes.get() as u64)?;
    rustix::fs::fcntl_add_seals(&file, size_seals() | SealFlags::SEAL)?;
    Ok(file)
}

impl NumberMemory {
    /// Maps the file of [`create`], which may come from a process of lower trust.
    ///
    /// # Errors
    /// When the file has another size, or one that can be changed, or can't be mapped.
    pub fn map(file: impl AsFd, number: NumberType, count: u32) -> io::Result<Self> {
        let bytes = size_of_all(number, count)?;
        // Both go around the C library, which makes another system call in some versions.
        let size = rustix::fs::fstat(&file)?.st_size;
        if usize::try_from(size) != Ok(bytes.get()) {
            return Err(io::Error::other("the memory of numbers has another size"));
        }
        if !rustix::fs::fcntl_get_seals(&file)?.contains(size_seals()) {
            return Err(io::Error::other(
                "the size of the memory of numbers is not sealed",
            ));
        }
        // SAFETY: a new mapping of its own, of the file's whole length, whose size is sealed. It is unmapped only when `self` is
        // dropped.
        let start = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )?
        };
        Ok(Self {
            start: start.cast(),
            bytes,
            number,
            count,
        })
    }

    /// Returns the type of the numbers.
    #[must_use]
    pub fn number_type(&self) -> NumberType {
        self.number
    }

    /// Returns how many numbers there are, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Performs an operation on an integer. Operands are cut to the width of the type. The result is sign-extended for signed types,
    /// and zero-extended for the others; of a `u64` it has the bits.
    ///
    /// # Errors
    /// When there is no such number, or the numbers are floats.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "operands are cut to the width of the type"
    )]
    pub fn int(&self, index: u32, operation: NumberOperation, a: i64, b: i64) -> Result<i64, NumberError> {
        use NumberOperation::{Add, And, CompareAndSwap, Load, Max, Min, Or, Store, Sub, Swap, Xor};
        let at = self.address(index)?;
        macro_rules! perform {
            ($atomic:ty, $integer:ty) => {{
                // SAFETY: `address` has checked the index. The number lies in the mapping, which lives as long as `self`, and is
                // aligned to its size, as the mapping is to a page. All processes access it by atomic operations only; one that
                // does not harms itself, as every pattern of bits is a valid number.
                let number = unsafe { <$atomic>::from_ptr(at.cast::<$integer>().as_ptr()) };
                let (a, b) = (a as $integer, b as $integer);
                let result = match operation {
                    Load => number.load(SeqCst),
                    Store => {
                        number.store(a, SeqCst);
                        0
                    }
                    Swap => number.swap(a, SeqCst),
                    Add => number.fetch_add(a, SeqCst),
                    Sub => number.fetch_sub(a, SeqCst),
                    Min => number.fetch_min(a, SeqCst),
                    Max => number.fetch_max(a, SeqCst),
                    And => number.fetch_and(a, SeqCst),
                    Or => number.fetch_or(a, SeqCst),
                    Xor => number.fetch_xor(a, SeqCst),
                    CompareAndSwap => number
                        .compare_exchange(a, b, SeqCst, SeqCst)
                        .unwrap_or_else(|actual| actual),
                };
                Ok(result as i64)
            }};
        }
        match self.number {
            NumberType::I8 => perform!(AtomicI8, i8),
            NumberType::I16 => perform!(AtomicI16, i16),
            NumberType::I32 => perform!(AtomicI32, i32),
            NumberType::I64 => perform!(AtomicI64, i64),
            NumberType::U8 => perform!(AtomicU8, u8),
            NumberType::U16 => perform!(AtomicU16, u16),
            NumberType::U32 => perform!(AtomicU32, u32),
            NumberType::U64 => perform!(AtomicU64, u64),
            NumberType::F32 | NumberType::F64 => Err(self.wrong_type("integers")),
        }
    }

    /// Performs an operation on a float. Operands of an `f32` are rounded. [`NumberOperation::CompareAndSwap`] compares bits, so a
    /// NaN equals itself and `-0.0` is not `0.0`.
    ///
    /// # Errors
    /// When there is no such number, the numbers are integers, or the operation is on bits.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "operands of an f32 are rounded")]
    pub fn float(&self, index: u32, operation: NumberOperation, a: f64, b: f64) -> Result<f64, NumberError> {
        use NumberOperation::{Add, And, CompareAndSwap, Load, Max, Min, Or, Store, Sub, Swap, Xor};
        let at = self.address(index)?;
        macro_rules! perform {
            ($atomic:ty, $bits:ty, $float:ty) => {{
                // SAFETY: as in `int`.
                let number = unsafe { <$atomic>::from_ptr(at.cast::<$bits>().as_ptr()) };
                let (a, b) = (a as $float, b as $float);
                let update = |change: &dyn Fn($float) -> $float| {
                    let change = |bits| Some(change(<$float>::from_bits(bits)).to_bits());
                    number
                        .fetch_update(SeqCst, SeqCst, change)
                        .unwrap_or_else(|actual| actual)
                };
                let result = match operation {
                    Load => number.load(SeqCst),
                    Store => {
                        number.store(a.to_bits(), SeqCst);
                        0
                    }
                    Swap => number.swap(a.to_bits(), SeqCst),
                    Add => update(&|before| before + a),
                    Sub => update(&|before| before - a),
                    Min => update(&|before| before.min(a)),
                    Max => update(&|before| before.max(a)),
                    And | Or | Xor => return Err(NumberError::NoBits(self.number)),
                    CompareAndSwap => number
                        .compare_exchange(a.to_bits(), b.to_bits(), SeqCst, SeqCst)
                        .unwrap_or_else(|actual| actual),
                };
                Ok(f64::from(<$float>::from_bits(result)))
            }};
        }
        match self.number {
            NumberType::F32 => perform!(AtomicU32, u32, f32),
            NumberType::F64 => perform!(AtomicU64, u64, f64),
            _ => Err(self.wrong_type("floats")),
        }
    }

    /// Returns the address of a number.
    #[inline]
    fn address(&self, index: u32) -> Result<NonNull<u8>, NumberError> {
        if index >= self.count {
            return Err(NumberError::OutOfRange {
                index,
                count: self.count,
            });
        }
        // SAFETY: the mapping has `count` numbers of this width, and `index` is below that.
        Ok(unsafe { self.start.add(index as usize * self.number.size()) })
    }

    fn wrong_type(&self, wanted: &'static str) -> NumberError {
        NumberError::WrongType {
            wanted,
            actual: self.number,
        }
    }
}

impl Drop for NumberMemory {
    fn drop(&mut self) {
        // SAFETY: `map` has created the mapping with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}

/// The seals that keep the size of a file.
fn size_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW
}

fn size_of_all(number: NumberType, count: u32) -> io::Result<NonZeroUsize> {
    let bytes = (count as usize).checked_mul(number.size());
    bytes
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| io::Error::other(format!("no memory can have {count} numbers of type {number}")))
}

#[cfg(test)]
mod tests {
    use super::NumberOperation::{Add, And, CompareAndSwap, Load, Max, Min, Or, Store, Sub, Swap, Xor};
    use super::*;

    fn numbers(number: NumberType, count: u32) -> NumberMemory {
        NumberMemory::map(create(number, count).unwrap(), number, count).unwrap()
    }

    #[test]
    fn two_mappings_of_a_file_have_the_same_numbers() {
        let file = create(NumberType::I32, 3).unwrap();
        let [one, other] = [(); 2].map(|()| NumberMemory::map(&file, NumberType::I32, 3).unwrap());
        assert_eq!(one.int(2, Store, -7, 0), Ok(0));
        assert_eq!(other.int(2, Load, 0, 0), Ok(-7));
        assert_eq!(other.int(0, Load, 0, 0), Ok(0));
        assert_eq!((one.len(), one.number_type()), (3, NumberType::I32));
    }

    #[test]
    fn every_operation_but_store_returns_the_number_before() {
        let memory = numbers(NumberType::I64, 1);
        for (operation, a, b, before, after) in [
            (Swap, 12, 0, 0, 12),
            (Add, 3, 0, 12, 15),
            (Sub, 5, 0, 15, 10),
            (Min, 11, 0, 10, 10),
            (Min, -4, 0, 10, -4),
            (Max, 6, 0, -4, 6),
            (And, 3, 0, 6, 2),
            (Or, 5, 0, 2, 7),
            (Xor, 2, 0, 7, 5),
            (CompareAndSwap, 4, 9, 5, 5),
            (CompareAndSwap, 5, 9, 5, 9),
        ] {
            assert_eq!(memory.int(0, operation, a, b), Ok(before), "{operation:?}");
            assert_eq!(memory.int(0, Load, 0, 0), Ok(after), "{operation:?}");
        }
        let memory = numbers(NumberType::F64, 1);
        for (operation, a, b, before, after) in [
            (Swap, 1.5, 0.0, 0.0, 1.5),
            (Add, 2.0, 0.0, 1.5, 3.5),
            (Sub, 0.5, 0.0, 3.5, 3.0),
            (Min, 2.5, 0.0, 3.0, 2.5),
            (Max, 4.5, 0.0, 2.5, 4.5),
            (CompareAndSwap, 4.0, 9.0, 4.5, 4.5),
            (CompareAndSwap, 4.5, 9.0, 4.5, 9.0),
        ] {
            assert_eq!(memory.float(0, operation, a, b), Ok(before), "{operation:?}");
            assert_eq!(memory.float(0, Load, 0.0, 0.0), Ok(after), "{operation:?}");
        }
    }

    #[test]
    fn integers_wrap_at_the_width_of_their_type_and_keep_its_sign() {
        for (number, least, most) in [
            (NumberType::I8, i64::from(i8::MIN), i64::from(i8::MAX)),
            (NumberType::I16, i64::from(i16::MIN), i64::from(i16::MAX)),
            (NumberType::I32, i64::from(i32::MIN), i64::from(i32::MAX)),
            (NumberType::I64, i64::MIN, i64::MAX),
            (NumberType::U8, 0, i64::from(u8::MAX)),
            (NumberType::U16, 0, i64::from(u16::MAX)),
            (NumberType::U32, 0, i64::from(u32::MAX)),
            (NumberType::U64, 0, -1),
        ] {
            // The neighbours must not change.
            let memory = numbers(number, 3);
            memory.int(1, Store, most, 0).unwrap();
            assert_eq!(memory.int(1, Add, 1, 0), Ok(most), "{number}");
            assert_eq!(memory.int(1, Sub, 1, 0), Ok(least), "{number}");
            assert_eq!(memory.int(1, Max, 5, 0), Ok(most), "{number}");
            assert_eq!(memory.int(1, Min, 5, 0), Ok(most), "{number}");
            assert_eq!(memory.int(1, Load, 0, 0), Ok(5), "{number}");
            for neighbour in [0, 2] {
                assert_eq!(memory.int(neighbour, Load, 0, 0), Ok(0), "{number}");
            }
        }
        let memory = numbers(NumberType::U8, 1);
        memory.int(0, Store, 0x1ff, 0).unwrap();
        assert_eq!(memory.int(0, Load, 0, 0), Ok(0xff), "operands are cut");
    }

    #[test]
    fn floats_are_compared_by_their_bits_and_rounded_to_their_type() {
        let memory = numbers(NumberType::F32, 2);
        memory.float(1, Store, 0.1, 0.0).unwrap();
        assert_eq!(memory.float(1, Load, 0.0, 0.0), Ok(f64::from(0.1_f32)));
        memory.float(1, Store, f64::NAN, 0.0).unwrap();
        assert!(memory.float(1, CompareAndSwap, f64::NAN, 2.0).unwrap().is_nan());
        assert_eq!(memory.float(1, Load, 0.0, 0.0), Ok(2.0));
        memory.float(1, Store, -0.0, 0.0).unwrap();
        assert_eq!(memory.float(1, CompareAndSwap, 0.0, 3.0), Ok(-0.0));
        assert_eq!(memory.float(1, Load, 0.0, 0.0), Ok(0.0));
        assert_eq!(memory.float(0, Load, 0.0, 0.0), Ok(0.0));
    }

    #[test]
    fn a_wrong_index_type_or_operation_is_an_error() {
        let (integers, floats) = (numbers(NumberType::U16, 2), numbers(NumberType::F64, 2));
        let range = NumberError::OutOfRange { index: 2, count: 2 };
        assert_eq!(integers.int(2, Load, 0, 0), Err(range));
        assert_eq!(floats.float(2, Store, 0.0, 0.0), Err(range));
        assert!(matches!(
            integers.int(u32::MAX, Add, 1, 0),
            Err(NumberError::OutOfRange { .. })
        ));
        assert!(matches!(
            integers.float(0, Load, 0.0, 0.0),
            Err(NumberError::WrongType { .. })
        ));
        assert!(matches!(
            floats.int(0, Load, 0, 0),
            Err(NumberError::WrongType { .. })
        ));
        assert_eq!(
            floats.float(0, And, 0.0, 0.0),
            Err(NumberError::NoBits(NumberType::F64))
        );
    }

    #[test]
    fn no_addition_is_lost_between_threads() {
        let (integers, floats) = (numbers(NumberType::I64, 1), numbers(NumberType::F64, 1));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        integers.int(0, Add, 1, 0).unwrap();
                        floats.float(0, Add, 0.5, 0.0).unwrap();
                    }
                });
            }
        });
        assert_eq!(integers.int(0, Load, 0, 0), Ok(40_000));
        assert_eq!(floats.float(0, Load, 0.0, 0.0), Ok(20_000.0));
    }

    #[test]
    fn the_size_of_a_file_stays_and_another_file_is_not_mapped() {
        let file = create(NumberType::U8, 5000).unwrap();
        assert!(rustix::fs::ftruncate(&file, 1).is_err());
        assert!(rustix::fs::ftruncate(&file, 10_000).is_err());
        assert!(NumberMemory::map(&file, NumberType::U8, 4999).is_err());
        assert!(NumberMemory::map(&file, NumberType::U16, 5000).is_err());
        assert!(NumberMemory::map(&file, NumberType::U16, 2500).is_ok());
        let unsealed = rustix::fs::memfd_create(NAME, MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&unsealed, 8).unwrap();
        let error = NumberMemory::map(&unsealed, NumberType::U8, 8).unwrap_err();
        assert!(error.to_string().contains("sealed"), "{error}");
        assert!(create(NumberType::U8, 0).is_err());
    }
}
