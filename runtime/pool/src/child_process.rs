//! Starts the parent's child processes, up to their handshake.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::error::Error;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::messages::HelloError;
use mpwasm_sandbox::child;
use mpwasm_sandbox::child::{Executable, Process};
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::clock;
use mpwasm_system::inherited::explained;
use mpwasm_system::limit_names::explain;
use mpwasm_system::poll::set_nonblocking;
use mpwasm_types::escape::escape;
use mpwasm_types::exit_status::describe_exit;
use mpwasm_types::role::Role;
use mpwasm_types::timeouts::REAP_TIMEOUT;

/// Longest time that a child may take for its handshake.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a child and waits for its handshake. The channel accepts frames of at most `max_frame` bytes from it. Its
/// stderr is `diagnostics`.
///
/// The calling thread must live as long as the child: the parent-death signal is tied to it.
///
/// # Errors
/// [`Error::Start`].
pub fn start(
    executable: &Executable,
    role: Role,
    diagnostics: &PipeWriter,
    max_frame: usize,
) -> Result<(Process, Channel), Error> {
    let failed = |why: String| Error::Start {
        role: role.name(),
        why,
    };
    let (mut process, socket) =
        child::spawn(executable, role, Some(diagnostics)).map_err(|error| failed(explain(&error)))?;
    tracing::debug!(pid = process.pid(), "{} started", role.name());
    let mut channel = Channel::new(socket, max_frame);
    match child::receive_hello(&mut channel, HELLO_TIMEOUT) {
        Ok(()) => {
            tracing::debug!(
                pid = process.pid(),
                "{} ready: its handshake is complete",
                role.name()
            );
            Ok((process, channel))
        }
        Err(HelloError::Silent(_)) => {
            let end = process
                .kill_and_reap(Duration::from_secs(1))
                .map(describe_exit)
                .unwrap_or_default();
            Err(failed(format!(
                "it is no copy of mpwasm, or ended at once ({end})"
            )))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Puts a child that waits for its first message into the pool's memory cgroup, before it starts processes of its own.
pub fn limit(process: &Process, memory: Option<&MemoryCgroup>) {
    if let Some(Err(why)) = memory.map(|memory| memory.add(process.pid())) {
        tracing::debug!("no limit of memory around process {}: {why}", process.pid());
    }
}

/// A child process for a single request. Dropping it reaps the process, and kills it first if it has not exited.
#[derive(Debug)]
pub struct TransientChild {
    process: Process,
    role: Role,
}

impl TransientChild {
    /// Wraps a child that has started.
    pub fn new(process: Process, role: Role) -> Self {
        Self { process, role }
    }
}

impl Drop for TransientChild {
    fn drop(&mut self) {
        let by_itself = self.process.try_reap().map(describe_exit);
        let end = by_itself.unwrap_or_else(|| match self.process.kill_and_reap(REAP_TIMEOUT) {
            Some(status) => format!("it was killed after its request, {}", describe_exit(status)),
            None => "it did not end after SIGKILL".to_owned(),
        });
        tracing::debug!(pid = self.process.pid(), "{} reaped: {end}", self.role.name());
    }
}

/// Stderr of a transient child, which writes only when something fails. It stays in the pipe until it is read, so the size of the
/// pipe bounds it.
#[derive(Debug)]
pub struct Diagnostics(PipeReader);

/// Most bytes of a child's diagnostics that an error shows.
const MAX_DIAGNOSTICS: u64 = 1000;

impl Diagnostics {
    /// Returns the reading side, and the pipe for the child.
    pub fn new() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe().map_err(explained)?;
        set_nonblocking(reader.as_fd())?;
        Ok((Self(reader), writer))
    }

    /// Describes how a child ended unexpectedly: its status and its diagnostics.
    pub fn describe(&self, child: &mut TransientChild) -> String {
        let status = child.process.wait_until(clock::now() + Duration::from_secs(1));
        let end = status.map_or_else(|| "it closed its socket".to_owned(), describe_exit);
        let mut words = Vec::new();
        // An error means that nothing more can be read now.
        let _ = (&self.0).take(MAX_DIAGNOSTICS).read_to_end(&mut words);
        let words = String::from_utf8_lossy(&words);
        match words.trim() {
            "" => end,
            words => format!("{end}: {}", escape(words)),
        }
    }
}
