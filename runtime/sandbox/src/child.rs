//! Child processes: the one file that knows how Linux starts them, finds out that they died, and ties their lives
//! to ours. What a child does then is for `dispatcher`, `worker`, `compiler` and `tasks`. The copies of this process that
//! only try something are no children in this sense: they are in `jail/trial.rs`.
//!
//! A child is a re-execution of one binary with a marker as its first argument. It gets an empty environment, a
//! process group of its own, a socket to its starter as descriptor 0, and a pipe for diagnostics as 1 and 2; every
//! other descriptor comes later through the socket. The start of a child, in order:
//!
//! 1. close what was inherited by accident, and set signals and limits ([`start_up`], [`inherited`]);
//! 2. ask for a parent-death signal: only a second mechanism, the first is the end of the socket's file;
//! 3. say hello ([`Hello`]), so that the starter knows that this is its own build;
//! 4. receive settings, descriptors and guests; a worker's engine opens here what it keeps open;
//! 5. [`jail::isolate`](crate::jail::isolate), before any thread exists;
//! 6. start threads;
//! 7. [`jail::lock_down`](crate::jail::lock_down), on all threads, when the guests are loaded; then run.

use mpwasm_system::clock;
use std::ffi::CString;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use mpwasm_protocol::channel;
use mpwasm_protocol::channel::{Channel, ReceiveError};
use mpwasm_protocol::messages::{Hello, MAX_SETUP};
use mpwasm_system::inherited;
use mpwasm_system::inherited::explained;
use mpwasm_system::poll::{is_readable, poll_until};
use mpwasm_system::process::set_parent_death_signal;
use mpwasm_system::process::{MARKER, exit_now, role, without_proc};
pub use mpwasm_types::role::Role;
use mpwasm_types::settings::REAP_TIMEOUT;
use mpwasm_types::time::Time;

/// The binary that children are copies of.
#[derive(Clone, Debug, Default)]
pub enum Executable {
    /// This process's own, even if its file was replaced in the meantime.
    #[default]
    Own,
    /// Another one, of the same build.
    At(PathBuf),
}

impl Executable {
    /// Where it can be read.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Own => Path::new("/proc/self/exe"),
            Self::At(path) => path,
        }
    }
}

/// Starts a child. Its diagnostics go to `diagnostics`, or where this process's own go.
///
/// The calling thread must live as long as the child: the parent-death signal is tied to it.
///
/// # Errors
/// When the system can't start another process.
pub fn spawn(
    executable: &Executable,
    role: Role,
    diagnostics: Option<&PipeWriter>,
) -> io::Result<(Process, OwnedFd)> {
    let (ours, theirs) = channel::pair().map_err(explained)?;
    let output =
        || diagnostics.map_or_else(|| Ok(Stdio::inherit()), |pipe| pipe.try_clone().map(Stdio::from));
    let child = Command::new(executable.path())
        .arg0("mpwasm")
        .arg(format!("{MARKER}{}", role.name()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(output()?)
        .stderr(output()?)
        .process_group(0)
        .spawn()
        .map_err(|error| explained(without_proc(error)))?;
    Ok((Process::new(child)?, ours))
}

/// A child that has not been reaped. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Readable once the child has ended.
    exit: OwnedFd,
}

impl Process {
    fn new(mut child: Child) -> io::Result<Self> {
        let pid = rustix::process::Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(exit) => Ok(Self { child, exit }),
            Err(errno) => {
                // Without the descriptor nobody would notice its end.
                let _ = child.kill();
                let _ = child.wait();
                Err(errno.into())
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL: to this process, and to no other that may have got its pid.
    pub fn kill(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.exit, rustix::process::Signal::KILL);
    }

    /// Stops it until [`Process::resume`]. SIGKILL ends it all the same.
    pub fn stop(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.exit, rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.exit, rustix::process::Signal::CONT);
    }

    /// Reaps it if it has ended; never waits.
    pub fn try_reap(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|_| {
            // Somebody else has reaped it (a program that ignores SIGCHLD, or waits for any child): how it ended is
            // not to be known, only that it has.
            is_readable(self.exit.as_fd()).then(|| ExitStatus::from_raw(UNKNOWN_EXIT << 8))
        })
    }

    /// Waits until `until` for its end, and reaps it.
    pub fn wait_until(&mut self, until: Time) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.try_reap() {
                return Some(status);
            }
            if clock::now() >= until {
                return None;
            }
            let mut fds = [PollFd::new(self.exit.as_fd(), PollFlags::POLLIN)];
            let _ = poll_until(&mut fds, until);
        }
    }

    /// Kills and reaps it, waiting for at most `patience` (a process in state D can't be killed).
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.kill();
        self.wait_until(clock::now() + patience)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(REAP_TIMEOUT);
    }
}

