//! Exit codes of children.

/// Exit code of a child that was ended by its watchdog, since its guest did not end at the deadline (step 3 of a timeout).
/// The dispatcher keeps a clock of its own, and believes the code only about the task that ran.
pub const EXIT_WATCHDOG: i32 = 113;

/// Exit code of a child that could not do what it was started for.
pub const EXIT_FAILURE: i32 = 112;

/// Exit code after a panic, the same as that of every Rust program.
pub(super) const EXIT_PANIC: i32 = 101;
