//! Messages between the parent and the compiler.

use std::time::Duration;

use mpwasm_types::bounded;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::sandbox_options::SandboxOptions;
use serde::{Deserialize, Serialize};

use mpwasm_types::nanos;

/// Starts the compiler: its only message. The guest (a binary module or text) comes with it, in a memory file.
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

/// Answers the parent: `Checked` and then `Compiled` or `Refused`, or one of the others alone.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromCompiler<'a> {
    /// The description of a guest that passed all checks that need no limits. Its code is being compiled.
    Checked(GuestInfo),
    /// The artifact.
    Compiled(#[serde(with = "serde_bytes")] &'a [u8]),
    /// The description of a module that may not run.
    Refused(GuestInfo),
    /// Why the file is no module.
    NotWasm(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
}
