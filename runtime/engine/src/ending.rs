//! How a call ended: from what the engine says to a result or a [`Failure`].
//!
//! The kind names the cause, not the symptom. What a guest wrote is checked and bounded here, so that the message
//! of a failure is never much longer than [`MAX_MESSAGE`]; it still is the guest's text, to be made inert by who
//! shows it.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::deadline::Interrupt;
use super::limits::Limits;
use super::state::State;
use mpwasm_types::escape::escape;
use mpwasm_types::json::{into_line, one_line};
use mpwasm_types::outcome::{Failure, Kind};
use mpwasm_types::settings::{LARGE_PAYLOAD, MAX_JSON_DEPTH};

/// Bytes of a guest's own message that are kept. Whoever has more to say returns JSON, which is kept whole.
const MAX_MESSAGE: usize = 64 << 10;
/// Characters of a function's name that are kept in a backtrace.
const MAX_NAME: usize = 256;

/// Why an import of ours ended the call: the error that it hands to the engine.
#[derive(Debug, Error)]
pub(super) enum Stop {
    /// The deadline passed, or the call was cancelled.
    #[error("interrupted")]
    Interrupted(Interrupt),
    /// The guest called `fail`.
    #[error("{0}")]
    Failed(String),
    /// The output went past the limit.
    #[error("the result is larger than the limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// The guest called `proc_exit`.
    #[error("exit code {0}")]
    Exit(i32),
    /// The guest used an import in a way that traps.
    #[error("{0}")]
    Misuse(String),
}

/// The failure of a call that did not return. `place` says where it was, as in "in `runnable`".
pub(super) fn failure(error: &wasmtime::Error, state: &State, place: &str) -> Failure {
    let limits = &state.limits;
    let mut failure = match error.downcast_ref::<Stop>() {
        Some(Stop::Interrupted(interrupt)) => interrupted(*interrupt, place),
        Some(Stop::Failed(message)) if limits.was_refused_last() => out_of_memory(limits, place, message),
        Some(Stop::Failed(message)) => return Failure::new(Kind::Error, message.clone()),
        Some(stop @ Stop::TooLarge { .. }) => return Failure::new(Kind::Limit, format!("{stop} {place}")),
        Some(Stop::Exit(code)) => return exited(*code, place),
        Some(Stop::Misuse(message)) => trapped(limits, place, message),
        None => {
            if let Some(exit) = error.downcast_ref::<I32Exit>() {
                return exited(exit.0, place);
            }
            match error.downcast_ref::<Trap>() {
                Some(Trap::OutOfFuel) => {
                    Failure::new(Kind::Fuel, format!("the instruction budget was used up {place}"))
                }
                // Ours interrupt with `Stop`; this would be the engine's own.
                Some(Trap::Interrupt) => interrupted(Interrupt::Timeout, place),
                Some(trap) => trapped(limits, place, &trap.to_string()),
                // The engine's own refusal, or an error from WASI.
                None => trapped(limits, place, &error.root_cause().to_string()),
            }
        }
    };
    failure.backtrace = backtrace(error);
    failure
}

/// The failure of a call that was interrupted.
pub(super) fn interrupted(interrupt: Interrupt, place: &str) -> Failure {
    match interrupt {
        Interrupt::Timeout => Failure::new(Kind::Timeout, format!("the deadline passed {place}")),
        Interrupt::Cancelled => Failure::new(Kind::Cancelled, format!("cancelled {place}")),
    }
}

fn trapped(limits: &Limits, place: &str, what: &str) -> Failure {
    if limits.was_refused() {
        return out_of_memory(limits, place, what);
    }
    Failure::new(Kind::Trap, format!("trap {place}: {}", cut(what.to_owned())))
}

