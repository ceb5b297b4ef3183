//! From a compiled artifact to something that can be instantiated quickly.
//!
//! All that depends only on the guest is done here, once: imports are resolved, exports are found.

use std::fs::File;
use std::sync::Arc;

use thiserror::Error;
use wasmtime::{Engine, InstancePre, Linker, Module, ModuleExport, Store};

use super::call::Export;
use super::deadline::Deadline;
use super::engine::{EngineRole, engine};
use super::output::OutputSink;
use super::state::State;
use super::{host, wasi};
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::GuestInfo;

/// Why an engine cannot be made or an artifact not be loaded. For artifacts that this version of mpwasm has
/// compiled with the same settings, none of this happens.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The engine refused its settings, or the system refused it the address space.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// The artifact is damaged, or was made by another version or with other settings.
    #[error("the compiled guest cannot be loaded: {0}")]
    Artifact(String),
    /// The artifact does not fit what was said about it.
    #[error("the compiled guest has no export `{0}`")]
    MissingExport(String),
    /// More guests than can be counted.
    #[error("too many guests")]
    TooMany,
}

/// A guest that is ready to be instantiated.
pub(super) struct Loaded {
    pub(super) pre: InstancePre<State>,
    pub(super) initialize: Option<ModuleExport>,
    /// Whether wasmtime-wasi may be entered, which needs a tokio runtime.
    pub(super) uses_wasi: bool,
    /// Whether its only model is a command: `_start`, of type `() -> ()`.
    pub(super) is_command: bool,
    tasks: Option<Entry>,
    models: Vec<Model>,
}

struct Model {
    runnable: Entry,
    callback: Option<Entry>,
    error_callback: Option<Entry>,
    final_callback: Option<Entry>,
}

/// An export that can be called.
pub(super) struct Entry {
    pub(super) export: ModuleExport,
    /// For messages: "in `runnable`".
    pub(super) place: String,
}

impl Loaded {
    /// Loads the artifact in `file`.
    pub(super) fn new(linker: &Linker<State>, file: File, info: &GuestInfo) -> Result<Self, LoadError> {
        // SAFETY: the bytes must come from `Module::serialize` of a trusted process, unchanged, and must not
        // change while the module lives. They were compiled by the pool's own compiler process; the parent, which
        // is trusted by all others, vouches for them and hands them on in a sealed memory file that nobody can
        // write to any more.
        let module = unsafe { Module::deserialize_open_file(linker.engine(), file) }.map_err(artifact)?;
        let pre = linker.instantiate_pre(&module).map_err(artifact)?;
        let entry = |name: &String| {
            Ok(Entry {
                export: find(&module, name)?,
                place: format!("in `{}`", escape(name)),
            })
        };
        let models = info.models.iter().map(|model| {
            Ok(Model {
                runnable: entry(&model.runnable)?,
                callback: model.callback.as_ref().map(entry).transpose()?,
                error_callback: model.error_callback.as_ref().map(entry).transpose()?,
                final_callback: model.final_callback.as_ref().map(entry).transpose()?,
            })
        });
        Ok(Self {
            models: models.collect::<Result<_, _>>()?,
            tasks: info.has_tasks.then(|| entry(&"tasks".to_owned())).transpose()?,
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

    /// The export that a call means; `None` when the guest does not have it.
    pub(super) fn entry(&self, model: u32, export: Export) -> Option<&Entry> {
        if export == Export::Tasks {
            return self.tasks.as_ref();
        }
        let model = self.models.get(usize::try_from(model).ok()?)?;
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

/// Everything that a guest may import.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>, LoadError> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)
        .and_then(|()| host::add_to_linker(&mut linker))
        .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
    Ok(linker)
}

/// Returns the names of all functions that guests may import. `prints` gets nothing.
///
/// # Errors
/// When the engine refuses `settings`.
pub fn imports(
    settings: &EngineSettings,
    deadline: Arc<Deadline>,
    prints: Arc<dyn OutputSink>,
) -> Result<Vec<String>, LoadError> {
    let engine = engine(EngineRole::Tasks, settings)?;
    let mut store = Store::new(&engine, State::new(settings, deadline, prints));
    let names = linker(&engine)?
        .iter(&mut store)
        .map(|(_, name, _)| name.to_owned())
        .collect();
    Ok(names)
}
