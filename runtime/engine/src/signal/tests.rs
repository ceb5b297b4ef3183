use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::abi::call::Export;
use crate::testing::{Rig, ended, guest, on_task_thread, runnable, settings};
use mpwasm_types::outcome::Kind;
use mpwasm_types::settings::Interrupt;
use mpwasm_types::time::Time;

/// A worker that is interrupted by signals.
fn rig(wat: &str) -> Rig {
    rig_with(None, wat)
}

fn rig_with(fuel: Option<u64>, wat: &str) -> Rig {
    let settings = EngineSettings {
        interrupt: Interrupt::Signal,
        fuel,
        ..settings()
    };
    Rig::with(EngineRole::Worker, &settings, wat)
}

const SPIN: &str = "(if (i32.gt_u (call $input_len) (i32.const 2)) (then (return (i32.const 0))))
    (loop $l (br $l)) (i32.const 0)";

#[test]
fn a_loop_without_checks_ends_at_its_deadline_with_a_backtrace_and_the_next_call_succeeds() {
    for fuel in [None, Some(u64::MAX)] {
        let mut rig = rig_with(fuel, &runnable(SPIN));
        for _ in 0..3 {
            let failure = rig.timed_out("in `runnable`");
            assert_eq!(failure.backtrace.len(), 1, "{failure:?}");
            assert!(rig.call(Export::Runnable, "[1,2]").result.is_ok());
        }
    }
}

#[test]
fn the_deadline_covers_initialize_and_start_functions() {
    let endless = "(func $f (loop $l (br $l))) (func (export \"runnable\") (result i32) (i32.const 0))";
    let mut initialized = rig(&guest(&format!("{endless} (export \"_initialize\" (func $f))")));
    initialized.timed_out("in `_initialize`");
    let mut started = rig(&guest(&format!("{endless} (start $f)")));
    started.timed_out("while it was instantiated");
}

/// Whether it is stopped as it enters, leaves or turns: no frame is missing between the innermost one and the export.
#[test]
fn the_backtrace_has_every_frame_wherever_a_function_is_stopped() {
    let wat = guest(
        "(func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
         (func $inner (param i32) (result i32) (call $leaf (local.get 0)))
         (func $outer (loop $l (drop (call $inner (i32.const 1))) (br $l)))
         (func (export \"runnable\") (result i32) (call $outer) (i32.const 0))",
    );
    let mut rig = rig(&wat);
    for _ in 0..20 {
        let failure = rig.timed_out("in `runnable`");
        let mut frames = failure.backtrace.iter().rev();
        assert!(frames.next().unwrap().starts_with("<function "), "{failure:?}");
        for name in ["outer", "inner", "leaf"] {
            let Some(frame) = frames.next() else { break };
            assert!(frame.starts_with(name), "{failure:?}");
        }
    }
}

#[test]
fn a_guest_that_calls_the_host_all_the_time_ends_at_its_deadline() {
    for call in [
        "(drop (call $input_len))",
        "(drop (memory.grow (i32.const 0)))",
        "(drop (call $random_get (i32.const 0) (i32.const 60000)))",
        "(drop (call $sched_yield))",
        "(call $output_write (i32.const 0) (i32.const 0))",
    ] {
        let mut rig = rig(&runnable(&format!("(loop $l {call} (br $l)) (i32.const 0)")));
        ended(Kind::Timeout, rig.timed());
    }
}

#[test]
fn a_loop_that_is_cancelled_ends_as_cancelled() {
    let wat =
        runnable("(call $log (i32.const 3) (i32.const 0) (i32.const 0)) (loop $l (br $l)) (i32.const 0)");
    let mut rig = rig(&wat);
    let failure = rig.watched(Time(0), |rig| rig.cancelled_in_loop());
    assert_eq!(failure.message, "cancelled in `runnable`");
    assert_eq!(failure.backtrace.len(), 1);
}

/// A guest that computes with many registers, calls and memory, and returns what a guest that is left alone returns.
const COMPUTES: &str = "
    (func $fib (param i32) (result i32)
      (if (i32.lt_u (local.get 0) (i32.const 2)) (then (return (local.get 0))))
      (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))
    (func $sum (param $n i32) (param $sum v128) (result v128)
      (if (i32.eqz (local.get $n)) (then (return (local.get $sum))))
      (return_call $sum (i32.sub (local.get $n) (i32.const 1))
        (i32x4.add (local.get $sum) (i32x4.splat (local.get $n)))))
    (func (export \"runnable\") (result i32)
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536))
      (if (i32.ne (call $fib (i32.const 27)) (i32.const 196418)) (then (return (i32.const 1))))
      (if (i32.ne (i32x4.extract_lane 2 (call $sum (i32.const 60000) (v128.const i32x4 0 0 0 0)))
            (i32.const 1800030000)) (then (return (i32.const 2))))
      (i32.ne (i32.load (i32.const 40000)) (i32.const 0x07070707)))";

#[test]
fn signals_that_come_too_early_change_nothing() {
    on_task_thread(|| {
        let mut rig = rig(&guest(COMPUTES));
        let thread = rig.deadline.thread().unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    send(thread);
                }
            });
            let end = Instant::now() + Duration::from_millis(500);
            let mut results = Vec::new();
            while Instant::now() < end {
                results.push(rig.call(Export::Runnable, "[]").result);
            }
            over.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        });
    });
}

