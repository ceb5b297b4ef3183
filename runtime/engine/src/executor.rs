//! Runs calls into guests, on the thread that owns the [`Executor`].
//!
//! Three ways: [`run`](Executor::run) gives every call an instance of its own, which nothing survives;
//! [`run_chunk_item`](Executor::run_chunk_item) gives one to the items of a chunk, until one fails;
//! [`run_kept`](Executor::run_kept) keeps one instance per model, for callbacks that accumulate state. Whatever a
//! guest does, the answer is a [`CallReport`]. Who wants the guest to end at its deadline arms the [`Deadline`]
//! before the call and has a watchdog that bumps the engine's epoch; the executor only obeys.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::runtime::Runtime;
use wasmtime::{Engine, Instance, Linker, Store};
use wasmtime_wasi::WasiCtxBuilder;

use super::call::{Call, CallReport, Callable, Export};
use super::command;
use super::deadline::Deadline;
use super::ending;
use super::engine::{EngineRole, engine};
use super::host::Pusher;
use super::limits::{Budget, Limits};
use super::load::{Entry, LoadError, Loaded, linker};
use super::output::OutputSink;
use super::state::{Buffers, State};
use super::wasi;
use crate::call;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::grants::Granted;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::outcome::{Failure, Kind};

/// Runs calls into guests. Use it on a thread with a stack of
/// [`thread_stack`](mpwasm_types::settings::thread_stack), outside of any async code.
pub struct Executor {
    engine: Engine,
    linker: Linker<State>,
    settings: EngineSettings,
    deadline: Arc<Deadline>,
    prints: Arc<dyn OutputSink>,
    /// By number; `None` for those that this process was not given.
    guests: Vec<Option<Guest>>,
    /// The state that fresh instances use one after the other; away while one runs.
    state: Option<State>,
    kept: HashMap<(u32, u32), Kept>,
    /// The buffers that all kept instances use, of which one runs at a time.
    buffers: Buffers,
    /// The instance of the chunk whose items run, with their export.
    chunk: Option<(Store<State>, Callable)>,
    /// For wasmtime-wasi, see [`wasi`](super::wasi): a runtime of one thread, the caller's.
    runtime: Runtime,
}

struct Guest {
    loaded: Loaded,
    /// Memory that the kept instances of this guest share.
    budget: Arc<Budget>,
}

/// An instance that lives from call to call.
struct Kept {
    store: Store<State>,
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
    /// An executor without guests.
    ///
    /// It reads random numbers from the system and opens what the engine keeps open (the page map of this
    /// process, for workers), so it is made before the walls go up. No thread is started, now or later.
    ///
    /// # Errors
    ///
    /// When the engine cannot be set up: mostly, when the address space is limited.
    pub fn new(
        role: EngineRole,
        settings: &EngineSettings,
        deadline: Arc<Deadline>,
        prints: Arc<dyn OutputSink>,
    ) -> Result<Self, LoadError> {
        let engine = engine(role, settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Self {
            linker: linker(&engine)?,
            state: Some(State::new(settings, deadline.clone(), prints.clone())),
            settings: settings.clone(),
            guests: Vec::new(),
            kept: HashMap::new(),
            buffers: Buffers::default(),
            chunk: None,
            engine,
            deadline,
            prints,
            runtime,
        })
    }

    /// The engine, whose epoch the watchdog bumps.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Loads a compiled guest; returns its number, from 0 in the order of loading.
    ///
    /// `artifact` must be what [`compile`](super::compile) made in a trusted process with the same settings, in
    /// a file that cannot change any more (a sealed memory file): it becomes executable code of this process.
    ///
    /// # Errors
    ///
    /// When the artifact is of another version or other settings, or does not fit `info`.
    pub fn load(&mut self, artifact: File, info: &GuestInfo) -> Result<u32, LoadError> {
        let number = u32::try_from(self.guests.len()).map_err(|_| LoadError::TooMany)?;
        self.load_as(number, artifact, info)?;
        Ok(number)
    }

