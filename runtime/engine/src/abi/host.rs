//! The imports of module `mpwasm_v1`, through which a guest gets its input and gives its output.
//!
//! Every range of memory is checked before anything is copied or allocated.

use wasmtime::{Caller, Linker};

use super::call::Export;
use super::json;
use super::memory::{memory_and_state, range};
use crate::failure::StopReason;
use crate::state::InstanceState;
use mpwasm_types::outcome::LogLevel;

/// The module of these imports.
pub(crate) const MODULE: &str = "mpwasm_v1";

/// Defines all imports of the module.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "input_len", |caller: Caller<'_, InstanceState>| {
        // Larger inputs do not exist: args are capped far below.
        i32::try_from(caller.data().input.len()).unwrap_or(i32::MAX)
    })?;
    linker.func_wrap(MODULE, "input_read", input_read)?;
    linker.func_wrap(MODULE, "output_write", output_write)?;
    linker.func_wrap(MODULE, "fail", fail)?;
    linker.func_wrap(MODULE, "push", push)?;
    linker.func_wrap(MODULE, "pid", |caller: Caller<'_, InstanceState>| {
        caller.data().pid.cast_signed()
    })?;
    linker.func_wrap(MODULE, "task_id", |caller: Caller<'_, InstanceState>| {
        caller.data().task_id.0.cast_signed()
    })?;
    linker.func_wrap(MODULE, "attempt", |caller: Caller<'_, InstanceState>| {
        caller.data().attempt.cast_signed()
    })?;
    linker.func_wrap(MODULE, "remaining_ms", |caller: Caller<'_, InstanceState>| {
        i64::try_from(caller.data().deadline.remaining().as_millis()).unwrap_or(i64::MAX)
    })?;
    linker.func_wrap(MODULE, "log", log)?;
    Ok(())
}

fn input_read(
    mut caller: Caller<'_, InstanceState>,
    ptr: i32,
    offset: i32,
    len: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let range = range(memory, "input_read", ptr, len)?;
    let start = (offset.cast_unsigned() as usize).min(state.input.len());
    let part = &state.input[start..];
    let count = part.len().min(range.len());
    memory[range][..count].copy_from_slice(&part[..count]);
    // At most `len`, so it fits an i32 when read as unsigned.
    Ok((count as u32).cast_signed())
}

fn output_write(mut caller: Caller<'_, InstanceState>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let part = &memory[range(memory, "output_write", ptr, len)?];
    let limit = state.max_result;
    if state.output.len() as u64 + part.len() as u64 > limit {
        return Err(StopReason::TooLarge { limit }.into());
    }
    state.output.extend_from_slice(part);
    Ok(())
}

fn fail(mut caller: Caller<'_, InstanceState>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let message = &memory[range(memory, "fail", ptr, len)?];
    let message = json::message(message);
    state.output.clear();
    Err(StopReason::Failed(message).into())
}

fn push(mut caller: Caller<'_, InstanceState>, ptr: i32, len: i32) -> wasmtime::Result<i64> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let task = &memory[range(memory, "push", ptr, len)?];
    let Some(pusher) = state.pusher.as_mut().filter(|_| state.export == Export::Tasks) else {
        return Err(StopReason::Misuse("`push` was called outside of `tasks`".to_owned()).into());
    };
    match pusher.push(task) {
        Ok(id) => Ok(id.0.cast_signed()),
        // If the pusher gave up because the call is over, the call did not trap.
        Err(error) => Err(match state.deadline.interrupted() {
            Some(interrupt) => StopReason::Interrupted(interrupt),
            None => StopReason::Misuse(error.to_string()),
        }
        .into()),
    }
}

