//! Where the tasks of a run come from, and how they get into the pool.
//!
//! [`options`] reads the command line, [`lines`] and [`combinations`] produce inputs, [`batches`] and [`feed`] make tasks of
//! them, and [`pusher`] hands these to the pool.

pub mod batches;
pub mod combinations;
pub mod feed;
pub mod keys;
pub mod lines;
pub mod options;
pub mod pusher;
