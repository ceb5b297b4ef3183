//! What is known about a guest before it runs: the words in which the compiler process reports.
//!
//! Data only. The names in it are the guest's own, unchanged: [make them inert](crate::inert::inert) before they
//! reach a terminal. The sentences in `warnings` and `refusals` are inert already.

use serde::{Deserialize, Serialize};

/// A guest, as its exports and imports describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInfo {
    /// The models, the unnamed one first, then in the order of the guest's exports.
    pub models: Vec<ModelInfo>,
    /// Whether there is an export `tasks`.
    pub has_tasks: bool,
    /// Whether it is a command: there is a `_start` and no `runnable`. Its one model is the unnamed one, whose
    /// `runnable` is `_start`.
    pub is_command: bool,
    /// Whether there is an `_initialize`, which is called first in every instance.
    pub has_initialize: bool,
    /// Module and name of what the guest imports, each once.
    pub imports: Vec<(String, String)>,
    /// The exported memory.
    pub memory: Option<MemoryInfo>,
    /// What is suspicious, though no reason to refuse the guest: one line each.
    pub warnings: Vec<String>,
    /// Why the guest is not accepted: one line each, empty for a guest that is.
    pub refusals: Vec<String>,
}

impl GuestInfo {
    /// The index of the model called `name`, which is what a call names it by.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|model| model.name == name)
    }
}

/// One model and its exports, by the exact names that the guest gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Empty for the unnamed model.
    pub name: String,
    /// The export that a worker runs.
    pub runnable: String,
    /// The export that gets the result.
    pub callback: Option<String>,
    /// The export that gets the error.
    pub error_callback: Option<String>,
    /// The export that says in the end what the callbacks have made of all.
    pub final_callback: Option<String>,
}

/// Sizes of a linear memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// What an instance starts with.
    pub initial: u64,
    /// What the guest itself declares as the most.
    pub maximum: Option<u64>,
}
