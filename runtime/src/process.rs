//! Child processes: the one file that knows how Linux starts them, finds out that they died, and ties their lives
//! to ours. What a child does then is for `dispatcher`, `worker`, `compiler` and `tasks`. The copies of this process that
//! only try something are no children in this sense: they are in `jail/trial.rs`.
//!
//! A child is a re-execution of one binary with a marker as its first argument. It gets an empty environment, a
//! process group of its own, a socket to its starter as descriptor 0, and a pipe for diagnostics as 1 and 2; every
//! other descriptor comes later through the socket. The start of a child, in order:
//!
//! 1. close what was inherited by accident, and set signals and limits ([`enter`], [`inherited`]);
//! 2. ask for a parent-death signal: only a second mechanism, the first is the end of the socket's file;
//! 3. say hello ([`Hello`]), so that the starter knows that this is its own build;
//! 4. receive settings, descriptors and guests; a worker's engine opens here what it keeps open;
//! 5. [`jail::shut_in`](crate::jail::shut_in), before any thread exists;
//! 6. start threads;
//! 7. [`jail::lock`](crate::jail::lock), on all threads, when the guests are loaded; then run.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;

use crate::error::Error;
use crate::inherited::{self, explained};
use crate::jail::die_with_starter;
pub use crate::role::Role;
use crate::settings::{Jail, KEPT_HEAP, REAP_PATIENCE, User};
use crate::time::Time;
use crate::wire::channel::{self, Channel, ReceiveError};
use crate::wire::messages::{Hello, MAX_SETUP};

/// The marker in front of a child's role, as its first argument.
const MARKER: &str = "--mpwasm-child=";

/// What the first call of `mpwasm::init` found; empty before that.
static AT_INIT: OnceLock<AtInit> = OnceLock::new();

/// What a process was doing when `mpwasm::init` was called. Its children do the same by then.
enum AtInit {
    /// Nothing yet.
    Nothing,
    /// It ran several threads.
    Threads(usize),
    /// It ran a Tokio runtime, which may have no threads, but uses system calls that a jail forbids.
    Tokio,
}

/// Records that `mpwasm::init` has run: a copy of this executable can become a child. Only the first call counts, as a copy
/// gets no further.
pub fn set_initialised() {
    AT_INIT.get_or_init(|| {
        if tokio::runtime::Handle::try_current().is_ok() {
            return AtInit::Tokio;
        }
        match thread_count() {
            Ok(threads) if threads > 1 => AtInit::Threads(threads),
            // A process that cannot count its threads leaves the check to its children, which refuse their jail.
            _ => AtInit::Nothing,
        }
    });
}

/// Checks that a copy of this executable can become a child, in the jail where one is asked for.
///
/// # Errors
/// [`Error::InitMissing`], or [`Error::InitLate`]: a jail is built around the only thread of a process.
pub fn check_initialised(jail: Jail) -> Result<(), Error> {
    let late = |found: String| match jail {
        Jail::Off => Ok(()),
        Jail::BestEffort | Jail::Strict => Err(Error::InitLate { found }),
    };
    match AT_INIT.get() {
        None => Err(Error::InitMissing),
        Some(AtInit::Nothing) => Ok(()),
        Some(AtInit::Threads(count)) => late(format!("the program had {count} threads")),
        Some(AtInit::Tokio) => late("the program ran a Tokio runtime".to_owned()),
    }
}

/// Returns the number of this process's threads.
///
/// # Errors
/// When there is no `/proc`.
pub fn thread_count() -> io::Result<usize> {
    // As every folder it counts itself, its name above, and those that are in it, which may not be listed in a jail.
    let links = std::fs::metadata("/proc/self/task")
        .map_err(without_proc)?
        .nlink();
    Ok(usize::try_from(links.saturating_sub(2)).unwrap_or(usize::MAX))
}

/// The role that this process was started for: `None` in a parent.
#[must_use]
pub fn role() -> Option<Role> {
    let first = std::env::args_os().nth(1)?;
    let name = first.to_str()?.strip_prefix(MARKER)?;
    Role::ALL.into_iter().find(|role| role.name() == name)
}

/// Returns the error, or what it comes from where something was not found because there is no `/proc`.
fn without_proc(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound if !Path::new("/proc/self").exists() => io::Error::other(
            "there is no /proc, by which mpwasm finds its own executable and counts its threads: mount one, or give the \
             container one",
        ),
        _ => error,
    }
}

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

impl Executable {
    /// Checks that children that are this user can become copies of it in their turn.
    ///
    /// # Errors
    /// [`Error::BadSetting`] when they can't.
    pub fn check_user(&self, user: User) -> Result<(), Error> {
        let metadata = std::fs::metadata(self.path())?;
        let shift = match (metadata.uid() == user.uid, metadata.gid() == user.gid) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        if metadata.mode() >> shift & 1 == 1 {
            return Ok(());
        }
        let (uid, gid) = (user.uid, user.gid);
        Err(Error::BadSetting(format!(
            "user {uid}:{gid} may not execute this executable, of which the pool's processes are copies"
        )))
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
            if Time::now() >= until {
                return None;
            }
            let mut fds = [PollFd::new(self.exit.as_fd(), PollFlags::POLLIN)];
            let _ = poll_until(&mut fds, until);
        }
    }

    /// Kills and reaps it, waiting for at most `patience` (a process in state D can't be killed).
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.kill();
        self.wait_until(Time::now() + patience)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(REAP_PATIENCE);
    }
}

