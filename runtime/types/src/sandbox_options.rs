//! Selects the layers of the sandbox around each child.

use serde::{Deserialize, Serialize};

use crate::grants::Access;
use crate::settings::User;

/// Layers of the sandbox around each child. The parent decides, and the children apply them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxOptions {
    /// Whether the kernel has Landlock.
    pub landlock: bool,
    /// Whether the kernel has seccomp filters that can be put on all threads at once.
    pub seccomp: bool,
    /// User that the children switch to.
    pub user: Option<User>,
    /// Access of workers to files, if their tasks are granted a directory.
    pub files: Option<Access>,
}

impl SandboxOptions {
    /// Returns these options with this access to files, for a pool's dispatcher and its workers.
    #[must_use]
    pub fn with_files(self, files: Option<Access>) -> Self {
        Self { files, ..self }
    }
}