    /// As [`load`](Self::load), under a number of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_as(&mut self, number: u32, artifact: File, info: &GuestInfo) -> Result<(), LoadError> {
        let index = usize::try_from(number).map_err(|_| LoadError::TooMany)?;
        let guest = Guest {
            loaded: Loaded::new(&self.linker, artifact, info)?,
            budget: Arc::default(),
        };
        if self.guests.len() <= index {
            self.guests.resize_with(index + 1, || None);
        }
        self.guests[index] = Some(guest);
        Ok(())
    }

    /// Whether the guest with this number is loaded.
    #[must_use]
    pub fn has_guest(&self, number: u32) -> bool {
        usize::try_from(number).is_ok_and(|index| self.guests.get(index).is_some_and(Option::is_some))
    }

    /// Who takes what [`Export::Tasks`] pushes. Until then a push traps.
    pub fn set_pusher(&mut self, pusher: Box<dyn Pusher>) {
        self.idle_state().pusher = Some(pusher);
    }

    /// What commands read when they have read their own stdin: a pipe whose end does not block, for this process alone.
    /// A read that waits ends at the deadline, and when the call is cancelled.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn set_stdin(&mut self, pipe: OwnedFd) -> std::io::Result<()> {
        self.deadline.allow_waits()?;
        self.idle_state().stdin.connect(pipe);
        Ok(())
    }

    /// What the calls of [`run`](Self::run) and [`run_chunk_item`](Self::run_chunk_item) get beside their input; nothing until then.
    /// Where there are directories, the working directory of this process changes with each instance.
    ///
    /// # Errors
    /// When a directory can't be used by this process: a sentence that names it.
    pub fn grant(&mut self, granted: Granted) -> Result<(), String> {
        for dir in granted.all_dirs() {
            wasi::preopen(&mut WasiCtxBuilder::new(), dir)?;
        }
        self.idle_state().granted = Arc::new(granted);
        Ok(())
    }

    /// Runs `call` in an instance of its own. The caller has armed the deadline.
    pub fn run(&mut self, call: &Call<'_>) -> CallReport {
        self.idle_state();
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            return CallReport::not_started(unknown());
        };
        let Some(mut state) = self.state.take() else {
            unreachable!("`idle_state` has just put it there");
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());

        state.renew(Limits::new(self.settings.memory, self.settings.max_table));
        state.begin(call);
        let is_command = guest.loaded.is_command && call.export == Export::Runnable;
        if is_command && !state.begin_command() {
            self.state = Some(state);
            return CallReport::not_started(unknown());
        }
        let mut store = call::store(&self.engine, state);
        // The budget is a task's: `tasks` has a deadline instead.
        let fuel = self.settings.fuel.map(|fuel| match call.export {
            Export::Runnable => fuel,
            _ => u64::MAX,
        });
        let ran = call::start_clock(&mut store, fuel, "before it began").and_then(|()| {
            let instance = call::instantiate(&mut store, &guest.loaded)?;
            if is_command {
                return call::start(&mut store, instance, &entry.export, &entry.place).map(|()| 0);
            }
            call::invoke(&mut store, instance, &entry.export, &entry.place)
        });
        // The instance is gone with the next line, but what the state has counted stays.
        let mut state = store.into_data();
        let ending = match is_command {
            true => command::ending(ran.map(drop), &state),
            false => ran.and_then(|code| end(code, call.export, &mut state)),
        };
        let report = CallReport::new(ending, &state);
        state.end();
        self.state = Some(state);
        report
    }

    /// Runs `call` as the next item of a chunk: in the instance of the one before, or in a fresh one if there is none that
    /// is in order. All calls until [`let_go`](Self::let_go) are of one model. The caller has armed the deadline.
    pub fn run_chunk_item(&mut self, call: &Call<'_>) -> CallReport {
        let chunk = self.chunk.take();
        if chunk.is_none() {
            self.idle_state();
        }
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            return CallReport::not_started(unknown());
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());
        let (mut store, export) = match chunk {
            Some((store, export)) => (store, Some(export)),
            None => {
                let Some(mut state) = self.state.take() else {
                    unreachable!("`idle_state` has just put it there");
                };
                state.renew(Limits::new(self.settings.memory, self.settings.max_table));
                (call::store(&self.engine, state), None)
            }
        };
        store.data_mut().begin(call);
        store.data_mut().limits.begin(self.settings.memory);
        let done = call::start_clock(&mut store, self.settings.fuel, "before it began").and_then(|()| {
            let export = match export {
                Some(export) => export,
                None => {
                    let instance = call::instantiate(&mut store, &guest.loaded)?;
                    call::callable(&mut store, instance, &entry.export, &entry.place)?
                }
            };
            let code = call::invoke_again(&mut store, &export, &entry.place)?;
            Ok((export, code))
        });
        let done = done.and_then(|(export, code)| Ok((export, end(code, call.export, store.data_mut())?)));
        match done {
            Ok((export, result)) => {
                let report = CallReport::new(Ok(result), store.data());
                store.data_mut().end();
                self.chunk = Some((store, export));
                report
            }
            // Whatever the item did wrong, the next one does not find what it left.
            Err(failure) => {
                let mut state = store.into_data();
                let report = CallReport::new(Err(failure), &state);
                state.end();
                self.state = Some(state);
                report
            }
        }
    }

    /// Whether [`let_go`](Self::let_go) has anything to do.
    #[must_use]
    pub fn holds_instance(&self) -> bool {
        self.chunk.is_some() || self.state.as_ref().is_some_and(State::has_wasi)
    }

    /// The task or the chunk has ended, and so has its time: its instance goes, with all files that it had open. To close
    /// them can take long, which is nobody else's to pay for.
    pub fn drop_instance(&mut self) {
        if let Some((store, _)) = self.chunk.take() {
            self.state = Some(store.into_data());
        }
        if let Some(state) = self.state.as_mut().filter(|state| state.has_wasi()) {
            let _entered = self.runtime.enter();
            state.end_wasi();
        }
    }

    /// Runs `call` in the instance that is kept for its model, or in a new one which is then kept. All instances
    /// of a guest share `memory` bytes. The caller has armed the deadline.
    ///
    /// Every failure discards the instance, except that the export returned failure: whoever returns is in order.
    pub fn run_kept(&mut self, call: &Call<'_>, memory: u64) -> CallReport {
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            return CallReport::not_started(unknown());
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());
        // Callbacks have a deadline instead of a budget.
        let fuel = self.settings.fuel.map(|_| u64::MAX);
        let key = (call.guest, call.model);

        let (mut store, instance) = match self.kept.remove(&key) {
            Some(kept) => (kept.store, Some(kept.instance)),
            None => {
                let mut state = State::new(&self.settings, self.deadline.clone(), self.prints.clone());
                state.renew(Limits::sharing(
                    memory,
                    self.settings.max_table,
                    guest.budget.clone(),
                ));
                (call::store(&self.engine, state), None)
            }
        };
        store.data_mut().exchange(&mut self.buffers);
        store.data_mut().begin(call);
        store.data_mut().limits.begin(memory);
        let done = call::start_clock(&mut store, fuel, "before it began").and_then(|()| {
            let instance = match instance {
                Some(instance) => instance,
                None => call::instantiate(&mut store, &guest.loaded)?,
            };
            let code = call::invoke(&mut store, instance, &entry.export, &entry.place)?;
            Ok((instance, code))
        });
        let (ending, instance) = match done {
            Err(failure) => (Err(failure), None),
            Ok((instance, code)) => (end(code, call.export, store.data_mut()), Some(instance)),
        };
        let report = CallReport::new(ending, store.data());
        store.data_mut().end();
        // What an instance keeps is counted against `memory`; a buffer would not be.
        store.data_mut().exchange(&mut self.buffers);
        if let Some(instance) = instance {
            self.kept.insert(key, Kept { store, instance });
        }
        report
    }

    /// Whether an instance is kept for this model: its last [`run_kept`](Self::run_kept) did not discard it.
    #[must_use]
    pub fn has_kept_instance(&self, guest: u32, model: u32) -> bool {
        self.kept.contains_key(&(guest, model))
    }

    /// The state for fresh instances. It is missing only after a panic within `run`.
    fn idle_state(&mut self) -> &mut State {
        self.state
            .get_or_insert_with(|| State::new(&self.settings, self.deadline.clone(), self.prints.clone()))
    }
}

