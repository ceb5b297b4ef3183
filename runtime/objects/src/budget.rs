//! The manager's memory: how much is used, and how much may be.

use mpwasm_types::objects::ObjectErrorKind;

use crate::operation_error::OperationError;

/// Counts the bytes that the manager holds for its clients, up to a cap.
///
/// An object takes the [`cost`](crate::Json::cost) of a value before it keeps the value, and gives it back when it removes the
/// value. What is given back is exactly what was taken, which tests verify by counting everything again.
#[derive(Debug)]
pub struct Budget {
    used: u64,
    cap: u64,
}

impl Budget {
    /// Creates a budget of which nothing is used.
    #[must_use]
    pub const fn new(cap: u64) -> Self {
        Self { used: 0, cap }
    }

    /// Returns the bytes in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the largest number of bytes.
    #[must_use]
    pub const fn cap(&self) -> u64 {
        self.cap
    }

    /// Returns the bytes that can still be taken.
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.cap.saturating_sub(self.used)
    }

    /// Takes this many bytes.
    ///
    /// # Errors
    /// Takes nothing and returns [`ObjectErrorKind::OutOfMemory`] if fewer are left.
    pub fn take(&mut self, bytes: u64) -> Result<(), OperationError> {
        if bytes > self.available() {
            return Err(OperationError::new(
                ObjectErrorKind::OutOfMemory,
                format!("{bytes} more bytes; {} of {} are in use", self.used, self.cap),
            ));
        }
        self.used += bytes;
        Ok(())
    }

    /// Takes this many bytes even if that goes over the cap, for what can't be refused and has a bound of its own.
    pub const fn take_always(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }

    /// Replaces `old` bytes that were taken by `new` ones.
    ///
    /// # Errors
    /// Changes nothing and returns [`ObjectErrorKind::OutOfMemory`] if fewer are left.
    pub fn replace(&mut self, old: u64, new: u64) -> Result<(), OperationError> {
        if new > old {
            self.take(new - old)
        } else {
            self.give_back(old - new);
            Ok(())
        }
    }

    /// Gives back bytes that were taken.
    pub fn give_back(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.used, "more given back than taken");
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_cap_is_refused_and_takes_nothing() {
        let mut budget = Budget::new(10);
        budget.take(7).unwrap();
        let error = budget.take(4).unwrap_err();
        assert_eq!(error.kind, ObjectErrorKind::OutOfMemory);
        assert_eq!(error.detail, "4 more bytes; 7 of 10 are in use");
        assert_eq!(budget.used(), 7);
        budget.take(3).unwrap();
        assert_eq!(budget.available(), 0);
    }

    #[test]
    fn a_smaller_value_in_place_of_a_larger_one_gives_bytes_back() {
        let mut budget = Budget::new(10);
        budget.take(8).unwrap();
        budget.replace(8, 5).unwrap();
        assert_eq!(budget.used(), 5);
        assert!(budget.replace(5, 11).is_err());
        budget.replace(5, 10).unwrap();
        assert_eq!(budget.used(), 10);
        budget.take_always(5);
        assert_eq!(budget.available(), 0);
        budget.give_back(15);
        assert_eq!(budget.used(), 0);
    }
}
