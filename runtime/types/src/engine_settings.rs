//! The settings of an engine: a part of those of the pool.

use serde::{Deserialize, Serialize};

use crate::settings::{Settings, Terminals};

/// The settings that shape compiled code and stores. They travel to every process that makes an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// Cap of an instance's linear memory, bytes.
    pub memory: u64,
    /// Instruction budget of a task; `None` counts nothing.
    pub fuel: Option<u64>,
    /// Stack of a guest, bytes. It does not shape the code.
    pub stack: u64,
    /// Elements that a table may have. They do not shape the code either.
    pub max_table: u32,
    /// Largest output of a call, bytes.
    pub max_result: u64,
    /// Most bytes of stdout, stderr and log of one call; more is cut and flagged.
    pub max_output: u64,
    /// Whether what a command writes is its result, instead of being handed on.
    pub capture: bool,
    /// Which streams of commands are terminals.
    pub terminals: Terminals,
}

impl From<&Settings> for EngineSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            memory: settings.memory,
            fuel: settings.fuel,
            stack: settings.stack,
            max_table: settings.max_table,
            max_result: settings.max_result,
            max_output: settings.max_output,
            capture: settings.capture,
            terminals: Terminals::default(),
        }
    }
}
