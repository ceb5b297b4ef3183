//! Compiled guests, prepared for instantiation.
//!
//! Work that depends only on the guest is done here, once: imports are resolved and exports are found.

use std::fs::File;

use wasmtime::{InstancePre, Linker, Module, ModuleExport};

use crate::abi::call::Export;
use crate::error::LoadError;
use crate::state::InstanceState;
use crate::wasi;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::ModelId;

/// A guest that is ready to be instantiated.
pub(crate) struct LinkedGuest {
    pub(crate) pre: InstancePre<InstanceState>,
    /// Its memory. Each guest that is accepted exports one.
    pub(crate) memory: Option<ModuleExport>,
    pub(crate) initialize: Option<ModuleExport>,
    /// Whether the guest may call wasmtime-wasi, which needs a tokio runtime.
    pub(crate) uses_wasi: bool,
    /// Whether its only model is a command: `_start`, of type `() -> ()`.
    pub(crate) is_command: bool,
    tasks: Option<EntryPoint>,
    models: Vec<ModelEntries>,
}

struct ModelEntries {
    runnable: EntryPoint,
    callback: Option<EntryPoint>,
    error_callback: Option<EntryPoint>,
    final_callback: Option<EntryPoint>,
}

/// An export that can be called.
pub(crate) struct EntryPoint {
    pub(crate) export: ModuleExport,
    /// For messages: "in `runnable`".
    pub(crate) place: String,
}

impl LinkedGuest {
    /// Loads the artifact in `file`.
    pub(crate) fn new(
        linker: &Linker<InstanceState>,
        file: File,
        info: &GuestInfo,
    ) -> Result<Self, LoadError> {
        // SAFETY: the bytes must come from `Module::serialize` of a trusted process, unchanged, and must not
        // change while the module lives. They were compiled by the pool's own compiler process. The parent, which all others
        // trust, vouches for them and passes them on in a sealed memory file, which cannot be written to any more, or in a file of the
        // cache, which it has hashed, which only this user can write, and which mpwasm never changes.
        let module = unsafe { Module::deserialize_open_file(linker.engine(), file) }.map_err(artifact)?;
        let pre = linker.instantiate_pre(&module).map_err(artifact)?;
        let entry = |name: &String| {
            Ok(EntryPoint {
                export: find(&module, name)?,
                place: format!("in `{}`", escape(name)),
            })
        };
        let models = info.models.iter().map(|model| {
            Ok(ModelEntries {
                runnable: entry(&model.runnable)?,
                callback: model.callback.as_ref().map(entry).transpose()?,
                error_callback: model.error_callback.as_ref().map(entry).transpose()?,
                final_callback: model.final_callback.as_ref().map(entry).transpose()?,
            })
        });
        Ok(Self {
            models: models.collect::<Result<_, _>>()?,
            tasks: info.has_tasks.then(|| entry(&"tasks".to_owned())).transpose()?,
            memory: module.get_export_index("memory"),
            initialize: info
                .has_initialize
                .then(|| find(&module, "_initialize"))
                .transpose()?,
            is_command: info.is_command,
            uses_wasi: module
                .imports()
                .any(|import| wasi::uses_context(import.module(), import.name())),
            pre,
        })
    }

    /// Returns the export of a call, or `None` if the guest does not have it.
    pub(crate) fn entry(&self, model: ModelId, export: Export) -> Option<&EntryPoint> {
        if export == Export::Tasks {
            return self.tasks.as_ref();
        }
        let model = self.models.get(model.index())?;
        match export {
            Export::Runnable => Some(&model.runnable),
            Export::Callback => model.callback.as_ref(),
            Export::ErrorCallback => model.error_callback.as_ref(),
            Export::FinalCallback => model.final_callback.as_ref(),
            Export::Tasks => None,
        }
    }
}

fn find(module: &Module, name: &str) -> Result<ModuleExport, LoadError> {
    module
        .get_export_index(name)
        .ok_or_else(|| LoadError::MissingExport(escape(name).into_owned()))
}

fn artifact(error: wasmtime::Error) -> LoadError {
    LoadError::Artifact(escape(&format!("{error:#}")).into_owned())
}
