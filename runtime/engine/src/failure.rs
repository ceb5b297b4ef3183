//! Why a call did not return: from an error of the engine to a [`Failure`].
//!
//! The kind of a failure names the cause, not the symptom. Text from a guest is bounded here. It has yet to be escaped before it
//! is shown.

use std::fmt::Write as _;

use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::abi::json::truncate;
use crate::deadline::InterruptCause;
use crate::limits::InstanceLimits;
use crate::signal;
use mpwasm_types::escape::escape;
use mpwasm_types::outcome::{Failure, Kind};

/// Largest number of characters of a function's name in a backtrace.
const MAX_NAME: usize = 256;

/// Why one of our imports ended the call: the error that it returns to the engine.
#[derive(Debug, Error)]
pub(crate) enum StopReason {
    /// The deadline passed, or the call was cancelled.
    #[error("interrupted")]
    Interrupted(InterruptCause),
    /// The guest called `fail`.
    #[error("{0}")]
    Failed(String),
    /// The output exceeded the limit.
    #[error("the result is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The guest called `proc_exit`.
    #[error("exit code {0}")]
    Exit(i32),
    /// The guest used an import in a way that traps.
    #[error("{0}")]
    Misuse(String),
}

/// Returns the failure of a call that did not return. `place` says where it was, such as "in `runnable`".
pub(crate) fn failure(error: &wasmtime::Error, limits: &InstanceLimits, place: &str) -> Failure {
    if let Some(interrupt) = signal::take_cause() {
        return Failure {
            backtrace: backtrace(error),
            ..interrupted(interrupt, place)
        };
    }
    let mut failure = match error.downcast_ref::<StopReason>() {
        Some(StopReason::Interrupted(interrupt)) => interrupted(*interrupt, place),
        Some(StopReason::Failed(message)) if limits.was_refused_last() => {
            out_of_memory(limits, place, message)
        }
        Some(StopReason::Failed(message)) => return Failure::new(Kind::Error, message.clone()),
        Some(stop @ StopReason::TooLarge { .. }) => {
            return Failure::new(Kind::Limit, format!("{stop} {place}"));
        }
        Some(StopReason::Exit(code)) => return exited(*code, place),
        Some(StopReason::Misuse(message)) => trapped(limits, place, message),
        None => {
            if let Some(exit) = error.downcast_ref::<I32Exit>() {
                return exited(exit.0, place);
            }
            match error.downcast_ref::<Trap>() {
                Some(Trap::OutOfFuel) => {
                    Failure::new(Kind::Fuel, format!("the instruction budget was used up {place}"))
                }
                // Our own interrupts are a `StopReason`. This one would be the engine's.
                Some(Trap::Interrupt) => interrupted(InterruptCause::Timeout, place),
                Some(trap) => trapped(limits, place, &trap.to_string()),
                // A refusal of the engine, or an error of WASI.
                None => trapped(limits, place, &error.root_cause().to_string()),
            }
        }
    };
    failure.backtrace = backtrace(error);
    failure
}

/// Returns the failure of a call that was interrupted.
pub(crate) fn interrupted(interrupt: InterruptCause, place: &str) -> Failure {
    match interrupt {
        InterruptCause::Timeout => Failure::new(Kind::Timeout, format!("the deadline passed {place}")),
        InterruptCause::Cancelled => Failure::new(Kind::Cancelled, format!("cancelled {place}")),
    }
}

fn trapped(limits: &InstanceLimits, place: &str, what: &str) -> Failure {
    if limits.was_refused() {
        return out_of_memory(limits, place, what);
    }
    Failure::new(Kind::Trap, format!("trap {place}: {}", truncate(what.to_owned())))
}

fn out_of_memory(limits: &InstanceLimits, place: &str, what: &str) -> Failure {
    let cap = limits.cap();
    Failure::new(
        Kind::Memory,
        format!("out of memory {place}: it was refused more than the cap of {cap} bytes; then: {what}"),
    )
}

fn exited(code: i32, place: &str) -> Failure {
    Failure {
        code: Some(code),
        ..Failure::new(Kind::Exit, format!("proc_exit({code}) {place}"))
    }
}

