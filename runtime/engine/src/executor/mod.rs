//! Runs calls into guests, on the thread that owns the [`Executor`].
//!
//! There are three ways to run a call:
//! - [`Executor::run`] makes a fresh instance for the call and discards it afterwards;
//! - [`Executor::run_chunk_item`] uses one instance for the items of a chunk, until an item fails;
//! - [`Executor::run_kept`] keeps one instance per model, for callbacks that accumulate state.
//!
//! Each returns a [`CallReport`](crate::CallReport), whatever the guest does. A caller that wants the guest to end at a
//! deadline arms the [`Deadline`] before the call, and has a [watchdog](crate::watchdog) that increments the engine's epoch.

mod chunk;
mod fresh;
mod kept;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::runtime::Runtime;
use wasmtime::{Engine, Instance, Linker, Store};
use wasmtime_wasi::WasiCtxBuilder;

use crate::abi::call::{Call, Export};
use crate::abi::json;
use crate::config::{EngineRole, engine};
use crate::deadline::Deadline;
use crate::error::{GrantError, LoadError};
use crate::instance::StatusFunc;
use crate::limits::SharedBudget;
use crate::linker::linker;
use crate::load::{EntryPoint, LinkedGuest};
use crate::output::OutputSink;
use crate::pusher::Pusher;
use crate::resident_memory::ResidentMemory;
use crate::signal::SignalTarget;
use crate::state::{CallBuffers, InstanceState};
use crate::wasi::context::preopen;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Granted;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::ids::{GuestId, ModelId};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::Interrupt;

/// Runs calls into guests.
///
/// Use it on a thread with a stack of [`thread_stack`](mpwasm_types::memory::thread_stack), outside of any async code.
pub struct Executor {
    engine: Engine,
    linker: Linker<InstanceState>,
    settings: EngineSettings,
    deadline: Arc<Deadline>,
    output: Arc<dyn OutputSink>,
    /// Guests by number. `None` for those that this process was not given.
    guests: Vec<Option<ExecutorGuest>>,
    /// State that fresh instances use one after the other. `None` while one runs.
    state: Option<InstanceState>,
    /// Instances that are kept, by their model.
    kept: HashMap<(GuestId, ModelId), KeptInstance>,
    /// Buffers that all kept instances use, of which one runs at a time.
    buffers: CallBuffers,
    /// Instance of the chunk whose items run, with their export.
    chunk: Option<(Store<InstanceState>, StatusFunc)>,
    /// What the signal handler needs, until [`accept_signals`](Self::accept_signals).
    signal_target: Option<SignalTarget>,
    /// Pages that the memories of ended instances keep.
    resident_memory: ResidentMemory,
    /// Runtime of one thread, the caller's, which wasmtime-wasi needs. See [`wasi`](crate::wasi).
    runtime: Runtime,
}

/// A guest that an executor can call.
struct ExecutorGuest {
    loaded: LinkedGuest,
    /// Memory that the kept instances of this guest share.
    budget: Arc<SharedBudget>,
}

/// An instance that lives from call to call.
struct KeptInstance {
    store: Store<InstanceState>,
    instance: Instance,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("settings", &self.settings)
            .field("guests", &self.guests.len())
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

impl Executor {
    /// Creates an executor without guests.
    ///
    /// Reads random numbers from the system and opens what the engine keeps open (for workers, the page map of this
    /// process). So create it before the sandbox is entered. No thread is started, now or later.
    ///
    /// # Errors
    /// Returns an error if the engine cannot be set up, mostly because the address space is limited.
    pub fn new(
        role: EngineRole,
        settings: &EngineSettings,
        deadline: Arc<Deadline>,
        output: Arc<dyn OutputSink>,
    ) -> Result<Self, LoadError> {
        let engine = engine(role, settings)?;
        let signal_target = match settings.interrupt {
            Interrupt::Signal => Some(SignalTarget::new(settings, Arc::clone(&deadline))?),
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Self {
            linker: linker(&engine)?,
            state: Some(InstanceState::new(settings, deadline.clone(), output.clone())),
            settings: settings.clone(),
            guests: Vec::new(),
            kept: HashMap::new(),
            buffers: CallBuffers::default(),
            chunk: None,
            signal_target,
            resident_memory: ResidentMemory::new(&engine, settings.keep_resident),
            engine,
            deadline,
            output,
            runtime,
        })
    }

    /// Returns the engine, whose epoch the watchdog increments.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Loads a compiled guest and returns its number, counted from 0 in the order of loading.
    ///
    /// `artifact` must be the output of [`compile`](crate::compile) in a trusted process with the same settings, in a file
    /// that does not change any more (a sealed memory file, or a file of the cache): it becomes executable code of this process.
    ///
    /// # Errors
    /// Returns an error if the artifact is of another version or of other settings, or does not fit `info`.
    pub fn load(&mut self, artifact: File, info: &GuestInfo) -> Result<GuestId, LoadError> {
        let number = u32::try_from(self.guests.len()).map_err(|_| LoadError::TooMany)?;
        let number = GuestId(number);
        self.load_as(number, artifact, info)?;
        Ok(number)
    }

