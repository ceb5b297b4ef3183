//! Messages between the parent and the compiler.

use std::time::Duration;

use mpwasm_types::bounded;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::nanos;
use mpwasm_types::sandbox_options::SandboxOptions;
use serde::{Deserialize, Serialize};

/// Starts the compiler: the only message that it gets. The guest (a binary module or text) comes with it, in a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToCompiler {
    /// Settings of the engine, on which the code depends.
    pub engine: EngineSettings,
    /// Longest time it may take.
    #[serde(with = "nanos")]
    pub timeout: Duration,
    /// Options of its sandbox; `None` for no sandbox.
    pub jail: Option<SandboxOptions>,
}

/// Reports the result of the compilation. The last message is `Compiled`, `Refused` or `NotWasm`. `Checked` may precede it.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromCompiler<'a> {
    /// The description of a guest that passed all checks that need no limits. Its code is being compiled.
    Checked(GuestInfo),
    /// The artifact.
    Compiled(#[serde(with = "serde_bytes")] &'a [u8]),
    /// The description of a module that may not run.
    Refused(GuestInfo),
    /// The file is no module, for this reason.
    NotWasm(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
}
