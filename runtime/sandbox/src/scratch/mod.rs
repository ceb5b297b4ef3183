//! Scratch directories: for each worker process that there can be at once, a file system of its own, in memory, which is
//! mounted nowhere.
//!
//! The kernel keeps it to its size, whatever a worker does that was taken over, and it is gone with the last process that
//! holds it, however that ends: nothing of it is on a disk, but in swap. Nothing in it is executed, and no device in it works.
//!
//! The dispatcher [makes](make()) them all while it still has the right to; the parent [tries](try_to_make) that before it
//! starts one. Each worker has one among its [grants](mpwasm_types::grants), and [clears](ScratchDir) it after each task. That tasks
//! reach nothing else from there is the affair of `guest/wasi.rs`, and of the jail.

mod clear;
mod make;

pub use clear::ScratchDir;
pub use make::{make, try_to_make};