/// Exit code of a process that somebody else reaped.
const UNKNOWN_EXIT: i32 = 127;

/// Why a child did not come up.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// It ended, or did something else, before it said hello.
    #[error("it did not say hello: {0}")]
    Silent(#[from] ReceiveError),
    /// It is another version or build.
    #[error("it is another build: {theirs}; this is {ours}")]
    OtherBuild {
        /// The child's version and build.
        theirs: String,
        /// This process's.
        ours: String,
    },
}

/// Waits for a child's hello on `channel`, at most for `patience`.
///
/// # Errors
/// When it does not come, or from another build.
pub fn receive_hello(channel: &mut Channel, patience: Duration) -> Result<(), HelloError> {
    let until = clock::now() + patience;
    while !channel.inbox().has_frame() {
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        poll_until(&mut fds, until).map_err(ReceiveError::Io)?;
        let is_closed = channel.fill().map_err(ReceiveError::Io)? == channel::Filled::Closed;
        // It may have come while this process was stopped: that counts before the time that has passed.
        if is_closed || !channel.inbox().has_frame() && clock::now() >= until {
            return Err(ReceiveError::Closed.into());
        }
    }
    check_hello(channel.receive()?)
}

/// Checks a child's hello.
///
/// # Errors
/// When it comes from another build.
pub fn check_hello(theirs: Hello<'_>) -> Result<(), HelloError> {
    let ours = Hello::ours();
    if theirs == ours {
        return Ok(());
    }
    let name = |hello: &Hello<'_>| format!("{} ({})", hello.version, hello.build);
    Err(HelloError::OtherBuild {
        theirs: name(&theirs),
        ours: name(&ours),
    })
}

/// The first steps of every child (1 to 3 of the sequence above). Returns the channel to its starter, from which
/// messages of at most [`MAX_SETUP`] bytes and descriptors are taken.
///
/// # Errors
/// With a sentence for the person who started this by hand.
pub fn start_up() -> Result<Channel, String> {
    let by_hand = "this is a part of mpwasm that only mpwasm itself can start";
    if let Some(role) = role() {
        // What `ps` and `top` show: the name of the file is `exe`.
        let name = CString::new(format!("mpwasm-{}", role.name())).expect("a role's name has no NUL");
        let _ = nix::sys::prctl::set_name(&name);
    }
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|_| by_hand.to_owned())?;
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SockType)
        .map_err(|_| by_hand.to_owned())?;
    // Something must stand there, or the next descriptor would. Nothing can be read from it.
    nix::unistd::dup2_stdin(io::stderr()).map_err(|error| error.to_string())?;
    close_inherited(socket.as_fd());
    end_with_a_panic();
    inherited::settle_child().map_err(|error| format!("its signals can't be set: {error}"))?;
    set_parent_death_signal().map_err(|error| error.to_string())?;
    let channel = Channel::with_descriptors(socket, MAX_SETUP);
    channel.send(&Hello::ours()).map_err(|error| error.to_string())?;
    Ok(channel)
}

/// A panic in any thread ends the process: half a worker is worse than none, and whoever started it knows what to do
/// about its death. But the compiler turns panics of the engine's into refusals of the guest.
fn end_with_a_panic() {
    if role() == Some(Role::Compiler) {
        return;
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        exit_now(EXIT_PANIC);
    }));
}

/// Exit code of a child whose watchdog had to end it: its guest did not end at its deadline (rung 3 of the timeout
/// ladder). Who started it knows from a clock of its own; the code is for people who watch the process.
pub const EXIT_WATCHDOG: i32 = 113;
/// Exit code of a child that could not do what it was started for.
pub const EXIT_FAILURE: i32 = 112;
/// What Rust's own programs exit with after a panic.
const EXIT_PANIC: i32 = 101;

/// Closes every descriptor but 0, 1, 2 and `keep`: what another library of the parent forgot to mark close-on-exec
/// must not reach a worker, nor keep a user's pipe open.
fn close_inherited(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd().unsigned_abs();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: only called at the very start of a child, when it owns no descriptor but 0, 1, 2 and `keep`.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
        }
    };
    close(3, keep.saturating_sub(1));
    close(keep.max(2) + 1, u32::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_that_has_come_counts_when_its_time_has_passed() {
        let (ours, theirs) = channel::pair().unwrap();
        let mut ours = Channel::new(ours, MAX_SETUP);
        assert!(receive_hello(&mut ours, Duration::ZERO).is_err());
        Channel::new(theirs, MAX_SETUP).send(&Hello::ours()).unwrap();
        receive_hello(&mut ours, Duration::ZERO).unwrap();
    }
}
