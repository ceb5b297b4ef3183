//! The first steps of a child, in the child itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::exit_code::EXIT_PANIC;
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::messages::{Hello, MAX_SETUP};
use mpwasm_system::inherited;
use mpwasm_system::process::{exit_now, role, set_parent_death_signal};
use mpwasm_types::role::Role;

/// Why a child can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartUpError {
    /// File descriptor 0 is not a socket: a user has started this process.
    #[error("this is a part of mpwasm that only mpwasm itself can start")]
    NotSpawned,
    /// Descriptor 0 can't be replaced.
    #[error("its standard input can't be replaced: {0}")]
    Stdin(nix::Error),
    /// The signal mask or a disposition can't be set.
    #[error("its signals can't be set: {0}")]
    Signals(io::Error),
    /// The parent-death signal can't be set.
    #[error("its parent-death signal can't be set: {0}")]
    ParentDeathSignal(nix::Error),
    /// The starter has closed the socket.
    #[error("its hello can't be sent: {0}")]
    Hello(io::Error),
}

/// Does the first steps of every child: 1 to 3 of those that the [module](super) lists. Returns the channel to the
/// starter, which accepts file descriptors, and messages of at most [`MAX_SETUP`] bytes.
///
/// # Errors
/// When a user has started this process, or the kernel refuses a step.
pub fn start_up() -> Result<Channel, StartUpError> {
    if let Some(role) = role() {
        // `ps` and `top` show this name; that of the file is `exe`.
        let name = CString::new(format!("mpwasm-{}", role.name())).expect("a role's name has no NUL");
        let _ = nix::sys::prctl::set_name(&name);
    }
    let not_spawned = |_: nix::Error| StartUpError::NotSpawned;
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|_| StartUpError::NotSpawned)?;
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SockType).map_err(not_spawned)?;
    // Descriptor 0 stays in use, or the next descriptor that is opened would get its number. It can't be read from.
    nix::unistd::dup2_stdin(io::stderr()).map_err(StartUpError::Stdin)?;
    close_inherited(socket.as_fd());
    exit_on_panic();
    inherited::reset().map_err(StartUpError::Signals)?;
    set_parent_death_signal().map_err(StartUpError::ParentDeathSignal)?;
    let channel = Channel::with_descriptors(socket, MAX_SETUP);
    channel.send(&Hello::ours()).map_err(StartUpError::Hello)?;
    Ok(channel)
}

/// Makes a panic in any thread end the process: a worker that lacks a thread would hang, and its starter handles its
/// death. The compiler is excepted, since it turns panics of the engine into refusals of the guest.
fn exit_on_panic() {
    if role() == Some(Role::Compiler) {
        return;
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        exit_now(EXIT_PANIC);
    }));
}

/// Closes all file descriptors but 0, 1, 2 and `keep`. A library of the parent may have opened some without
/// close-on-exec: they must neither reach a worker, nor keep a user's pipe open.
fn close_inherited(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd().unsigned_abs();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: this is the start of a child, which owns no descriptor but 0, 1, 2 and `keep`.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
        }
    };
    close(3, keep.saturating_sub(1));
    close(keep.max(2) + 1, u32::MAX);
}