/// Exit code of a process that somebody else reaped.
const UNKNOWN_EXIT: i32 = 127;

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Says in words how a process ended.
#[must_use]
pub fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => signal_name(signal),
        (None, None) => "unknown status".to_owned(),
    }
}

/// `SIGKILL` for 9, and so on.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// Bytes that can be written without a wait to a pipe that says that it can be written: there is a page free in it.
pub const PIPE_PIECE: usize = 4 << 10;

/// Waits for one of `fds`, at most until `until`. A signal is no reason to return early with an error.
///
/// # Errors
/// When the descriptors are not valid.
pub fn poll_until(fds: &mut [PollFd<'_>], until: Time) -> io::Result<()> {
    loop {
        let timeout = (until != Time::NEVER).then(|| TimeSpec::from(until.since(Time::now())));
        match nix::poll::ppoll(fds, timeout, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

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
    let until = Time::now() + patience;
    while !channel.inbox().has_frame() {
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        poll_until(&mut fds, until).map_err(ReceiveError::Io)?;
        let is_closed = channel.fill().map_err(ReceiveError::Io)? == channel::Filled::Closed;
        // It may have come while this process was stopped: that counts before the time that has passed.
        if is_closed || !channel.inbox().has_frame() && Time::now() >= until {
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
pub fn enter() -> Result<Channel, String> {
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
    die_with_starter().map_err(|error| error.to_string())?;
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
pub const EXIT_CONDEMNED: i32 = 113;
/// Exit code of a child that could not do what it was started for.
pub const EXIT_UNABLE: i32 = 112;
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

/// Ends this process at once, running nothing: for a watchdog, beside a thread that may be anywhere.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and has no precondition.
    unsafe { libc::_exit(code) }
}

/// Makes a sealed memory file of `bytes`: nobody can change it any more, who maps it may rely on that.
///
/// # Errors
/// When there is no memory or descriptor for it.
pub fn sealed_memory(name: &std::ffi::CStr, bytes: &[u8]) -> io::Result<File> {
    sealed_memory_of(name, |file| file.write_all(bytes))
}

/// As [`sealed_memory`], with what `fill` writes.
///
/// # Errors
/// When there is no memory or descriptor for it, and whatever `fill` returns.
pub fn sealed_memory_of(
    name: &std::ffi::CStr,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map_err(|errno| explained(errno.into()))?;
    let mut file = File::from(fd);
    // A memory file counts against the limit of the size of files. Children ignore the signal of that, and the jail of
    // most lacks the system calls of a shield.
    let filled = match role() {
        None => inherited::shielded(|| fill(&mut file)),
        Some(_) => fill(&mut file),
    };
    filled.map_err(|error| {
        let (kind, name) = (error.kind(), name.to_string_lossy());
        io::Error::new(
            kind,
            format!("the memory file {name} can't be written: {}", explained(error)),
        )
    })?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// Raises this process's soft limit of open descriptors to `count`, as far as the hard limit allows, which is returned. A
/// soft limit that is high enough stays: programs that use `select` rely on the usual one.
pub fn allow_descriptors(count: u64) -> u64 {
    // If the limits can't be read, the error of a refused descriptor tells what they are.
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    if soft < count {
        // Twice as much, so that this happens seldom.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, count.saturating_mul(2).min(hard), hard);
    }
    hard
}

/// Timers of the calling thread fire when they are due, not up to 50 µs later as is the default: for threads that
/// keep deadlines.
pub fn exact_timers() {
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Lets the process keep up to [`KEPT_HEAP`] bytes that were freed for what is allocated next.
pub fn keep_heap() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it sets a number of the allocator's.
        let _ = unsafe { libc::mallopt(threshold, KEPT_HEAP) };
    }
}

/// Keeps the heaps of all threads as large as they have become. glibc gives each thread a heap of its own, and the first one
/// that shrinks reads /proc/sys/vm/overcommit_memory: at any time, and a jailed process may open nothing. For a process
/// with one job, whose threads should not wait for each other as they would with [`share_one_heap`].
pub fn never_shrink_heaps() {
    #[cfg(target_env = "gnu")]
    for (option, bytes) in [
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        // Fixed by the line above, at its small first value; this is what it becomes otherwise.
        (libc::M_MMAP_THRESHOLD, KEPT_HEAP),
    ] {
        // SAFETY: it sets a number of the allocator's.
        let _ = unsafe { libc::mallopt(option, bytes) };
    }
}

/// Limits the descriptors of this process: to `most`, or less where it may not have so many.
///
/// # Errors
/// When the kernel refuses.
pub fn limit_files(most: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = most.min(hard);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Makes reads and writes of `fd` return instead of waiting.
///
/// # Errors
/// When the descriptor is not valid.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Lets all threads that are started from now on allocate from one heap. glibc gives each its own, and the first one that
/// shrinks reads /proc/sys/vm/overcommit_memory: at any time, and a jailed process may open nothing.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator's, which takes effect when a thread first allocates.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
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
