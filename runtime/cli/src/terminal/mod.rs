//! The standard streams: reading and writing them, mpwasm's own messages, log lines and the progress bar.

pub mod logging;
pub mod progress;
pub mod stderr_writer;
pub mod stdio;
