//! Scratch directories: one file system in memory for each worker process, mounted nowhere.
//!
//! The kernel enforces its size, even against a worker that was taken over. The kernel frees it when the last process that
//! holds its descriptor has ended. Its contents never reach a disk, except for swap. Nothing in it can be executed, and
//! device files in it don't work.
//!
//! The dispatcher [creates](create()) all of them before it gives up the right to mount. The parent [probes](probe_create)
//! beforehand, with a copy of itself, whether that works. Each worker gets one with its [grants](mpwasm_types::grants), and
//! [clears](ScratchDir) it after each task. The engine's WASI and Landlock keep tasks from reaching anything else through
//! it.

mod clear;
mod create;

pub use clear::ScratchDir;
pub use create::{create, probe_create};
