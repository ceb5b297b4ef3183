//! A sequence of numbers that look random and are the same in each run.

/// Returns the next number of a xorshift sequence.
pub fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
