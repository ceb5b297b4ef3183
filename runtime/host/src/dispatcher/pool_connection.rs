//! The dispatcher's connection to the manager of shared objects.

use std::os::fd::{AsFd, OwnedFd};

use mpwasm_protocol::channel;
use mpwasm_protocol::messages::ToManager;

/// The connection over which the pool's members are attached. The dispatcher sends nothing else, and gets no replies.
#[derive(Debug)]
pub struct PoolConnection {
    socket: OwnedFd,
}

impl PoolConnection {
    /// Creates the connection over this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Attaches a process or thread that runs guests, and returns its end of a connection to the manager. Never waits.
    ///
    /// If the manager has ended, the connection is closed, and objects are unavailable to its guests.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn attach(&self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = channel::pair()?;
        // A failure drops the manager's end, which closes the connection.
        let _ = channel::try_send_with(self.socket.as_fd(), &ToManager::Attach, &[theirs.as_fd()]);
        Ok(ours)
    }
}
