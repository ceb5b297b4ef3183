//! The standard streams: unbuffered access, mpwasm's own messages, log lines, the progress bar and escaping.

pub mod escape;
pub mod logging;
pub mod progress;
pub mod stderr_writer;
pub mod stdio;
