//! The life of an instance: its store, how it is made and initialised, and how its exports are called.
//!
//! The executor decides in which instance a call runs.

use wasmtime::{
    CallHook, Engine, Extern, Instance, ModuleExport, Store, StoreContextMut, TypedFunc, UpdateDeadline,
};

use crate::failure::{self, StopReason};
use crate::load::LinkedGuest;
use crate::state::InstanceState;
use mpwasm_types::outcome::Failure;

/// An export of type `() -> i32`.
pub(crate) type StatusFunc = TypedFunc<(), i32>;

/// Creates an empty store around `state`, with the limits and the deadline that a guest is subject to.
pub(crate) fn store(engine: &Engine, state: InstanceState) -> Store<InstanceState> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    // A late increment of the epoch may have been meant for the previous call, so the deadline decides.
    store.epoch_deadline_callback(|context| match context.data().deadline.interrupted() {
        Some(interrupt) => Err(StopReason::Interrupted(interrupt).into()),
        None => Ok(UpdateDeadline::Continue(1)),
    });
    if store.data().checks_host_calls {
        store.call_hook(check_host_call);
    }
    store
}

/// Ends a call that enters or leaves the host after its deadline: signals interrupt it in guest code only.
fn check_host_call(context: StoreContextMut<'_, InstanceState>, hook: CallHook) -> wasmtime::Result<()> {
    match hook {
        CallHook::CallingHost | CallHook::ReturningFromHost => match context.data().deadline.expired() {
            Some(interrupt) => Err(StopReason::Interrupted(interrupt).into()),
            None => Ok(()),
        },
        CallHook::CallingWasm | CallHook::ReturningFromWasm => Ok(()),
    }
}

/// Sets the instruction budget and the epoch deadline. From here on an increment of the epoch interrupts the guest.
///
/// The last step before guest code may run. Fails if the call's deadline has passed already, or it was cancelled.
pub(crate) fn arm_interrupts(
    store: &mut Store<InstanceState>,
    fuel: Option<u64>,
    place: &str,
) -> Result<(), Failure> {
    if let Some(fuel) = fuel {
        // Fails only for engines that do not count instructions. Ours counts them if there is a budget.
        store
            .set_fuel(fuel)
            .map_err(|error| failure::failure(&error, &store.data().limits, place))?;
    }
    store.set_epoch_deadline(1);
    // An increment before that line does not interrupt the guest any more, so check the deadline here.
    match store.data().deadline.interrupted_before_start() {
        None => Ok(()),
        Some(interrupt) => Err(failure::interrupted(interrupt, place)),
    }
}

/// Makes an instance of `guest` in `store` and runs its `_initialize`.
pub(crate) fn instantiate(
    store: &mut Store<InstanceState>,
    guest: &LinkedGuest,
) -> Result<Instance, Failure> {
    let instance = guest
        .pre
        .instantiate(&mut *store)
        .map_err(|error| failure::failure(&error, &store.data().limits, "while it was instantiated"))?;
    if let Some(export) = &guest.memory {
        let memory = instance.get_module_export(&mut *store, export);
        store.data_mut().memory = memory.and_then(Extern::into_memory);
    }
    if let Some(initialize) = &guest.initialize {
        call_unit(store, instance, initialize, "in `_initialize`")?;
    }
    Ok(instance)
}

/// Calls an export of type `() -> ()`: `_initialize`, or a command's `_start`. `place` is for messages.
pub(crate) fn call_unit(
    store: &mut Store<InstanceState>,
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
    done.map_err(|error| failure::failure(&error, &store.data().limits, place))
}

/// Calls an export of type `() -> i32`. `place` is for messages, such as "in `runnable`".
pub(crate) fn invoke(
    store: &mut Store<InstanceState>,
    instance: Instance,
    export: &ModuleExport,
    place: &str,
) -> Result<i32, Failure> {
    let function = status_func(store, instance, export, place)?;
    call_status(store, &function, place)
}

