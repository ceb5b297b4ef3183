//! Settings of an engine, a subset of the pool's.

use serde::{Deserialize, Serialize};

use crate::settings::{Interrupt, Settings, Terminals};

/// Bytes of its tasks' memories that an idle worker keeps instead of giving their pages back to the kernel: 32 MiB. A task that writes
/// as much then runs without page faults, which cost about thirteen times as much as restoring the pages.
const KEEP_RESIDENT: u64 = 32 << 20;
/// Bytes that all workers of a pool keep in this way: 256 MiB, as long as each may keep [`MIN_KEEP_RESIDENT`].
const POOL_KEEP_RESIDENT: u64 = 256 << 20;
/// Bytes that a worker of any pool may keep in this way: 1 MiB, which is more than most tasks write.
const MIN_KEEP_RESIDENT: u64 = 1 << 20;

/// Returns the bytes of its tasks' memories that each of `size` workers keeps between tasks, where `memory` is the cap of a task.
fn keep_resident(memory: u64, size: u32) -> u64 {
    let share = POOL_KEEP_RESIDENT / u64::from(size.max(1));
    KEEP_RESIDENT.min(memory).min(share).max(MIN_KEEP_RESIDENT)
}

/// Settings that affect compiled code and stores. They are sent to every process that creates an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// Largest linear memory of an instance, bytes.
    pub memory: u64,
    /// Bytes of the memories of its tasks that a worker keeps between tasks. Compiled code does not depend on it.
    pub keep_resident: u64,
    /// How calls are interrupted, which decides whether compiled code has checks.
    pub interrupt: Interrupt,
    /// Instruction budget of a task. `None` counts no instructions.
    pub fuel: Option<u64>,
    /// Stack of a guest, bytes. Compiled code does not depend on it.
    pub stack: u64,
    /// Largest number of elements of a table. Compiled code does not depend on it.
    pub max_table: u32,
    /// Largest output of a call, bytes.
    pub max_result: u64,
    /// Bytes of stdout, stderr and log of one call. More is cut and flagged.
    pub max_output: u64,
    /// Whether a command's output becomes its result instead of being streamed.
    pub capture: bool,
    /// Streams of commands that are terminals.
    pub terminals: Terminals,
}

impl From<&Settings> for EngineSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            memory: settings.memory,
            keep_resident: keep_resident(settings.memory, settings.size),
            interrupt: settings.interrupt,
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

impl EngineSettings {
    /// Returns the settings of engines outside of workers, for callbacks, folds and `tasks`. Their processes are not replaced, so
    /// their code always has checks.
    #[must_use]
    pub fn outside_workers(settings: &Settings) -> Self {
        Self {
            interrupt: Interrupt::Epoch,
            ..Self::from(settings)
        }
    }
}
