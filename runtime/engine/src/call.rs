//! One call into a guest: what goes in, what comes out, and the steps in between.
//!
//! The executor decides which instance a call runs in; here the instance is made, initialised and called.

use wasmtime::{Engine, Instance, ModuleExport, Store, TypedFunc, UpdateDeadline};

use super::ending::Stop;
use super::load::Loaded;
use super::state::State;
use crate::ending;
use mpwasm_types::outcome::Failure;

/// Which of a guest's exports is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// A model's `runnable`.
    Runnable,
    /// A model's `callback`.
    Callback,
    /// A model's `error_callback`.
    ErrorCallback,
    /// A model's `final_callback`.
    FinalCallback,
    /// The guest's `tasks`; the call's model means nothing.
    Tasks,
}

/// A call to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What [`load`](super::Executor::load) returned.
    pub guest: u32,
    /// Index into [`GuestInfo::models`](mpwasm_types::guest_info::GuestInfo::models).
    pub model: u32,
    /// What is called.
    pub export: Export,
    /// JSON: the args, the result, the error, or `null`. Or a command's [`Invocation`](mpwasm_types::invocation::Invocation), encoded.
    pub input: &'a [u8],
    /// Id of the task that this belongs to; all ones, which the guest sees as -1, for none.
    pub task_id: u64,
    /// Its attempt, from 1; 0 for none.
    pub attempt: u32,
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// The result, one line of JSON (`null` for an export that has none), or why there is none.
    pub ending: Result<String, Failure>,
    /// Largest size of the instance's memory, bytes.
    pub memory_peak: u64,
    /// Bytes that the call wrote to stdout, with what was cut.
    pub stdout_bytes: u64,
    /// Whether stdout, stderr or the log was cut.
    pub output_truncated: bool,
}

impl CallReport {
    /// The report on a call that ended so, from what its state has counted.
    pub(super) fn new(ending: Result<String, Failure>, state: &State) -> Self {
        Self {
            ending,
            memory_peak: state.limits.peak(),
            stdout_bytes: state.printed.stdout_bytes(),
            output_truncated: state.printed.truncated(),
        }
    }

    /// The report on a call that did not even begin.
    pub fn not_started(failure: Failure) -> Self {
        Self {
            ending: Err(failure),
            memory_peak: 0,
            stdout_bytes: 0,
            output_truncated: false,
        }
    }
}

/// An export of type `() -> i32`.
pub(super) type Callable = TypedFunc<(), i32>;

/// An empty store around `state`, with all that keeps a guest within its bounds.
pub(super) fn store(engine: &Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    // A bump that comes late may have been meant for the previous call: the deadline decides.
    store.epoch_deadline_callback(|context| match context.data().deadline.interrupted() {
        Some(interrupt) => Err(Stop::Interrupted(interrupt).into()),
        None => Ok(UpdateDeadline::Continue(1)),
    });
    store
}

/// The last thing before the guest may run: from here on a bump of the epoch is seen.
pub(super) fn start_clock(store: &mut Store<State>, fuel: Option<u64>, place: &str) -> Result<(), Failure> {
    if let Some(fuel) = fuel {
        // Fails only for engines that do not count, and ours counts when there is a budget.
        store
            .set_fuel(fuel)
            .map_err(|error| ending::failure(&error, store.data(), place))?;
    }
    store.set_epoch_deadline(1);
    // What was bumped before that line is no longer seen by the guest, so look here.
    match store.data().deadline.interrupted_before_start() {
        None => Ok(()),
        Some(interrupt) => Err(ending::interrupted(interrupt, place)),
    }
}

/// Makes an instance of `guest` in `store` and initialises it.
pub(super) fn instantiate(store: &mut Store<State>, guest: &Loaded) -> Result<Instance, Failure> {
    let instance = guest
        .pre
        .instantiate(&mut *store)
        .map_err(|error| ending::failure(&error, store.data(), "while it was instantiated"))?;
    if let Some(initialize) = &guest.initialize {
        let done = match function(store, instance, initialize) {
            Some(function) => function
                .typed::<(), ()>(&*store)
                .and_then(|f| f.call(&mut *store, ())),
            None => Err(missing()),
        };
        done.map_err(|error| ending::failure(&error, store.data(), "in `_initialize`"))?;
    }
    Ok(instance)
}

/// Calls a command's `_start`, of type `() -> ()`. `place` says so.
pub(super) fn start(
    store: &mut Store<State>,
    instance: Instance,
    export: &ModuleExport,
    place: &str,
) -> Result<(), Failure> {
    let done = match function(store, instance, export) {
        Some(function) => function
            .typed::<(), ()>(&*store)
            .and_then(|f| f.call(&mut *store, ())),
        None => Err(missing()),
    };
    done.map_err(|error| ending::failure(&error, store.data(), place))
}

/// Calls an export of type `() -> i32`. `place` says which, as in "in `runnable`".
pub(super) fn invoke(
    store: &mut Store<State>,
    instance: Instance,
    export: &ModuleExport,
    place: &str,
) -> Result<i32, Failure> {
    let function = callable(store, instance, export, place)?;
    invoke_again(store, &function, place)
}

/// The export that [`invoke`] calls, to be called more than once.
pub(super) fn callable(
    store: &mut Store<State>,
    instance: Instance,
    export: &ModuleExport,
    place: &str,
) -> Result<Callable, Failure> {
    let function = function(store, instance, export).ok_or_else(missing);
    function
        .and_then(|function| function.typed(&*store))
        .map_err(|error| ending::failure(&error, store.data(), place))
}

