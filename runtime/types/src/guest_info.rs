//! Describes a guest before it runs. The compiler process sends this description.
//!
//! The names are the guest's own, unchanged: [escape them](crate::escape::escape) before they are displayed. The sentences in
//! `warnings` and `refusals` are already escaped.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::bounded::MAX_NOTE;
use crate::engine_settings::EngineSettings;

/// Models of one guest.
pub const MAX_MODELS: usize = 64;

/// Tables of one guest: what a slot of a worker's instance pool holds. Compilers emit one.
pub const MAX_TABLES: u32 = 4;

/// Largest description of a guest, as the compiler reports it and the cache keeps it: more than all of its names and sentences
/// together can have.
pub const MAX_DESCRIPTION: usize = 4 << 20;

/// Imports in a guest's description: mpwasm and WASI together have fewer than a hundred.
pub const MAX_IMPORTS: usize = 256;

/// Longest module or name of an import in a guest's description: those that exist have fewer than fifty bytes.
pub const MAX_IMPORT_NAME: usize = 64;

/// Longest name of an export that mpwasm calls.
pub const MAX_EXPORT_NAME: usize = 256;

/// Reasons to refuse a guest that are listed. One more line counts the others.
pub const MAX_REFUSALS: usize = 50;

/// Description of a guest, from its exports and imports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestInfo {
    /// The models: the unnamed one first, then those in the order of the guest's exports.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_MODELS>")]
    pub models: Vec<ModelInfo>,
    /// Whether the guest exports `tasks`.
    pub has_tasks: bool,
    /// Whether the guest is a command: it exports `_start` and no `runnable`. Its only model is the unnamed one, whose
    /// `runnable` is `_start`.
    pub is_command: bool,
    /// Whether the guest exports `_initialize`, which is called first in every instance.
    pub has_initialize: bool,
    /// Module and name of each import, without duplicates.
    #[serde(deserialize_with = "bounded::pairs::<_, MAX_IMPORTS, MAX_IMPORT_NAME>")]
    pub imports: Vec<(String, String)>,
    /// The exported memory.
    pub memory: Option<MemoryInfo>,
    /// Sizes of an instance before it runs.
    pub initial: InitialSizes,
    /// Suspicious properties that are no reason to refuse the guest, one line each.
    #[serde(deserialize_with = "bounded::texts::<_, MAX_REFUSALS, MAX_NOTE>")]
    pub warnings: Vec<String>,
    /// Reasons to refuse the guest, one line each. Empty for an accepted guest.
    #[serde(deserialize_with = "bounded::texts::<_, { MAX_REFUSALS + 1 }, MAX_NOTE>")]
    pub refusals: Vec<String>,
}

impl GuestInfo {
    /// Returns the index of the model called `name`, by which calls refer to it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<usize> {
        self.models.iter().position(|model| model.name == name)
    }

    /// Returns whether the guest has exports that run outside of workers: `tasks`, callbacks and folds.
    #[must_use]
    pub fn runs_outside_workers(&self) -> bool {
        let has_callback = |model: &ModelInfo| {
            model.callback.is_some() || model.error_callback.is_some() || model.final_callback.is_some()
        };
        self.has_tasks || self.models.iter().any(has_callback)
    }
}

/// A model and the exact names of its exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Empty for the unnamed model.
    #[serde(deserialize_with = "bounded::text::<_, MAX_EXPORT_NAME>")]
    pub name: String,
    /// Export that a worker runs.
    #[serde(deserialize_with = "bounded::text::<_, MAX_EXPORT_NAME>")]
    pub runnable: String,
    /// Export that receives the result.
    #[serde(deserialize_with = "bounded::optional_text::<_, MAX_EXPORT_NAME>")]
    pub callback: Option<String>,
    /// Export that receives the error.
    #[serde(deserialize_with = "bounded::optional_text::<_, MAX_EXPORT_NAME>")]
    pub error_callback: Option<String>,
    /// Export that returns the final value of all callbacks.
    #[serde(deserialize_with = "bounded::optional_text::<_, MAX_EXPORT_NAME>")]
    pub final_callback: Option<String>,
}

/// Sizes of an instance before it runs, exported or not.
///
/// They are compared with the limits when a guest is loaded. Compiled code does not depend on the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialSizes {
    /// Bytes of the memory.
    pub memory: u64,
    /// Elements of the largest table.
    pub table_elements: u64,
    /// Number of tables.
    pub tables: u32,
}

impl InitialSizes {
    /// Returns why an instance of these sizes is above the limits, one line for each limit.
    pub fn above(&self, limits: &EngineSettings) -> Vec<String> {
        let mut lines = Vec::new();
        if self.memory > limits.memory {
            lines.push(format!(
                "the initial memory of {} bytes is above the cap of {} bytes",
                self.memory, limits.memory
            ));
        }
        if self.table_elements > u64::from(limits.max_table) {
            lines.push(format!(
                "a table of {} elements is above the limit of {} (--max-table)",
                self.table_elements, limits.max_table
            ));
        }
        if self.tables > MAX_TABLES {
            lines.push(format!(
                "{} tables are above the limit of {MAX_TABLES}",
                self.tables
            ));
        }
        lines
    }
}

/// Sizes of a linear memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Initial size.
    pub initial: u64,
    /// Largest size that the guest declares.
    pub maximum: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether a process accepts this description from another.
    fn is_accepted(info: &GuestInfo) -> bool {
        let bytes = postcard::to_allocvec(info).unwrap();
        match postcard::from_bytes::<GuestInfo>(&bytes) {
            Ok(decoded) => decoded == *info,
            Err(error) => {
                assert_eq!(error, postcard::Error::SerdeDeCustom);
                false
            }
        }
    }

    fn text(len: usize) -> String {
        "x".repeat(len)
    }

    fn model(name: usize) -> ModelInfo {
        ModelInfo {
            name: text(name),
            runnable: text(MAX_EXPORT_NAME),
            callback: Some(text(MAX_EXPORT_NAME)),
            error_callback: Some(text(MAX_EXPORT_NAME)),
            final_callback: Some(text(MAX_EXPORT_NAME)),
        }
    }

    fn import(name: usize) -> (String, String) {
        (text(MAX_IMPORT_NAME), text(name))
    }

    #[test]
    fn a_description_is_accepted_up_to_its_bounds() {
        let most = || GuestInfo {
            models: vec![model(MAX_EXPORT_NAME); MAX_MODELS],
            imports: vec![import(MAX_IMPORT_NAME); MAX_IMPORTS],
            warnings: vec![text(MAX_NOTE); MAX_REFUSALS],
            refusals: vec![text(MAX_NOTE); MAX_REFUSALS + 1],
            ..GuestInfo::default()
        };
        assert!(is_accepted(&most()));
        assert!(postcard::to_allocvec(&most()).unwrap().len() < MAX_DESCRIPTION);
        let beyond: [fn(&mut GuestInfo); 8] = [
            |info| info.models.push(model(1)),
            |info| info.models[0] = model(MAX_EXPORT_NAME + 1),
            |info| info.models[1].error_callback = Some(text(MAX_EXPORT_NAME + 1)),
            |info| info.imports.push(import(1)),
            |info| info.imports[0] = import(MAX_IMPORT_NAME + 1),
            |info| info.warnings.push(text(1)),
            |info| info.refusals.push(text(1)),
            |info| info.refusals[0] = text(MAX_NOTE + 1),
        ];
        for (index, change) in beyond.into_iter().enumerate() {
            let mut info = most();
            change(&mut info);
            assert!(!is_accepted(&info), "change {index}");
        }
    }
}
