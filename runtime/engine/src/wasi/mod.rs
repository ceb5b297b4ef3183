//! WASI preview 1 for guests: wasmtime-wasi, except for the imports that must not come from there.
//!
//! These imports are our own:
//! - those that can block (`poll_oneoff`, reads of stdin), because they must wake at the deadline;
//! - `proc_exit`, because every exit code counts;
//! - `random_get`, because it must check the deadline between pieces;
//! - sockets, because wasmtime-wasi would let a guest write into mpwasm's own log;
//! - reads and writes, because they must use all buffers of a call.
//!
//! All others go to wasmtime-wasi, whose context is built at the first call that needs one.
//!
//! wasmtime-wasi waits on futures through tokio, and starts a multi-threaded runtime if none is entered. So before a guest
//! that [uses WASI](uses_context) is called, the executor enters a runtime of the calling thread.

pub(crate) mod clock;
pub(crate) mod context;
pub(crate) mod descriptors;
pub(crate) mod poll;
pub(crate) mod preview1;
pub(crate) mod stdin;
pub(crate) mod transfer;

use rand::RngCore;
use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1;

use crate::abi::memory::{memory_and_state, range};
use crate::failure::StopReason;
use crate::state::InstanceState;
use descriptors::DescriptorKind;
use preview1::{MODULE, errno};

/// Number of random bytes between two checks of the deadline: 64 KiB, which take well below a millisecond.
const RANDOM_CHUNK: usize = 64 << 10;

/// Imports that need neither a WASI context nor a tokio runtime.
const OURS: [&str; 9] = [
    "clock_time_get",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// Returns whether a guest that imports `module.name` needs a tokio runtime to be entered.
pub(crate) fn uses_context(module: &str, name: &str) -> bool {
    module == MODULE && !OURS.contains(&name)
}

/// Defines all of preview 1.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    p1::add_to_linker_sync(linker, InstanceState::wasi)?;
    linker.allow_shadowing(true);
    clock::add_to_linker(linker)?;
    poll::add_to_linker(linker)?;
    transfer::add_to_linker(linker)?;
    linker.func_wrap(
        MODULE,
        "proc_exit",
        |_: Caller<'_, InstanceState>, code: i32| -> wasmtime::Result<()> {
            Err(StopReason::Exit(code).into())
        },
    )?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "sched_yield", sched_yield)?;
    linker.func_wrap(
        MODULE,
        "sock_accept",
        |caller: Caller<'_, InstanceState>, fd: i32, _: i32, _: i32| no_socket(caller, fd),
    )?;
    linker.func_wrap(
        MODULE,
        "sock_recv",
        |caller: Caller<'_, InstanceState>, fd: i32, _: i32, _: i32, _: i32, _: i32, _: i32| {
            no_socket(caller, fd)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "sock_send",
        |caller: Caller<'_, InstanceState>, fd: i32, _: i32, _: i32, _: i32, _: i32| no_socket(caller, fd),
    )?;
    linker.func_wrap(
        MODULE,
        "sock_shutdown",
        |caller: Caller<'_, InstanceState>, fd: i32, _: i32| no_socket(caller, fd),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn random_get(mut caller: Caller<'_, InstanceState>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let range = range(memory, "random_get", ptr, len)?;
    for chunk in memory[range].chunks_mut(RANDOM_CHUNK) {
        if let Some(interrupt) = state.deadline.interrupted() {
            return Err(StopReason::Interrupted(interrupt).into());
        }
        state.random.fill_bytes(chunk);
    }
    Ok(errno::SUCCESS)
}

fn sched_yield(caller: Caller<'_, InstanceState>) -> wasmtime::Result<i32> {
    if let Some(interrupt) = caller.data().deadline.interrupted() {
        return Err(StopReason::Interrupted(interrupt).into());
    }
    std::thread::yield_now();
    Ok(errno::SUCCESS)
}

