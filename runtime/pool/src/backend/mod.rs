//! What runs the tasks of a pool.

pub(crate) mod local;
