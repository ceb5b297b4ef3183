//! The process of the command line itself: exit codes, signals, inherited settings and the readers of its output.

pub mod exit;
pub mod inherited;
pub mod readers;
pub mod signals;
