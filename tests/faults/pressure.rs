//! Backpressure: readers that do not read, and tasks without end, in bounded memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::session::{HANGS, Lines, Session, assert_accounted, cpu, offer, rests, task_file, within};
use crate::support::{fixture, resident, until};

/// Most resident memory of the parent and of the dispatcher while a reader does not read, in bytes: 8 MiB of outcomes
/// plus the rest of a process.
const MOST_RESIDENT: u64 = 100 << 20;

/// Reads the first byte of the first record: the run has begun.
fn read_a_byte(run: &mut Session) -> [u8; 1] {
    let mut first = [0];
    run.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    first
}

/// Waits until the run is stuck: the pipe of stdout is full, all threads of the run are blocked, and none has used CPU
/// time for a while. (The kernel does not announce that.) Meanwhile no process may have too much memory.
pub fn wait_until_stuck(run: &Session) {
    let stdout = run.stdout.as_ref().expect("nobody reads it");
    let used = || run.processes().into_iter().map(cpu).sum::<u64>();
    let (mut last, mut since) = (used(), Instant::now());
    until(|| {
        assert_memory(run);
        let now = used();
        // A pipe holds 64 KiB. The rest of a page stays free when the next write does not fit in.
        let full = rustix::io::ioctl_fionread(stdout).unwrap() >= 32 << 10;
        if now > last + 1 || !full || !run.processes().into_iter().all(rests) {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

fn assert_memory(run: &Session) {
    for pid in [run.pid(), run.one("dispatcher")] {
        let resident = resident(pid).unwrap_or(0);
        assert!(
            resident < MOST_RESIDENT,
            "{resident} bytes in {:?}",
            crate::support::role(pid)
        );
    }
}

#[test]
fn a_reader_that_stops_reading_stops_the_run_and_then_gets_everything() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("echo")]);
    let line = format!("[\"{}\"]\n", "x".repeat(1000));
    let offered = offer(&mut run, line, 50_000);
    let first = read_a_byte(&mut run);
    wait_until_stuck(&run);
    assert!(
        offered.load(Ordering::SeqCst) < 50_000,
        "nothing held the tasks back"
    );
    let stdout = run.stdout.take().unwrap();
    let stdout = Lines::read(std::io::Cursor::new(first).chain(stdout));
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 50_000);
}

/// The first task never ends, and the output of the others has to wait for it.
#[test]
fn with_keep_order_a_slow_first_task_holds_back_the_others_in_bounded_memory() {
    let sleep = r#"{"model":"sleep","args":[3600000],"timeout":"2h"}"#;
    let big = r#"{"model":"big","args":[200000]}"#;
    let guest = crate::support::guest("fixture").to_str().unwrap();
    let mut run = Session::start(&["--results=-", "--size=2", "--keep-order", "--tasks=-", guest]);
    std::io::Write::write_all(run.stdin.as_mut().unwrap(), format!("{sleep}\n").as_bytes()).unwrap();
    let offered = offer(&mut run, format!("{big}\n"), u64::MAX);
    let used = || run.processes().into_iter().map(cpu).sum::<u64>();
    let (mut last, mut since, mut offers) = (used(), Instant::now(), 0);
    until(|| {
        // Up to 64 MiB may wait, in addition to the rest of a process.
        assert!(
            resident(run.pid()).unwrap() < MOST_RESIDENT + (64 << 20),
            "{:?} bytes",
            resident(run.pid())
        );
        let now = (used(), offered.load(Ordering::SeqCst));
        if now.0 > last + 1 || now.1 > offers || now.1 == 0 {
            (last, offers, since) = (now.0, now.1, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1) && resident(run.pid()).unwrap() > 40 << 20).then_some(())
    });
    assert_eq!(
        rustix::io::ioctl_fionread(run.stdout.as_ref().unwrap()).unwrap(),
        0
    );
    run.kill_parent();
}

