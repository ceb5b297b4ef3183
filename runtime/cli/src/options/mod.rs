//! Options that several sub-commands share, and how their values are written.

pub mod instance;
pub mod sandbox;
pub mod units;
