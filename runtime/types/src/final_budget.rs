//! Bounds the total size of a pool's final values.
//!
//! The dispatcher's callback thread applies the bound to the values that it produces. The parent, which does not trust the
//! dispatcher, applies it again to those that it keeps.

use crate::outcome::{Failure, Kind};

/// Counts the bytes of final values and of the messages of failed ones.
#[derive(Debug)]
pub struct FinalBudget {
    limit: u64,
    left: u64,
}

impl FinalBudget {
    /// Creates a budget of `max_result` bytes, as for a single result.
    #[must_use]
    pub fn new(max_result: u64) -> Self {
        Self {
            limit: max_result,
            left: max_result,
        }
    }

    /// Takes the ending of a final callback from the budget. Of a failure, only kind and message are kept.
    ///
    /// # Errors
    /// Returns the callback's own failure, or one of kind [`Kind::Limit`] if the ending exceeds the budget.
    pub fn admit<V: AsRef<str>>(&mut self, ending: Result<V, Failure>) -> Result<V, Failure> {
        let bytes = match &ending {
            Ok(value) => value.as_ref().len(),
            Err(failure) => failure.message.len(),
        };
        let Some(left) = self.left.checked_sub(bytes as u64) else {
            let (limit, left) = (self.limit, self.left);
            let why = format!(
                "it has {bytes} bytes, and {left} were left: all final values of a pool together may have as many as one \
                 result, {limit} bytes (--max-result)"
            );
            return Err(Failure::new(Kind::Limit, why));
        };
        self.left = left;
        ending.map_err(|Failure { kind, message, .. }| Failure::new(kind, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_together_fit_into_the_limit_and_the_first_that_does_not_says_so() {
        let mut budget = FinalBudget::new(10);
        assert_eq!(budget.admit(Ok("12345")), Ok("12345"));
        let refused = budget.admit(Ok("123456")).unwrap_err();
        assert_eq!(refused.kind, Kind::Limit);
        assert!(
            refused.message.contains("6 bytes, and 5 were left"),
            "{}",
            refused.message
        );
        assert_eq!(budget.admit(Ok("12345")), Ok("12345"), "a smaller one still fits");
        assert_eq!(budget.admit(Ok("1")).unwrap_err().kind, Kind::Limit);
    }

    #[test]
    fn the_message_of_a_failure_counts_and_nothing_else_of_it_is_kept() {
        let mut budget = FinalBudget::new(10);
        let failure = Failure {
            data: Some("x".repeat(100)),
            ..Failure::new(Kind::Error, "too bad")
        };
        let kept = budget.admit(Err::<&str, _>(failure)).unwrap_err();
        assert_eq!(kept, Failure::new(Kind::Error, "too bad"));
        let kept = budget.admit(Err::<&str, _>(kept)).unwrap_err();
        assert_eq!(kept.kind, Kind::Limit);
    }
}
