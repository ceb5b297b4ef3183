//! Options that several sub-commands share, and the parsers of their values.

pub mod instance;
pub mod objects;
pub mod sandbox;
pub mod units;
