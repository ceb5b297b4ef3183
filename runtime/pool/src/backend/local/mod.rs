//! Tasks run on this machine: in workers of a dispatcher, which is a child of this process.

pub(crate) mod diagnostics;
pub(crate) mod task_pipe;

use std::io::PipeReader;

use mpwasm_types::settings::Terminals;

/// Streams of a pool's commands.
#[derive(Debug, Default)]
pub(crate) struct CommandStreams {
    /// Read by commands after their own stdin.
    pub stdin: Option<PipeReader>,
    pub terminals: Terminals,
}