#[test]
fn a_trap_before_the_deadline_is_a_trap() {
    let wat = runnable(
        "(if (i32.gt_u (call $input_len) (i32.const 2)) (then unreachable)) (loop $l (br $l)) (i32.const 0)",
    );
    let mut rig = rig(&wat);
    for _ in 0..3 {
        rig.timed_out("in `runnable`");
        let failure = ended(Kind::Trap, rig.call(Export::Runnable, "[1,2]"));
        assert!(
            failure.message.ends_with("`unreachable` instruction executed"),
            "{failure:?}"
        );
    }
}

#[test]
fn addresses_are_found_within_functions_only() {
    let mut code = GuestCode {
        text: 1000..2000,
        functions: [(0, 10), (16, 20), (20, 500)].into(),
        _module: trusted(&Engine::default()).unwrap(),
    };
    for (pc, start) in [
        (999, None),
        (1000, Some(1000)),
        (1009, Some(1000)),
        (1010, None),
        (1015, None),
        (1016, Some(1016)),
        (1019, Some(1016)),
        (1020, Some(1020)),
        (1499, Some(1020)),
        (1500, None),
        (2000, None),
    ] {
        assert_eq!(code.function_at(pc), start, "{pc}");
    }
    code.functions = [].into();
    assert_eq!(code.function_at(1000), None);
}

/// The frame of a call is as the compiler lays it out, from each instruction of a function.
#[test]
fn a_call_from_any_instruction_leaves_an_aligned_stack_and_a_chain_of_frames() {
    // push rbp; mov rbp, rsp; sub rsp, 16; mov rsp, rbp; pop rbp; ret
    const CODE: [u8; 13] = [
        0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0xec, 0x5d, 0xc3,
    ];
    let start = CODE.as_ptr().addr();
    #[repr(align(16))]
    struct Stack([usize; 16]);
    // Words of the stack from its end: the frame of the caller, return address, and frame pointer where it is pushed.
    let (caller, returns) = (0x1230_usize, 0x5678_usize);
    for (offset, pushed, own_frame, extra) in [
        (0, 0, false, 0),
        (1, 1, false, 0),
        (4, 1, true, 0),
        (8, 1, true, 2),
        (11, 1, true, 0),
        (12, 0, false, 0),
    ] {
        let mut words = [0; 16];
        words[13] = returns;
        words[12] = if pushed == 1 { caller } else { 0 };
        let mut stack = Stack(words);
        let end = stack.0.as_mut_ptr() as usize + 14 * 8;
        let top = end - 8 - 8 * pushed;
        let mut registers = StackRegisters {
            pointer: top - 8 * extra,
            frame: if own_frame { top } else { caller },
        };
        // SAFETY: the stack is large enough, and the code is a constant.
        unsafe { registers.call(start + offset, start) };
        assert_eq!(
            registers.pointer % 16,
            8,
            "{offset}: as at the entry of a function"
        );
        // SAFETY: within the stack.
        let word = |address: usize| unsafe { *(address as *const usize) };
        if offset == 12 {
            assert_eq!((word(registers.pointer), registers.frame), (returns, caller));
        } else {
            assert_eq!(word(registers.pointer), start + offset + 1, "{offset}");
            assert_eq!(
                (word(registers.frame), word(registers.frame + 8)),
                (caller, returns),
                "{offset}"
            );
        }
    }
}