/// Returns the guest's frames, innermost first. Names are escaped and bounded.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let frame = |frame: &wasmtime::FrameInfo| {
        let mut line = match frame.func_name() {
            Some(name) => escape(name).chars().take(MAX_NAME).collect(),
            None => format!("<function {}>", frame.func_index()),
        };
        if let Some(offset) = frame.module_offset() {
            write!(line, " @ {offset:#x}").expect("writing to a String does not fail");
        }
        line
    };
    backtrace.frames().iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use crate::abi::call::Export;
    use crate::config::EngineRole;
    use crate::testing::{Rig, ended, fails, guest, on_task_thread, run, settings};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::ids::ModelId;
    use mpwasm_types::outcome::Kind;
    use mpwasm_types::outcome::MAX_BACKTRACE;

    #[test]
    fn traps_are_named_with_their_place_and_the_guests_frames() {
        for (body, name) in [
            ("unreachable", "wasm `unreachable` instruction executed"),
            (
                "(i32.div_u (i32.const 1) (i32.const 0))",
                "integer divide by zero",
            ),
            ("(i32.load (i32.const -4))", "out of bounds memory access"),
            (
                "(call_indirect (result i32) (i32.const 0))",
                "uninitialized element",
            ),
            (
                "(call_indirect (result i32) (i32.const 9))",
                "out of bounds table access",
            ),
            (
                "(i32.trunc_f32_s (f32.const nan))",
                "invalid conversion to integer",
            ),
        ] {
            let failure = fails(Kind::Trap, body);
            assert!(
                failure.message.starts_with("trap in `runnable`: ") && failure.message.contains(name),
                "{}",
                failure.message
            );
            assert_eq!(failure.backtrace.len(), 1, "{failure:?}");
        }
    }

    #[test]
    fn a_backtrace_shows_names_escaped_and_bounded() {
        let wat = guest(&format!(
            "(func $inner unreachable)
             (func $\"esc\\1b[2J{}\" (call $inner))
             (func (export \"runnable\") (result i32) (call $\"esc\\1b[2J{0}\") (i32.const 0))",
            "x".repeat(1000)
        ));
        let failure = ended(Kind::Trap, Rig::new(&wat).call(Export::Runnable, "[]"));
        assert_eq!(failure.backtrace.len(), 3);
        assert!(failure.backtrace[0].starts_with("inner @ 0x"));
        assert!(failure.backtrace[1].starts_with("esc\\u{1b}[2Jxxx"));
        assert!(failure.backtrace[1].len() < 300);
        assert!(failure.backtrace[2].starts_with("<function "));
    }

    #[test]
    fn deep_recursion_is_a_trap() {
        on_task_thread(|| {
            let wat = guest(
                "(func $deep (param i32) (result i32)
                   (i32.add (i32.const 1) (call $deep (i32.add (i32.const 1) (local.get 0)))))
                 (func (export \"runnable\") (result i32) (call $deep (i32.const 0)))",
            );
            let failure = ended(Kind::Trap, Rig::new(&wat).call(Export::Runnable, "[]"));
            assert_eq!(
                failure.message,
                "trap in `runnable`: wasm trap: call stack exhausted"
            );
            assert_eq!(failure.backtrace.len(), MAX_BACKTRACE);
        });
    }

    #[test]
    fn a_trap_after_a_refused_growth_is_memory() {
        let failure = fails(
            Kind::Memory,
            "(if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then (return (i32.const 9))))
             unreachable",
        );
        assert!(
            failure.message.starts_with("out of memory in `runnable`")
                && failure.message.contains("1048576 bytes")
                && failure.message.contains("`unreachable`"),
            "{}",
            failure.message
        );
        assert_eq!(failure.backtrace.len(), 1);
        // More than a memory can have at all is refused as well.
        fails(
            Kind::Memory,
            "(drop (memory.grow (i32.const -1))) (i32.load (i32.const -4))",
        );
    }

    #[test]
    fn fail_after_a_refused_growth_is_memory_unless_a_later_one_succeeded() {
        let fail = "(call $fail (i32.const 0) (i32.const 0)) (i32.const 0)";
        let refused = "(drop (memory.grow (i32.const 16)))";
        let granted = "(drop (memory.grow (i32.const 1)))";
        fails(Kind::Memory, &format!("{granted} {refused} {fail}"));
        fails(Kind::Error, &format!("{refused} {granted} {fail}"));
        fails(Kind::Error, &format!("{granted} {fail}"));
    }

    #[test]
    fn a_guest_that_copes_with_a_refusal_is_ok_and_its_peak_is_known() {
        let report =
            run("(drop (memory.grow (i32.const 7))) (drop (memory.grow (i32.const 100))) (i32.const 0)");
        assert_eq!(report.result.as_deref(), Ok("null"));
        assert_eq!(report.memory_peak, 8 << 16);
    }

    #[test]
    fn a_refusal_does_not_taint_the_next_call() {
        let wat = guest(
            "(func (export \"runnable\") (result i32) (drop (memory.grow (i32.const 99))) unreachable)
             (func (export \"b.runnable\") (result i32) unreachable)",
        );
        let mut rig = Rig::new(&wat);
        ended(Kind::Memory, rig.call(Export::Runnable, "[]"));
        rig.deadline.arm(mpwasm_types::time::Time::NEVER);
        let report = rig
            .executor
            .run(&crate::testing::call(Export::Runnable, ModelId(1), "[]"));
        ended(Kind::Trap, report);
    }

    #[test]
    fn a_table_grows_up_to_its_cap_and_is_not_memory() {
        let grow = |count: u32| format!("(table.grow $table (ref.null func) (i32.const {count}))");
        let report = run(&format!(
            "(drop {}) (if (i32.ne {} (i32.const -1)) (then (return (i32.const 1))))
             (i32.sub (table.size $table) (i32.const 1000000))",
            grow(999_999),
            grow(1)
        ));
        assert_eq!(report.result.as_deref(), Ok("null"));
        fails(Kind::Trap, &format!("(drop {}) unreachable", grow(3_000_000)));
    }

    #[test]
    fn a_budget_of_instructions_ends_as_fuel() {
        let settings = EngineSettings {
            fuel: Some(10_000),
            ..settings()
        };
        let wat = guest(
            "(func (export \"runnable\") (result i32) (loop $l (br $l)) (i32.const 0))
             (func (export \"short.runnable\") (result i32) (i32.const 0))
             (func (export \"short.callback\") (result i32) (local $n i32)
               (loop $l (br_if $l (i32.lt_u
                 (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100000))))
               (i32.const 0))",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        let failure = ended(Kind::Fuel, rig.call(Export::Runnable, "[]"));
        assert_eq!(
            failure.message,
            "the instruction budget was used up in `runnable`"
        );
        // The next call has its own, and callbacks have none.
        assert!(rig.kept(Export::Runnable, 1).result.is_ok());
        assert!(rig.kept(Export::Callback, 1).result.is_ok());
    }
}
