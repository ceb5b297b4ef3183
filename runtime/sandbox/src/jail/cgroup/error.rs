//! Why this process has no control group for a pool.

use std::io;

/// Why no control group can be created, or a process cannot be added to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The kernel has no control groups of version 2.
    #[error("the kernel has no control groups of version 2")]
    NotInKernel,
    /// The kernel has them, but they are not mounted here as a whole.
    #[error("no control groups of version 2 are mounted")]
    NotMounted,
    /// The group of this process has no memory controller.
    #[error("its control group has no controller of memory")]
    NoMemoryController,
    /// The user may not create groups in that of this process.
    #[error("its control group was not delegated to this user")]
    NotDelegated,
    /// The group of this process has other processes, which this process does not move aside.
    #[error("other processes are in its control group")]
    OtherProcesses,
    /// A file of a group, or one about groups, cannot be read.
    #[error("{file} can't be read: {error}")]
    Read {
        /// The file.
        file: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A file of a group cannot be written.
    #[error("{file} can't be written: {error}")]
    Write {
        /// The file.
        file: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The directory of a group cannot be created.
    #[error("no group can be made: {0}")]
    Create(io::Error),
    /// The parent cannot move to another group.
    #[error("the parent can't change its control group: {0}")]
    Move(io::Error),
    /// The memory controller cannot be switched on for groups below that of this process.
    #[error("the controller of memory can't be had: {0}")]
    Controller(io::Error),
}