/// Returns an export of type `() -> i32`, to be called more than once.
pub(crate) fn status_func(
    store: &mut Store<InstanceState>,
    instance: Instance,
    export: &ModuleExport,
    place: &str,
) -> Result<StatusFunc, Failure> {
    let function = function(store, instance, export).ok_or_else(missing);
    function
        .and_then(|function| function.typed(&*store))
        .map_err(|error| failure::failure(&error, &store.data().limits, place))
}

/// Calls a function that [`status_func`] returned.
pub(crate) fn call_status(
    store: &mut Store<InstanceState>,
    function: &StatusFunc,
    place: &str,
) -> Result<i32, Failure> {
    let code = function.call(&mut *store, ());
    code.map_err(|error| failure::failure(&error, &store.data().limits, place))
}

fn function(
    store: &mut Store<InstanceState>,
    instance: Instance,
    export: &ModuleExport,
) -> Option<wasmtime::Func> {
    instance.get_module_export(store, export)?.into_func()
}

/// The error for an export that is missing. Exports were checked when the guest was loaded, so this does not happen.
fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the guest lost an export since it was loaded")
}

#[cfg(test)]
mod tests {
    use crate::EngineRole;
    use crate::abi::call::Export;
    use crate::testing::{Rig, call, ended, guest, runnable, settings};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::ids::ModelId;
    use mpwasm_types::outcome::Kind;
    use mpwasm_types::time::Time;

    #[test]
    fn an_endless_loop_ends_at_its_deadline_and_the_next_call_succeeds() {
        let wat = guest(
            "(func (export \"runnable\") (result i32)
               (if (i32.gt_u (call $input_len) (i32.const 2)) (then (return (i32.const 0))))
               (loop $l (br $l)) (i32.const 0))",
        );
        let mut rig = Rig::new(&wat);
        for _ in 0..3 {
            let failure = rig.timed_out("in `runnable`");
            assert_eq!(failure.backtrace.len(), 1, "where it was when it was stopped");
            assert!(rig.call(Export::Runnable, "[1,2]").result.is_ok());
        }
    }

    #[test]
    fn a_late_increment_of_the_epoch_does_not_interrupt_the_next_call() {
        // Runs long enough that the epoch is incremented meanwhile: the watchdog does so all the time.
        let wat = runnable(
            "(local $n i32) (loop $l (br_if $l (i32.lt_u
               (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 30000000))))
             (i32.const 0)",
        );
        let mut rig = Rig::new(&wat);
        rig.watched(Time(0), |rig| {
            for _ in 0..3 {
                assert!(rig.call(Export::Runnable, "[]").result.is_ok());
            }
        });
    }

    #[test]
    fn a_deadline_that_has_passed_before_the_call_began_ends_it_without_a_watchdog() {
        let mut rig = Rig::new(&runnable("(loop $l (br $l)) (i32.const 0)"));
        rig.deadline.arm(Time(0));
        let report = rig.executor.run(&call(Export::Runnable, ModelId(0), "[]"));
        assert_eq!(
            ended(Kind::Timeout, report).message,
            "the deadline passed before it began"
        );
        assert!(rig.deadline.disarm());
        rig.deadline.arm(Time::NEVER);
        rig.deadline.cancel_running();
        let report = rig.executor.run(&call(Export::Runnable, ModelId(0), "[]"));
        ended(Kind::Cancelled, report);
    }

    #[test]
    fn a_loop_that_is_cancelled_ends_as_cancelled() {
        let wat =
            runnable("(call $log (i32.const 3) (i32.const 0) (i32.const 0)) (loop $l (br $l)) (i32.const 0)");
        let mut rig = Rig::new(&wat);
        let failure = rig.cancelled_in_loop();
        assert_eq!(failure.message, "cancelled in `runnable`");
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
            assert!(rig.call(Export::Runnable, "[]").result.is_ok());
            assert!(rig.kept(Export::Runnable, 0).result.is_ok());
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
