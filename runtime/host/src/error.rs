//! Errors with which a child process of a pool ends. It prints them to its stderr, a pipe to the parent.

use std::io;

use mpwasm_engine::{GrantError, LoadError};
use mpwasm_protocol::channel::ReceiveError;
use mpwasm_sandbox::child::StartUpError;
use mpwasm_sandbox::jail::JailError;

/// Reports why a child can't do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It can't start.
    #[error(transparent)]
    StartUp(#[from] StartUpError),
    /// Its start message is missing or invalid.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A file descriptor did not come with its start message.
    #[error("{0} is missing")]
    NoDescriptor(&'static str),
    /// Its sandbox can't be set up.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A guest can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A granted directory can't be used.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The scratch directories can't be created.
    #[error("the scratch directories can't be made: {0}")]
    MakeScratch(#[source] io::Error),
    /// The scratch directory can't be cleared.
    #[error("the scratch directory can't be cleared: {0}")]
    ClearScratch(#[source] io::Error),
    /// The thread for guests can't be started.
    #[error("no thread can have a guest's stack of {stack} bytes (--stack): {error}")]
    NoStack {
        /// Size of the guest's stack, bytes.
        stack: u64,
        /// The error of the system.
        error: io::Error,
    },
    /// A system call has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<nix::Error> for ChildError {
    fn from(errno: nix::Error) -> Self {
        Self::Io(errno.into())
    }
}