fn lookup<'a>(guests: &'a [Option<Guest>], call: &Call<'_>) -> Option<(&'a Guest, &'a Entry)> {
    let guest = guests.get(usize::try_from(call.guest).ok()?)?.as_ref()?;
    Some((guest, guest.loaded.entry(call.model, call.export)?))
}

fn unknown() -> Failure {
    Failure::new(Kind::Invalid, "there is no such guest, model or export")
}

fn end(code: i32, export: Export, state: &mut State) -> Result<String, Failure> {
    match export {
        Export::Runnable | Export::FinalCallback => ending::result(code, state),
        Export::Callback | Export::ErrorCallback | Export::Tasks => ending::no_result(code, state),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Rig, accepted, call, ended, guest, memfd, runnable, settings};
    use mpwasm_system::clock;
    use mpwasm_types::guest_info::{GuestInfo, ModelInfo};
    use mpwasm_types::time::Time;

    /// Counts its calls in a global, and returns the count in its result.
    const COUNTER: &str = r#"
        (global $n (mut i32) (i32.const 0))
        (func $count (result i32)
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (i32.store8 (i32.const 0) (i32.add (i32.const 48) (global.get $n)))
          (call $output_write (i32.const 0) (i32.const 1)) (i32.const 0))
        (export "runnable" (func $count)) (export "b.runnable" (func $count))"#;

    fn counted(report: &CallReport) -> u32 {
        report
            .ending
            .as_deref()
            .expect("it counts")
            .parse()
            .expect("a digit")
    }

    #[test]
    fn a_fresh_instance_remembers_nothing() {
        let mut rig = Rig::new(&guest(COUNTER));
        for _ in 0..3 {
            assert_eq!(counted(&rig.call(Export::Runnable, "[]")), 1);
        }
    }

    #[test]
    fn the_items_of_a_chunk_share_an_instance_until_one_fails() {
        let wat = COUNTER.replace(
            "(call $output_write",
            "(if (i32.eq (call $input_len) (i32.const 3)) (then (unreachable))) (call $output_write",
        );
        let mut rig = Rig::new(&guest(&wat));
        let item = |rig: &mut Rig, input: &str| {
            rig.deadline.arm(Time::NEVER);
            let report = rig.executor.run_chunk_item(&Call {
                input: input.as_bytes(),
                ..call(Export::Runnable, 0, "[]")
            });
            assert!(rig.deadline.disarm());
            report
        };
        for n in 1..4 {
            assert_eq!(counted(&item(&mut rig, "[]")), n);
        }
        ended(Kind::Trap, item(&mut rig, "[1]"));
        assert_eq!(counted(&item(&mut rig, "[]")), 1, "a fresh one");
        assert_eq!(counted(&item(&mut rig, "[]")), 2);
        rig.executor.drop_instance();
        assert_eq!(counted(&item(&mut rig, "[]")), 1, "another chunk");
        rig.executor.drop_instance();
        assert_eq!(counted(&rig.call(Export::Runnable, "[]")), 1);
    }

    #[test]
    fn a_kept_instance_remembers_everything_and_there_is_one_per_model() {
        let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &guest(COUNTER));
        for n in 1..4 {
            assert_eq!(counted(&rig.kept(Export::Runnable, 0)), n);
        }
        assert_eq!(counted(&rig.kept(Export::Runnable, 1)), 1);
        assert_eq!(counted(&rig.kept(Export::Runnable, 0)), 4);
    }

    /// `callback` counts and returns the count as its code; `error_callback` does `body`.
    fn counting(body: &str) -> String {
        guest(&format!(
            r#"(global $n (mut i32) (i32.const 0))
               (func (export "runnable") (result i32) (i32.const 0))
               (func (export "callback") (result i32)
                 (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
               (func (export "error_callback") (result i32) {body})"#
        ))
    }

    fn count(rig: &mut Rig) -> String {
        ended(Kind::Error, rig.kept(Export::Callback, 0)).message
    }

    #[test]
    fn every_failure_but_a_returned_one_discards_the_kept_instance() {
        for (body, kind) in [
            ("unreachable", Kind::Trap),
            ("(call $proc_exit (i32.const 0)) (i32.const 0)", Kind::Exit),
            (
                "(call $fail (i32.const 0) (i32.const 0)) (i32.const 0)",
                Kind::Error,
            ),
            ("(memory.grow (i32.const 99)) unreachable", Kind::Memory),
            (
                "(call $output_write (i32.const 0) (i32.const 1025)) (i32.const 0)",
                Kind::Limit,
            ),
        ] {
            let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &counting(body));
            // It fails twice, and lives: returning failure is in order.
            assert_eq!(count(&mut rig), "the guest returned 1");
            assert_eq!(count(&mut rig), "the guest returned 2");
            ended(kind, rig.kept(Export::ErrorCallback, 0));
            assert_eq!(count(&mut rig), "the guest returned 1", "{kind}");
        }
    }

    #[test]
    fn a_kept_instance_that_times_out_is_discarded() {
        let mut rig = Rig::with(
            EngineRole::Callbacks,
            &settings(),
            &counting("(loop $l (br $l)) (i32.const 0)"),
        );
        assert_eq!(count(&mut rig), "the guest returned 1");
        let at = clock::now() + Duration::from_millis(10);
        rig.watched(at, |rig| {
            rig.deadline.arm(at);
            let report = rig
                .executor
                .run_kept(&call(Export::ErrorCallback, 0, "null"), 1 << 20);
            assert!(rig.deadline.disarm());
            ended(Kind::Timeout, report);
        });
        assert_eq!(count(&mut rig), "the guest returned 1");
    }

    #[test]
    fn the_kept_instances_of_a_guest_share_their_memory() {
        let wat = guest(
            "(func (export \"runnable\") (result i32) (memory.grow (i32.const 9)))
             (func (export \"b.runnable\") (result i32) (memory.grow (i32.const 9)))
             (func (export \"b.callback\") (result i32) unreachable)
             (func (export \"callback\") (result i32) unreachable)",
        );
        let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &wat);
        // 16 pages for both: 1 + 9 are taken, 1 + 9 more are refused, which returns -1.
        let code = |report: CallReport| ended(Kind::Error, report).message;
        let first = rig.kept(Export::Runnable, 0);
        assert_eq!(first.memory_peak, 10 << 16);
        assert_eq!(code(first), "the guest returned 1");
        assert_eq!(code(rig.kept(Export::Runnable, 1)), "the guest returned -1");
        // What is discarded gives back what it had.
        ended(Kind::Trap, rig.kept(Export::Callback, 0));
        assert_eq!(code(rig.kept(Export::Runnable, 1)), "the guest returned 1");
        ended(Kind::Trap, rig.kept(Export::Callback, 1));
        rig.deadline.arm(Time::NEVER);
        let report = rig.executor.run_kept(&call(Export::Runnable, 0, "null"), 65535);
        let failure = ended(Kind::Memory, report);
        assert!(
            failure.message.contains("while it was instantiated"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn tables_of_callbacks_are_part_of_their_memory() {
        let with = |elements: u32| {
            let wat = guest(&format!(
                "(table {elements} funcref) (func (export \"runnable\") (result i32) (i32.const 0))
                 (func (export \"callback\") (result i32) (i32.const 0))"
            ));
            Rig::with(EngineRole::Callbacks, &settings(), &wat).kept(Export::Callback, 0)
        };
        assert_eq!(with(100_000).ending.as_deref(), Ok("null"));
        ended(Kind::Memory, with(131_072));
    }

    #[test]
    fn callbacks_get_the_input_and_need_no_output() {
        let wat = guest(
            "(func (export \"runnable\") (result i32) (i32.const 0))
             (func (export \"callback\") (result i32)
               (call $output_write (i32.const 0) (i32.const 5)) (i32.sub (call $input_len) (i32.const 4)))",
        );
        let mut rig = Rig::with(EngineRole::Callbacks, &settings(), &wat);
        // What it wrote is no JSON, and nobody wants it.
        assert_eq!(rig.kept(Export::Callback, 0).ending.as_deref(), Ok("null"));
    }

    #[test]
    fn several_guests_live_in_one_executor() {
        let mut rig = Rig::new(&runnable("(i32.const 1)"));
        let mut settings = settings();
        for code in 2..8 {
            let (info, artifact) = accepted(&runnable(&format!("(i32.const {code})")), &settings);
            assert_eq!(rig.executor.load(memfd(&artifact), &info).unwrap(), code - 1);
        }
        for guest in [0, 6, 3, 5, 1, 2, 4, 0, 6] {
            rig.deadline.arm(Time::NEVER);
            let report = rig.executor.run(&Call {
                guest,
                ..call(Export::Runnable, 0, "[]")
            });
            assert!(rig.deadline.disarm());
            let message = ended(Kind::Error, report).message;
            assert_eq!(message, format!("the guest returned {}", guest + 1));
        }
        // What was compiled with other settings is refused, and so is what is no artifact.
        settings.fuel = Some(1);
        let (info, artifact) = accepted(&runnable("(i32.const 0)"), &settings);
        for bytes in [artifact, b"garbage".to_vec(), Vec::new()] {
            let error = rig.executor.load(memfd(&bytes), &info).expect_err("not ours");
            assert!(matches!(error, LoadError::Artifact(_)), "{error}");
        }
    }

    #[test]
    fn an_artifact_that_does_not_fit_its_description_is_refused() {
        let mut rig = Rig::new(&runnable("(i32.const 0)"));
        let (info, artifact) = accepted(&runnable("(i32.const 0)"), &settings());
        let wrong = GuestInfo {
            models: vec![ModelInfo {
                runnable: "other".to_owned(),
                ..info.models[0].clone()
            }],
            ..info
        };
        let error = rig
            .executor
            .load(memfd(&artifact), &wrong)
            .expect_err("no such export");
        assert!(matches!(error, LoadError::MissingExport(name) if name == "other"));
    }

    #[test]
    fn what_does_not_exist_is_invalid() {
        let mut rig = Rig::new(&runnable("(i32.const 0)"));
        for call in [
            call(Export::Callback, 0, "null"),
            call(Export::Tasks, 0, "null"),
            call(Export::Runnable, 1, "[]"),
            Call {
                guest: 9,
                ..call(Export::Runnable, 0, "[]")
            },
        ] {
            rig.deadline.arm(Time::NEVER);
            ended(Kind::Invalid, rig.executor.run(&call));
            ended(Kind::Invalid, rig.executor.run_kept(&call, 1 << 20));
            assert!(rig.deadline.disarm());
        }
    }

    #[test]
    fn kept_instances_share_the_buffers_of_their_calls() {
        let models: String = (0..16)
            .map(|n| format!(r#"(export "m{n}.runnable" (func $f)) (export "m{n}.callback" (func $f))"#))
            .collect();
        let wat = guest(&format!(
            r#"(func $f (result i32) (call $output_write (i32.const 0) (i32.const 65536)) (i32.const 0)) {models}"#
        ));
        let settings = EngineSettings {
            max_result: 16 << 20,
            ..settings()
        };
        let mut rig = Rig::with(EngineRole::Callbacks, &settings, &wat);
        let input = "x".repeat(1 << 20);
        for model in 0..16 {
            rig.deadline.arm(Time::NEVER);
            let call = Call {
                input: input.as_bytes(),
                ..call(Export::Callback, model, "")
            };
            assert!(rig.executor.run_kept(&call, 16 << 20).ending.is_ok());
            assert!(rig.deadline.disarm());
        }
        let of_instances = |kept: &Kept| kept.store.data().buffers();
        let all: usize = rig.executor.kept.values().map(of_instances).sum();
        assert_eq!((rig.executor.kept.len(), all), (16, 0), "the instances hold none");
        assert!(
            rig.executor.buffers.capacity() >= input.len(),
            "they are kept once"
        );
    }

    #[test]
    fn buffers_serve_one_call_after_the_other() {
        let wat = runnable(
            "(call $output_write (i32.const 0)
               (call $input_read (i32.const 0) (i32.const 0) (call $input_len))) (i32.const 0)",
        );
        let settings = EngineSettings {
            max_result: 16 << 20,
            memory: 16 << 20,
            ..settings()
        };
        let mut rig = Rig::with(
            EngineRole::Worker,
            &settings,
            &wat.replace("\"memory\") 1", "\"memory\") 100"),
        );
        for len in [10, 5_000_000, 3, 0] {
            let input = format!("[\"{}\"]", "x".repeat(len));
            assert_eq!(rig.call(Export::Runnable, &input).ending.as_deref(), Ok(&*input));
        }
    }
}
