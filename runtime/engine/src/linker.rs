//! All imports that a guest may use.

use std::sync::Arc;

use wasmtime::{Engine, Linker, Store};

use crate::abi::{host, objects};
use crate::config::{EngineRole, engine};
use crate::deadline::Deadline;
use crate::error::LoadError;
use crate::output::OutputSink;
use crate::state::InstanceState;
use crate::wasi;
use mpwasm_types::engine_settings::EngineSettings;

/// Returns a linker that defines every import that a guest may use.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<InstanceState>, LoadError> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)
        .and_then(|()| host::add_to_linker(&mut linker))
        .and_then(|()| objects::add_to_linker(&mut linker))
        .map_err(|error| LoadError::Engine(format!("{error:#}")))?;
    Ok(linker)
}

/// Returns the names of all functions that guests may import. `output` gets nothing.
///
/// # Errors
/// Returns an error if the engine refuses `settings`.
pub fn imports(
    settings: &EngineSettings,
    deadline: Arc<Deadline>,
    output: Arc<dyn OutputSink>,
) -> Result<Vec<String>, LoadError> {
    let engine = engine(EngineRole::Tasks, settings)?;
    let mut store = Store::new(&engine, InstanceState::new(settings, deadline, output));
    let names = linker(&engine)?
        .iter(&mut store)
        .map(|(_, name, _)| name.to_owned())
        .collect();
    Ok(names)
}