    /// Loads a compiled guest as [`load`](Self::load) does, under a number of the caller's choice.
    ///
    /// # Errors
    /// Returns the errors of [`load`](Self::load).
    pub fn load_as(&mut self, number: GuestId, artifact: File, info: &GuestInfo) -> Result<(), LoadError> {
        let index = number.index();
        let guest = ExecutorGuest {
            loaded: LinkedGuest::new(&self.linker, artifact, info)?,
            budget: Arc::default(),
        };
        if let Some(target) = &mut self.signal_target {
            target.add(guest.loaded.pre.module());
        }
        if self.guests.len() <= index {
            self.guests.resize_with(index + 1, || None);
        }
        self.guests[index] = Some(guest);
        Ok(())
    }

    /// Makes calls on the calling thread interruptible by signals of the [watchdog](crate::watchdog), with
    /// [`Interrupt::Signal`]. Otherwise does nothing.
    ///
    /// Call it on the thread that runs the calls, when all guests are loaded: guests that are loaded later are not interrupted.
    ///
    /// # Errors
    /// Returns an error if the signal handler can't be installed.
    pub fn accept_signals(&mut self) -> Result<(), LoadError> {
        match self.signal_target.take() {
            Some(target) => target.accept(),
            None => Ok(()),
        }
    }

    /// Returns whether the guest with this number is loaded.
    #[must_use]
    pub fn has_guest(&self, number: GuestId) -> bool {
        self.guests.get(number.index()).is_some_and(Option::is_some)
    }

    /// Sets where the tasks go that [`Export::Tasks`] pushes. Until then a push traps.
    pub fn set_pusher(&mut self, pusher: Box<dyn Pusher>) {
        self.idle_state().pusher = Some(pusher);
    }

    /// Sets the pipe that commands read after the stdin of their task. This end of the pipe must be non-blocking and used
    /// by this process alone. A read that waits ends at the deadline, and when the call is cancelled.
    ///
    /// # Errors
    /// Returns an error if the process has no file descriptor left.
    pub fn set_stdin(&mut self, pipe: OwnedFd) -> std::io::Result<()> {
        self.deadline.allow_waits()?;
        self.idle_state().stdin.connect(pipe);
        Ok(())
    }

    /// Sets the directories and variables that calls of [`run`](Self::run) and [`run_chunk_item`](Self::run_chunk_item) get.
    /// They get nothing until then. Each instance that uses WASI then makes the granted directories the working directory of this
    /// process, one after the other.
    ///
    /// # Errors
    /// Returns an error that names the directory if this process cannot use it.
    pub fn grant(&mut self, granted: Granted) -> Result<(), GrantError> {
        for dir in granted.all_dirs() {
            preopen(&mut WasiCtxBuilder::new(), dir)?;
        }
        self.idle_state().granted = Arc::new(granted);
        Ok(())
    }

    /// Returns whether [`drop_instance`](Self::drop_instance) has anything to do.
    #[must_use]
    pub fn holds_instance(&self) -> bool {
        self.chunk.is_some() || self.state.as_ref().is_some_and(InstanceState::has_wasi)
    }

    /// Drops the instance of the chunk or of the last task, and closes all files that it had open.
    ///
    /// Call it when the task or the chunk has ended and its time was taken: closing files can take long, and the next task
    /// must not pay for it.
    pub fn drop_instance(&mut self) {
        if let Some((store, _)) = self.chunk.take() {
            self.state = Some(self.resident_memory.end(store));
        }
        if let Some(state) = self.state.as_mut().filter(|state| state.has_wasi()) {
            let _entered = self.runtime.enter();
            state.end_wasi();
        }
    }

    /// Returns whether [`release_memory`](Self::release_memory) has anything to do.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        self.resident_memory.keeps_pages()
    }

    /// Gives the memory that is kept for the next tasks back to the kernel. Call it when no task has come for a while: the next
    /// task that writes much then has its page faults again.
    pub fn release_memory(&mut self) {
        self.resident_memory.release();
    }

    #[cfg(test)]
    pub(crate) fn resident_memory(&self) -> &ResidentMemory {
        &self.resident_memory
    }

    /// Returns the state for fresh instances, between calls. It is missing only after a panic within a call.
    fn idle_state(&mut self) -> &mut InstanceState {
        self.state.get_or_insert_with(|| {
            InstanceState::new(&self.settings, self.deadline.clone(), self.output.clone())
        })
    }

    /// Takes the state for a fresh instance.
    #[inline]
    fn take_state(&mut self) -> InstanceState {
        self.state
            .take()
            .unwrap_or_else(|| InstanceState::new(&self.settings, self.deadline.clone(), self.output.clone()))
    }
}

/// Finds the guest and the export of a call.
#[inline]
fn lookup<'a>(
    guests: &'a [Option<ExecutorGuest>],
    call: &Call<'_>,
) -> Option<(&'a ExecutorGuest, &'a EntryPoint)> {
    let guest = guests.get(call.guest.index())?.as_ref()?;
    Some((guest, guest.loaded.entry(call.model, call.export)?))
}

/// The failure of a call whose guest or export does not exist.
fn unknown() -> Failure {
    Failure::new(Kind::Invalid, "there is no such guest, model or export")
}

/// Returns the result of an export that returned `code`.
#[inline]
fn result_of(code: i32, export: Export, state: &mut InstanceState) -> Result<String, Failure> {
    match export {
        Export::Runnable | Export::FinalCallback => json::result(code, &mut state.output),
        Export::Callback | Export::ErrorCallback | Export::Tasks => json::no_result(code, &state.output),
    }
}