fn out_of_memory(limits: &Limits, place: &str, what: &str) -> Failure {
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

/// The guest's frames, innermost first; names are inert and bounded.
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

/// The end of a `runnable` that returned `code`.
pub(super) fn result(code: i32, state: &mut State) -> Result<String, Failure> {
    if code != 0 {
        return Err(reported(code, &state.output));
    }
    if state.output.is_empty() {
        return Ok("null".into());
    }
    let line = if state.output.len() < LARGE_PAYLOAD {
        // The buffer stays for the next call.
        one_line(&state.output, MAX_JSON_DEPTH).map(Cow::into_owned)
    } else {
        into_line(std::mem::take(&mut state.output), MAX_JSON_DEPTH)
    };
    line.map_err(|error| Failure::new(Kind::Error, format!("the result is {error}")))
}

/// The end of an export without a result (`callback`, `error_callback`, `tasks`) that returned `code`.
pub(super) fn no_result(code: i32, state: &State) -> Result<String, Failure> {
    match code {
        0 => Ok("null".into()),
        _ => Err(reported(code, &state.output)),
    }
}

/// An error that a guest reports with a message and data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageAndData<'a> {
    message: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The failure that a guest reported. A JSON string or plain text is its message, an object of exactly `message` (a
/// string) and `data` is both, any other JSON is its data.
fn reported(code: i32, output: &[u8]) -> Failure {
    let bare = || format!("the guest returned {code}");
    if output.is_empty() {
        return Failure::new(Kind::Error, bare());
    }
    match one_line(output, MAX_JSON_DEPTH) {
        Ok(line) => match serde_json::from_str::<String>(&line) {
            Ok(text) => Failure::new(Kind::Error, cut(text)),
            // A string that is valid JSON and no valid text (a lone surrogate) is shown as it was written.
            Err(_) if line.starts_with('"') => Failure::new(Kind::Error, cut(line.into_owned())),
            Err(_) => match serde_json::from_str::<MessageAndData<'_>>(&line) {
                Ok(MessageAndData { message, data }) => Failure {
                    data: Some(data.get().to_owned()),
                    ..Failure::new(Kind::Error, cut(message))
                },
                Err(_) => Failure {
                    data: Some(line.into_owned()),
                    ..Failure::new(Kind::Error, bare())
                },
            },
        },
        Err(_) => Failure::new(Kind::Error, message(output)),
    }
}

/// A guest's message as text, whatever bytes it is; cut at [`MAX_MESSAGE`].
pub(super) fn message(bytes: &[u8]) -> String {
    // Decode little more than what is kept.
    let head = &bytes[..bytes.len().min(MAX_MESSAGE + 4)];
    let text = cut(String::from_utf8_lossy(head).into_owned());
    if head.len() < bytes.len() && !text.ends_with(CUT) {
        return text + CUT;
    }
    text
}

const CUT: &str = " [cut]";

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rig, ended, fails, guest, on_task_thread, run, runnable, settings};
    use crate::{EngineRole, Export};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::outcome::Kind;
    use mpwasm_types::settings::MAX_BACKTRACE;

    /// How a `runnable` ends that outputs `output` and returns `code`.
    fn returned(code: i32, output: &[u8]) -> Result<String, Failure> {
        let data: String = output.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let wat = guest(&format!(
            "(data (i32.const 0) \"{data}\")
             (func (export \"runnable\") (result i32)
               (call $output_write (i32.const 0) (i32.const {})) (i32.const {code}))",
            output.len()
        ));
        Rig::new(&wat).call(Export::Runnable, "[]").ending
    }

    fn refused(output: &[u8]) -> String {
        let failure = returned(0, output).expect_err("this is no result");
        assert_eq!(failure.kind, Kind::Error);
        failure.message
    }

    #[test]
    fn a_result_is_one_line_of_json() {
        assert_eq!(
            returned(0, b"{\n \"a\" : 1e999\n}").as_deref(),
            Ok("{\"a\":1e999}")
        );
    }

    #[test]
    fn a_result_that_is_not_json_is_an_error_that_says_why() {
        assert_eq!(refused(b"[1,\"\xff\"]"), "the result is not UTF-8 at byte 4");
        assert!(refused(b"hello").starts_with("the result is not JSON: expected value at line 1"));
        assert!(refused(b"\"a\nb\"").contains("control character"));
        assert_eq!(
            refused(&[b'['; 200]),
            "the result is JSON nested deeper than 128 at byte 128"
        );
    }

    #[test]
    fn a_result_that_is_nested_a_million_deep_is_an_error() {
        let settings = EngineSettings {
            memory: 4 << 20,
            max_result: 4 << 20,
            ..settings()
        };
        let wat = runnable(
            "(drop (memory.grow (i32.const 32)))
             (memory.fill (i32.const 0) (i32.const 0x5b) (i32.const 1000000))
             (memory.fill (i32.const 1000000) (i32.const 0x5d) (i32.const 1000000))
             (call $output_write (i32.const 0) (i32.const 2000000)) (i32.const 0)",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        let failure = ended(Kind::Error, rig.call(Export::Runnable, "[]"));
        assert!(failure.message.contains("nested deeper than 128"));
    }

    #[test]
    fn what_a_failed_guest_returned_is_its_message_or_its_data() {
        let failed = |output: &[u8]| {
            let failure = returned(3, output).expect_err("it returned 3");
            assert_eq!(failure.kind, Kind::Error);
            (failure.message, failure.data)
        };
        let bare = || "the guest returned 3".to_owned();
        assert_eq!(failed(b""), (bare(), None));
        assert_eq!(failed(b" \"quoted \\u00e4\" "), ("quoted ä".to_owned(), None));
        assert_eq!(failed(b"plain text"), ("plain text".to_owned(), None));
        assert_eq!(failed(b"{\"a\":\n[1]}"), (bare(), Some("{\"a\":[1]}".to_owned())));
        assert_eq!(failed(b"null"), (bare(), Some("null".to_owned())));
        let both = br#"{"data": [1], "message": "taken"}"#;
        assert_eq!(failed(both), ("taken".to_owned(), Some("[1]".to_owned())));
        // Data that only resembles it stays what it is.
        for data in [
            r#"{"message":"taken"}"#,
            r#"{"message":1,"data":2}"#,
            r#"{"message":"a","data":1,"x":2}"#,
        ] {
            assert_eq!(failed(data.as_bytes()), (bare(), Some(data.to_owned())));
        }
        assert_eq!(failed(b"\"\\ud800\""), ("\"\\ud800\"".to_owned(), None));
        assert_eq!(failed(b"\xff!"), ("\u{fffd}!".to_owned(), None));
        assert_eq!(failed(&[b'['; 200]).0.len(), 200);
    }

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
    fn a_backtrace_shows_names_inert_and_bounded() {
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
        assert_eq!(report.ending.as_deref(), Ok("null"));
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
        let report = rig.executor.run(&crate::testing::call(Export::Runnable, 1, "[]"));
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
        assert_eq!(report.ending.as_deref(), Ok("null"));
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
        assert!(rig.kept(Export::Runnable, 1).ending.is_ok());
        assert!(rig.kept(Export::Callback, 1).ending.is_ok());
    }
}
