//! Spawning a child.

use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::Process;
use mpwasm_protocol::channel;
use mpwasm_system::inherited::explained;
use mpwasm_system::process::{MARKER, without_proc};
use mpwasm_types::role::Role;

/// The binary that children execute.
#[derive(Clone, Debug, Default)]
pub enum Executable {
    /// This process's own, even if its file has been replaced meanwhile.
    #[default]
    Own,
    /// The file at this path, which must be of the same build.
    At(PathBuf),
}

impl Executable {
    /// Returns the path by which it can be opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Own => Path::new("/proc/self/exe"),
            Self::At(path) => path,
        }
    }
}

/// Spawns a child, and returns it with the socket to it. Its stdout and stderr go to `diagnostics`. If that is `None`, they go
/// where those of this process go.
///
/// The calling thread must live as long as the child: the kernel sends the parent-death signal when that thread ends.
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
