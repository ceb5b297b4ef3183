//! Reads the tasks of a run and pushes them to the pool.
//!
//! [`options`] opens the [`source`], [`lines`] and [`combinations`] produce inputs, [`batches`] and [`feed`] make tasks of them,
//! and [`pusher`] pushes the tasks.

pub mod batches;
pub mod combinations;
pub mod dry_run;
pub mod feed;
pub mod keys;
pub mod lines;
pub mod options;
pub mod pusher;
pub mod source;
pub mod task_template;