fn log(mut caller: Caller<'_, InstanceState>, level: i32, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let text = &memory[range(memory, "log", ptr, len)?];
    state.printed.log(LogLevel::from_guest(level), text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::EngineRole;
    use crate::pusher::{PushError, Pusher};
    use crate::testing::{Rig, ended, fails, guest, run, runnable, settings};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::ids::TaskId;
    use mpwasm_types::outcome::Kind;
    use mpwasm_types::task_line::TaskLineError;

    /// A `runnable` that writes the i64 which `number` leaves as decimal digits.
    fn number(number: &str) -> String {
        guest(&format!(
            r#"(func (export "runnable") (result i32) (local $n i64) (local $at i32)
                 (local.set $n {number})
                 (local.set $at (i32.const 64))
                 (loop $digits
                   (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                   (i32.store8 (local.get $at)
                     (i32.wrap_i64 (i64.add (i64.const 48) (i64.rem_u (local.get $n) (i64.const 10)))))
                   (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
                   (br_if $digits (i64.ne (local.get $n) (i64.const 0))))
                 (call $output_write (local.get $at) (i32.sub (i32.const 64) (local.get $at)))
                 (i32.const 0))"#
        ))
    }

    fn number_of(call: &str, input: &str) -> u64 {
        let report = Rig::new(&number(call)).call(Export::Runnable, input);
        report.result.expect("this succeeds").parse().expect("digits")
    }

    #[test]
    fn a_guest_copies_its_input_to_its_output() {
        let wat = runnable(
            "(call $output_write (i32.const 8)
               (call $input_read (i32.const 8) (i32.const 0) (call $input_len))) (i32.const 0)",
        );
        let report = Rig::new(&wat).call(Export::Runnable, "[1, {\"a\":\"ä\"}]");
        assert_eq!(report.result.as_deref(), Ok("[1,{\"a\":\"ä\"}]"));
    }

    #[test]
    fn the_input_is_read_in_pieces_up_to_its_end() {
        for (offset, len, count) in [(0, 99, 5), (1, 3, 3), (4, 3, 1), (5, 3, 0), (-1, 3, 0), (2, 0, 0)] {
            let call = format!(
                "(i64.extend_i32_u
                   (call $input_read (i32.const 0) (i32.const {offset}) (i32.const {len})))"
            );
            assert_eq!(number_of(&call, "[1,2]"), count, "{offset} {len}");
        }
    }

    #[test]
    fn output_is_appended_piece_by_piece() {
        let report = run("(i32.store (i32.const 0) (i32.const 0x5d31325b)) ;; [21]
             (call $output_write (i32.const 0) (i32.const 2))
             (call $output_write (i32.const 3) (i32.const 0))
             (call $output_write (i32.const 2) (i32.const 2)) (i32.const 0)");
        assert_eq!(report.result.as_deref(), Ok("[21]"));
    }

    #[test]
    fn no_output_means_null() {
        assert_eq!(run("(i32.const 0)").result.as_deref(), Ok("null"));
    }

    #[test]
    fn a_guest_can_read_its_process_task_attempt_and_remaining_time() {
        assert_eq!(
            number_of("(i64.extend_i32_u (call $pid))", "[]"),
            u64::from(std::process::id())
        );
        assert_eq!(number_of("(call $task_id)", "[]"), 7);
        assert_eq!(number_of("(i64.extend_i32_u (call $attempt))", "[]"), 2);
        let left = number_of("(call $remaining_ms)", "[]");
        assert!((1..=60_000).contains(&left), "{left}");
    }

    #[test]
    fn out_of_bounds_traps_in_every_import_that_takes_a_pointer() {
        for call in [
            "(drop (call $input_read PTR (i32.const 0) LEN))",
            "(call $output_write PTR LEN)",
            "(call $fail PTR LEN)",
            "(drop (call $push PTR LEN))",
            "(call $log (i32.const 3) PTR LEN)",
            "(drop (call $random_get PTR LEN))",
        ] {
            let import = call.trim_start_matches("(drop ");
            let import = &import["(call $".len()..import.find(" PTR").unwrap()];
            let import = import.split(' ').next().unwrap();
            // Beyond the end, across it, negative, and with a length that no memory has.
            for (ptr, len) in [
                (65537_i32, 0_i32),
                (65530, 7),
                (-1, 1),
                (0, -1),
                (-1, -1),
                (0, i32::MAX),
            ] {
                let code = call
                    .replace("PTR", &format!("(i32.const {ptr})"))
                    .replace("LEN", &format!("(i32.const {len})"));
                let failure = fails(Kind::Trap, &format!("{code} (i32.const 0)"));
                let expected = format!(
                    "trap in `runnable`: `{import}` was given {} bytes at {}, \
                     which is out of bounds of a memory of 65536 bytes",
                    len.cast_unsigned(),
                    ptr.cast_unsigned()
                );
                assert_eq!(failure.message, expected);
                assert!(failure.backtrace[0].contains("@ 0x"), "{:?}", failure.backtrace);
            }
        }
    }

    #[test]
    fn the_whole_memory_is_in_bounds() {
        let report = run("(call $output_write (i32.const 65536) (i32.const 0))
             (i32.store8 (i32.const 65535) (i32.const 0x37))
             (call $output_write (i32.const 65535) (i32.const 1)) (i32.const 0)");
        assert_eq!(report.result.as_deref(), Ok("7"));
    }

    #[test]
    fn more_output_than_allowed_ends_the_call_at_once() {
        let exactly = "(memory.fill (i32.const 0) (i32.const 0x37) (i32.const 1024))
             (call $output_write (i32.const 0) (i32.const 1000))
             (call $output_write (i32.const 0) (i32.const 24))";
        assert_eq!(
            run(&format!("{exactly} (i32.const 0)")).result.unwrap().len(),
            1024
        );
        let failure = fails(
            Kind::Limit,
            &format!(
                "{exactly} (call $output_write (i32.const 0) (i32.const 1)) (loop $l (br $l)) (i32.const 0)"
            ),
        );
        assert_eq!(
            failure.message,
            "the result is larger than the limit of 1024 bytes in `runnable`"
        );
    }

    #[test]
    fn fail_discards_the_output_and_ends_the_call() {
        let wat = guest(
            "(data (i32.const 0) \"oh \\ff no\")
             (func (export \"runnable\") (result i32)
               (call $output_write (i32.const 0) (i32.const 3))
               (call $fail (i32.const 0) (i32.const 7)) (loop $l (br $l)) (i32.const 0))",
        );
        let failure = ended(Kind::Error, Rig::new(&wat).call(Export::Runnable, "[]"));
        assert_eq!(failure.message, "oh \u{fffd} no");
        assert_eq!((failure.data, failure.backtrace.len()), (None, 0));
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let settings = EngineSettings {
            memory: 64 << 20,
            ..settings()
        };
        let wat = runnable(
            "(drop (memory.grow (i32.const 900)))
             (memory.fill (i32.const 0) (i32.const 0x78) (i32.const 50000000))
             (call $fail (i32.const 0) (i32.const 50000000)) (i32.const 0)",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        let failure = ended(Kind::Error, rig.call(Export::Runnable, "[]"));
        assert_eq!(failure.message.len(), 65536 + " [cut]".len());
    }

    #[test]
    fn log_lines_come_with_their_level_and_within_the_cap() {
        let wat = guest(
            "(data (i32.const 0) \"a\\nb\\ffcdefgh\")
             (func (export \"runnable\") (result i32)
               (call $log (i32.const -5) (i32.const 0) (i32.const 1))
               (call $log (i32.const 5) (i32.const 0) (i32.const 4))
               (call $log (i32.const 3) (i32.const 0) (i32.const 60000))
               (call $log (i32.const 3) (i32.const 0) (i32.const 1)) (i32.const 0))",
        );
        let mut rig = Rig::new(&wat);
        let report = rig.call(Export::Runnable, "[]");
        assert!(report.result.is_ok() && report.output_truncated);
        assert_eq!(report.stdout_bytes, 0);
        let logs = rig.prints.logs();
        assert_eq!(logs.len(), 3);
        assert_eq!(logs[0], (LogLevel::Error, "a".to_owned()));
        assert_eq!(logs[1], (LogLevel::Trace, "a\nb\u{fffd}".to_owned()));
        assert_eq!(logs[2].0, LogLevel::Info);
        assert!(logs[2].1.len() <= 100, "{}", logs[2].1.len());
    }

    struct Tasks(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Pusher for Tasks {
        fn push(&mut self, task: &[u8]) -> Result<TaskId, PushError> {
            if task == b"no" {
                return Err(TaskLineError::NotTask.into());
            }
            let mut tasks = self.0.lock().unwrap();
            tasks.push(task.to_vec());
            Ok(TaskId(tasks.len() as u64 + 41))
        }
    }

    const PUSHES: &str = r#"
        (data (i32.const 0) "{}no")
        (func (export "tasks") (result i32)
          (if (i64.ne (call $push (i32.const 0) (i32.const 2)) (i64.const 42)) (then (return (i32.const 1))))
          (if (i64.ne (call $push (i32.const 0) (i32.const 2)) (i64.const 43)) (then (return (i32.const 2))))
          (if (i32.eqz (call $input_len)) (then (drop (call $push (i32.const 2) (i32.const 2)))))
          (i32.const 0))
        (func (export "runnable") (result i32) (drop (call $push (i32.const 0) (i32.const 2))) (i32.const 0))"#;

    #[test]
    fn tasks_are_pushed_and_get_ids() {
        let mut rig = Rig::with(EngineRole::Tasks, &settings(), &guest(PUSHES));
        let pushed = Arc::new(Mutex::new(Vec::new()));
        rig.executor.set_pusher(Box::new(Tasks(pushed.clone())));
        let report = rig.call(Export::Tasks, "null");
        assert_eq!(report.result.as_deref(), Ok("null"));
        assert_eq!(*pushed.lock().unwrap(), [b"{}", b"{}"]);
        // Outside of `tasks` it traps, pusher or not.
        let failure = ended(Kind::Trap, rig.call(Export::Runnable, "[]"));
        assert_eq!(
            failure.message,
            "trap in `runnable`: `push` was called outside of `tasks`"
        );
    }

    #[test]
    fn a_push_that_is_not_accepted_traps_with_the_reason() {
        let mut rig = Rig::with(EngineRole::Tasks, &settings(), &guest(PUSHES));
        let failure = ended(Kind::Trap, rig.call(Export::Tasks, ""));
        assert!(
            failure.message.ends_with("`push` was called outside of `tasks`"),
            "no pusher"
        );
        rig.executor.set_pusher(Box::new(Tasks(Arc::default())));
        let failure = ended(Kind::Trap, rig.call(Export::Tasks, ""));
        assert_eq!(
            failure.message,
            "trap in `tasks`: neither a JSON array of args nor an object with `args`"
        );
    }

    #[test]
    fn imports_work_in_a_start_function_too() {
        let wat = guest(
            "(data (i32.const 0) \"5\")
             (func $start (call $output_write (i32.const 0) (i32.const 1)))
             (start $start)
             (func (export \"runnable\") (result i32) (i32.const 0))",
        );
        let report = Rig::new(&wat).call(Export::Runnable, "[]");
        assert_eq!(report.result.as_deref(), Ok("5"));
    }
}