/// A guest can print one byte at a time, a million times in each callback. The memory for output that waits for the
/// reader includes more than its bytes.
#[test]
fn what_callbacks_print_in_small_pieces_is_held_back_while_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("guest.wat");
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\0a")
        (func (export "runnable") (result i32) (i32.const 0))
        (func (export "callback") (result i32) (local $n i32)
            (loop $again
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $log (i32.const 5) (i32.const 0) (i32.const 0))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 400000))))
            (i32.const 0)))"#;
    std::fs::write(&guest, text).unwrap();
    let tasks = task_file(folder.path(), (0..5).map(|_| "[]".to_owned()));
    let mut run = Session::start(&[
        "--results",
        "/dev/null",
        "--callback-timeout",
        "20s",
        "--max-output",
        "16MiB",
        "--tasks",
        tasks.to_str().unwrap(),
        guest.to_str().unwrap(),
    ]);
    read_a_byte(&mut run);
    wait_until_stuck(&run);
    let stdout = run.read();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    assert_eq!(ended.stdout.len(), 5 * 400_000 - 1);
}

/// No record can be written, but the run can be ended by the third signal.
#[test]
fn a_reader_that_never_reads_again_does_not_keep_a_third_signal_waiting() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("big")]);
    offer(&mut run, "[1000]\n", u64::MAX);
    read_a_byte(&mut run);
    wait_until_stuck(&run);
    run.signal(Signal::SIGINT);
    run.stderr.wait_for_text("a second signal kills all");
    run.signal(Signal::SIGINT);
    run.stderr.wait_for_text("a third signal");
    assert_memory_if_running(&run);
    run.signal(Signal::SIGINT);
    let status = run.wait(within(Duration::from_secs(1)));
    assert_eq!(status.code(), Some(130));
    run.assert_gone();
}

fn assert_memory_if_running(run: &Session) {
    for pid in run.processes() {
        assert!(resident(pid).unwrap_or(0) < MOST_RESIDENT);
    }
}

/// A reader that does not read, and a parent that is killed.
#[test]
fn a_reader_that_never_reads_does_not_keep_processes_alive() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("big")]);
    offer(&mut run, "[1000]\n", u64::MAX);
    read_a_byte(&mut run);
    wait_until_stuck(&run);
    run.kill_parent();
}

#[test]
fn tasks_stream_in_flat_memory() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    offer(&mut run, "[]\n", u64::MAX);
    // There is no reader yet, so all buffers between the two ends fill up and can't grow later.
    read_a_byte(&mut run);
    wait_until_stuck(&run);
    let mut stdout = run.stdout.take().unwrap();
    // Records are counted and dropped. This process is not measured, but it need not grow either.
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = stdout.read(&mut bytes) {
            let lines = bytes[..count].iter().filter(|&&byte| byte == b'\n').count();
            counter.fetch_add(lines as u64, Ordering::SeqCst);
        }
    });
    let at = |count: u64| {
        let end = Instant::now() + HANGS;
        while counted.load(Ordering::SeqCst) < count {
            assert!(
                Instant::now() < end,
                "only {} tasks",
                counted.load(Ordering::SeqCst)
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let measured = run
            .processes()
            .into_iter()
            .map(|pid| (pid, resident(pid).unwrap_or(0)));
        measured.collect::<BTreeMap<_, _>>()
    };
    let early = at(20_000);
    let late = at(120_000);
    for pid in [run.pid(), run.one("dispatcher")] {
        assert!(
            early.contains_key(&pid) && late.contains_key(&pid),
            "{early:?} {late:?}"
        );
    }
    // A worker that was descheduled for too long was replaced, so there is nothing to compare.
    for (pid, before) in &early {
        let Some(after) = late.get(pid).filter(|after| **after > 0) else {
            continue;
        };
        // The memory that the allocator keeps varies. 100,000 leaked tasks would be more than this.
        assert!(
            *after < before + (6 << 20),
            "{before} bytes -> {after} bytes in {:?}",
            crate::support::role(*pid)
        );
    }
    run.kill_parent();
}
