//! The parent's children: how each of them comes up.

use std::process::Stdio;
use std::time::Duration;

use crate::error::Error;
use crate::process::{self, Executable, HelloError, Process, Role, describe_exit};
use crate::wire::channel::Channel;

/// How long a child may take to say hello.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// Starts a child that has said hello. Frames of at most `max_frame` bytes are taken from it.
///
/// The calling thread must live as long as the child: the parent-death signal is tied to it.
pub fn start(
    executable: &Executable,
    role: Role,
    stderr: Stdio,
    max_frame: usize,
) -> Result<(Process, Channel), Error> {
    let failed = |why: String| Error::Start {
        role: role.name(),
        why,
    };
    let (mut process, socket) =
        process::spawn(executable, role, stderr).map_err(|error| failed(error.to_string()))?;
    let mut channel = Channel::new(socket, max_frame);
    match process::receive_hello(&mut channel, HELLO_PATIENCE) {
        Ok(()) => Ok((process, channel)),
        Err(error @ HelloError::OtherBuild { .. }) => Err(failed(error.to_string())),
        Err(HelloError::Silent(_)) => {
            let end = process
                .end(Duration::from_secs(1))
                .map(describe_exit)
                .unwrap_or_default();
            Err(failed(format!(
                "it is no copy of mpwasm, or ended at once ({end})"
            )))
        }
    }
}