/// Calls what [`callable`] found.
pub(super) fn invoke_again(
    store: &mut Store<State>,
    function: &Callable,
    place: &str,
) -> Result<i32, Failure> {
    let code = function.call(&mut *store, ());
    code.map_err(|error| ending::failure(&error, store.data(), place))
}

fn function(store: &mut Store<State>, instance: Instance, export: &ModuleExport) -> Option<wasmtime::Func> {
    instance.get_module_export(store, export)?.into_func()
}

/// What was loaded has been checked against the module, so nobody sees this.
fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the guest lost an export since it was loaded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineRole;
    use crate::testing::{Rig, call, ended, guest, runnable, settings};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::outcome::Kind;
    use mpwasm_types::time::Time;

    #[test]
    fn an_endless_loop_ends_at_its_deadline_and_the_next_call_is_in_order() {
        let wat = guest(
            "(func (export \"runnable\") (result i32)
               (if (i32.gt_u (call $input_len) (i32.const 2)) (then (return (i32.const 0))))
               (loop $l (br $l)) (i32.const 0))",
        );
        let mut rig = Rig::new(&wat);
        for _ in 0..3 {
            let failure = rig.timed_out("in `runnable`");
            assert_eq!(failure.backtrace.len(), 1, "where it was when it was stopped");
            assert!(rig.call(Export::Runnable, "[1,2]").ending.is_ok());
        }
    }

    #[test]
    fn a_bump_that_comes_late_does_not_hit_the_next_call() {
        // Long enough that bumps arrive while it runs: the watchdog bumps all the time, for nobody.
        let wat = runnable(
            "(local $n i32) (loop $l (br_if $l (i32.lt_u
               (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 30000000))))
             (i32.const 0)",
        );
        let mut rig = Rig::new(&wat);
        rig.watched(Time(0), |rig| {
            for _ in 0..3 {
                assert!(rig.call(Export::Runnable, "[]").ending.is_ok());
            }
        });
    }

    #[test]
    fn a_deadline_that_has_passed_before_the_call_began_ends_it_without_a_watchdog() {
        let mut rig = Rig::new(&runnable("(loop $l (br $l)) (i32.const 0)"));
        rig.deadline.arm(Time(0));
        let report = rig.executor.run(&call(Export::Runnable, 0, "[]"));
        assert_eq!(
            ended(Kind::Timeout, report).message,
            "the deadline passed before it began"
        );
        assert!(rig.deadline.disarm());
        rig.deadline.arm(Time::NEVER);
        rig.deadline.cancel_running();
        let report = rig.executor.run(&call(Export::Runnable, 0, "[]"));
        ended(Kind::Cancelled, report);
    }

    #[test]
    fn a_loop_that_is_cancelled_ends_as_cancelled() {
        let wat =
            runnable("(call $log (i32.const 3) (i32.const 0) (i32.const 0)) (loop $l (br $l)) (i32.const 0)");
        let mut rig = Rig::new(&wat);
        let (deadline, prints, engine) = (
            rig.deadline.clone(),
            rig.prints.clone(),
            rig.executor.engine().clone(),
        );
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while prints.logs().is_empty() {
                    std::thread::yield_now();
                }
                deadline.cancel_running();
                engine.increment_epoch();
            });
            let failure = ended(Kind::Cancelled, rig.call(Export::Runnable, "[]"));
            assert_eq!(failure.message, "cancelled in `runnable`");
        });
    }

    #[test]
    fn filling_memory_in_bulk_ends_at_the_deadline() {
        let settings = EngineSettings {
            memory: 256 << 20,
            ..settings()
        };
        let wat = runnable(
            "(drop (memory.grow (i32.const 3200)))
             (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 209715200)) (br $l)) (i32.const 0)",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        ended(Kind::Timeout, rig.timed());
    }

    #[test]
    fn initialize_runs_first_in_every_instance() {
        let wat = guest(
            "(global $n (mut i32) (i32.const 0))
             (func (export \"_initialize\") (global.set $n (i32.add (global.get $n) (i32.const 1))))
             (func (export \"runnable\") (result i32) (i32.sub (global.get $n) (i32.const 1)))",
        );
        let mut rig = Rig::new(&wat);
        for _ in 0..3 {
            assert!(rig.call(Export::Runnable, "[]").ending.is_ok());
            assert!(rig.kept(Export::Runnable, 0).ending.is_ok());
        }
    }

    #[test]
    fn the_deadline_covers_initialize_and_start_functions() {
        let endless = "(func $f (loop $l (br $l)))
             (func (export \"runnable\") (result i32) (i32.const 0))";
        let mut rig = Rig::new(&guest(&format!("{endless} (export \"_initialize\" (func $f))")));
        rig.timed_out("in `_initialize`");
        let mut rig = Rig::new(&guest(&format!("{endless} (start $f)")));
        rig.timed_out("while it was instantiated");
    }

    #[test]
    fn failures_before_the_export_name_their_place() {
        let bad = "(func $f unreachable) (func (export \"runnable\") (result i32) (i32.const 0))";
        for (more, place) in [
            ("(start $f)", "trap while it was instantiated: "),
            ("(export \"_initialize\" (func $f))", "trap in `_initialize`: "),
            // A data segment that does not fit.
            (
                "(data (i32.const 65535) \"ab\")",
                "trap while it was instantiated: ",
            ),
        ] {
            let mut rig = Rig::new(&guest(&format!("{bad} {more}")));
            for _ in 0..2 {
                let failure = ended(Kind::Trap, rig.call(Export::Runnable, "[]"));
                assert!(failure.message.starts_with(place), "{}", failure.message);
            }
        }
    }
}
