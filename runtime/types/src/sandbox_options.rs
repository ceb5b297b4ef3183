//! Which parts of the jail are built around each child.

use serde::{Deserialize, Serialize};

use crate::grants::Access;
use crate::settings::User;

/// What is to be built around each child. The parent makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxOptions {
    /// Whether the kernel has Landlock.
    pub landlock: bool,
    /// Whether the kernel has seccomp filters that can be put on all threads at once.
    pub seccomp: bool,
    /// Who the children shall be.
    pub user: Option<User>,
    /// What workers may do with files, where a directory is granted to their tasks.
    pub files: Option<Access>,
}

impl SandboxOptions {
    /// This plan, for the dispatcher of a pool and its workers, whose tasks may do this with files.
    #[must_use]
    pub fn with_files(self, files: Option<Access>) -> Self {
        Self { files, ..self }
    }
}
