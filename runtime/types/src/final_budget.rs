//! The bound of what all final values of a pool take together.
//!
//! The dispatcher's callback thread applies it where values are made, and the parent, which does not believe the
//! dispatcher, where they are kept.

use crate::outcome::{Failure, Kind};

/// Counts the bytes of final values, and of the messages of those that failed.
#[derive(Debug)]
pub struct FinalBudget {
    limit: u64,
    left: u64,
}

impl FinalBudget {
    /// A budget of `max_result` bytes, as for a single result.
    pub fn new(max_result: u64) -> Self {
        Self {
            limit: max_result,
            left: max_result,
        }
    }

    /// Returns the ending of a final callback if it fits into what is left, and a failure that says so otherwise. Of a
    /// failure the kind and the message are kept.
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