fn no_socket(mut caller: Caller<'_, InstanceState>, fd: i32) -> wasmtime::Result<i32> {
    Ok(match descriptors::describe(caller.data_mut(), fd)? {
        DescriptorKind::Closed => errno::BADF,
        _ => errno::NOTSOCK,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::{Rig, ended, fails, guest, run, runnable, settings};
    use crate::{EngineRole, Export};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::outcome::Kind;

    /// Writes `len` bytes from address 64 on to `fd`.
    fn write(fd: u32, len: u32) -> String {
        format!(
            "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {len}))
             (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))"
        )
    }

    #[test]
    fn stdout_and_stderr_are_passed_on() {
        let wat = guest(&format!(
            "(data (i32.const 64) \"hello\\n\")
             (func (export \"runnable\") (result i32)
               (drop (block (result i32) {})) (drop (block (result i32) {})) (i32.const 0))",
            write(1, 6),
            write(2, 2)
        ));
        let mut rig = Rig::new(&wat);
        let report = rig.call(Export::Runnable, "[]");
        assert_eq!((report.stdout_bytes, report.output_truncated), (6, false));
        assert_eq!(
            (rig.prints.stdout(), rig.prints.stderr()),
            (b"hello\n".to_vec(), b"he".to_vec())
        );
        // The next instance has its streams again, and its own count.
        assert_eq!(rig.call(Export::Runnable, "[]").stdout_bytes, 6);
    }

    #[test]
    fn a_guest_that_floods_notices_nothing() {
        // 32 MiB in pieces of 32 KiB, of which 100 bytes are kept.
        let body = format!(
            "(local $n i32)
             (loop $l
               (if (block (result i32) {}) (then (return (i32.const 1))))
               (if (i32.ne (i32.load (i32.const 8)) (i32.const 32768)) (then (return (i32.const 2))))
               (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1024))))
             (i32.const 0)",
            write(1, 32768)
        );
        let mut rig = Rig::new(&runnable(&body));
        let report = rig.call(Export::Runnable, "[]");
        assert_eq!(report.result.as_deref(), Ok("null"));
        assert_eq!((report.stdout_bytes, report.output_truncated), (32 << 20, true));
        assert_eq!(rig.prints.stdout().len(), 100);
    }

    #[test]
    fn a_flood_ends_at_the_deadline() {
        let body = format!(
            "(loop $l (drop (block (result i32) {})) (br $l)) (i32.const 0)",
            write(1, 60000)
        );
        ended(Kind::Timeout, Rig::new(&runnable(&body)).timed());
    }

    #[test]
    fn stdin_is_at_its_end() {
        let report = run(
            "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 9))
             (i32.store (i32.const 8) (i32.const 77))
             (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
               (then (return (i32.const 1))))
             (i32.load (i32.const 8))",
        );
        assert_eq!(report.result.as_deref(), Ok("null"));
    }

    #[test]
    fn there_are_no_arguments_and_no_environment() {
        let report = run("(i32.or
               (i32.or (call $environ_sizes_get (i32.const 0) (i32.const 4))
                       (call $args_sizes_get (i32.const 8) (i32.const 12)))
               (i32.or (i32.or (i32.load (i32.const 0)) (i32.load (i32.const 4)))
                       (i32.or (i32.load (i32.const 8)) (i32.load (i32.const 12)))))");
        assert_eq!(report.result.as_deref(), Ok("null"));
    }

    #[test]
    fn there_are_no_files() {
        let wat = r#"(module
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "/etc/passwd")
            (func (export "runnable") (result i32)
              (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 11) (i32.const 0)
                (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 64))))"#;
        let failure = ended(Kind::Error, Rig::new(wat).call(Export::Runnable, "[]"));
        assert_eq!(failure.message, "the guest returned 8");
    }

    #[test]
    fn a_closed_stream_stays_closed_in_its_instance_only() {
        let body = format!("(drop (call $fd_close (i32.const 1))) {}", write(1, 1));
        let mut rig = Rig::new(&runnable(&body));
        for _ in 0..2 {
            let failure = ended(Kind::Error, rig.call(Export::Runnable, "[]"));
            assert_eq!(failure.message, "the guest returned 8");
        }
        let mut rig = Rig::new(&runnable(&write(1, 1)));
        assert!(rig.call(Export::Runnable, "[]").result.is_ok());
    }

    #[test]
    fn pointers_out_of_bounds_trap_in_wasmtimes_imports_too() {
        let message = fails(
            Kind::Trap,
            "(call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 0))",
        );
        assert!(message.message.starts_with("trap in `runnable`: "), "{message:?}");
    }

    #[test]
    fn every_exit_code_ends_the_call_as_exit() {
        for code in [0, 1, 125, 126, 255, -1] {
            let failure = fails(
                Kind::Exit,
                &format!("(call $proc_exit (i32.const {code})) (i32.const 0)"),
            );
            assert_eq!(failure.code, Some(code));
            assert_eq!(failure.message, format!("proc_exit({code}) in `runnable`"));
        }
    }

    #[test]
    fn sockets_do_not_exist() {
        for (fd, error) in [(1, 57), (9, 8)] {
            let body = format!("(call $sock_shutdown (i32.const {fd}) (i32.const 0))");
            assert_eq!(
                fails(Kind::Error, &body).message,
                format!("the guest returned {error}")
            );
        }
    }

    #[test]
    fn random_bytes_differ_between_calls() {
        let wat = runnable(
            "(drop (call $random_get (i32.const 1) (i32.const 8)))
             (i32.store8 (i32.const 0) (i32.const 0x31))
             (call $output_write (i32.const 0)
               (i32.add (i32.const 1) (i32.const 0)))
             (i32.wrap_i64 (i64.or (i64.const 1) (i64.load (i32.const 1))))",
        );
        let mut rig = Rig::new(&wat);
        let codes: BTreeSet<String> = (0..8)
            .map(|_| ended(Kind::Error, rig.call(Export::Runnable, "[]")).message)
            .map(|message| message.to_owned())
            .collect();
        // `1` is JSON but not a string, so the message holds the code.
        assert_eq!(codes.len(), 8, "{codes:?}");
    }

    #[test]
    fn random_bytes_for_a_whole_memory_end_at_the_deadline() {
        let settings = EngineSettings {
            memory: 1 << 30,
            ..settings()
        };
        let wat = runnable(
            "(drop (memory.grow (i32.const 16383)))
             (loop $l (drop (call $random_get (i32.const 0) (i32.const 0x40000000))) (br $l)) (i32.const 0)",
        );
        let mut rig = Rig::with(EngineRole::Worker, &settings, &wat);
        ended(Kind::Timeout, rig.timed());
    }

    #[test]
    fn yielding_ends_at_the_deadline() {
        let body = "(loop $l (drop (call $sched_yield)) (br $l)) (i32.const 0)";
        ended(Kind::Timeout, Rig::new(&runnable(body)).timed());
    }

    #[test]
    fn the_list_of_ours_is_the_list_that_is_defined() {
        // A guest that imports only these needs no runtime; were one of them wasmtime-wasi's, it would start one.
        for name in OURS {
            assert!(!uses_context(MODULE, name));
        }
        assert!(uses_context(MODULE, "fd_write") && uses_context(MODULE, "fd_read"));
        assert!(!uses_context("mpwasm_v1", "fd_write"));
    }

    #[test]
    fn no_thread_is_started_by_a_guest_that_prints_and_sleeps() {
        // It counts in a process of its own, where no other test starts threads.
        const ALONE: &str = "MPWASM_TEST_COUNTS_ITS_THREADS";
        if std::env::var_os(ALONE).is_some() {
            return count_threads();
        }
        // The test's name, without the name of the crate.
        let name = concat!(
            module_path!(),
            "::no_thread_is_started_by_a_guest_that_prints_and_sleeps"
        );
        let (_, name) = name.split_once("::").unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    fn count_threads() {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let before = threads();
        let body = format!(
            "(drop (block (result i32) {})) (drop (block (result i32) {}))
             (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
             (drop (call $fd_close (i32.const 2)))
             (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
             (drop (call $random_get (i32.const 0) (i32.const 4)))
             (drop (call $sched_yield))
             (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
             (i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 1000000))
             (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256))",
            write(1, 30),
            write(2, 30)
        );
        let mut rig = Rig::new(&runnable(&body));
        for _ in 0..3 {
            assert_eq!(rig.call(Export::Runnable, "[]").result.as_deref(), Ok("null"));
            assert_eq!(rig.kept(Export::Runnable, 0).result.as_deref(), Ok("null"));
        }
        assert_eq!(threads(), before);
    }
}
