//! A hundred commands that never end by themselves, ten at a time: they sleep, wait for a silent stdin, or flood a stdout
//! that may have no reader. All end soon after their timeout, and memory does not grow.

use std::collections::BTreeMap;
use std::process;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mpwasm::command::{Command, Stdio};
use mpwasm::{Kind, Pool};

use crate::session::{HANGS, Session, assert_accounted, task_file, within};
use crate::support::{
    assert_all_end, binary, descendants, mpwasm, pidfd, pidfd_if_there, resident, run_within, wait_readable,
};

const TOOL: &str = crate::support::COMMAND;

/// Time for all hundred: ten rounds of half a second, plus the cost of processes.
const ALL: Duration = Duration::from_secs(8);

const TIMEOUT: Duration = Duration::from_millis(500);

/// Interval between two measurements of a command's memory, of which each command sees at least one. Scanning all
/// processes of the machine takes about as long as starting a command, and must not distort the result.
const LOOK: Duration = Duration::from_millis(400);

/// Most resident memory of one process, in bytes: 8 MiB of output in flight, the engine, the executable.
const MOST_RESIDENT: u64 = 100 << 20;

/// Peak memory of one process, and of one run, exec or child at a time, in bytes.
#[derive(Debug, Default)]
struct Peak {
    one: u64,
    all: u64,
}

impl Peak {
    fn look(&mut self, processes: &[u32]) {
        let sizes: Vec<_> = processes.iter().map(|&pid| resident(pid).unwrap_or(0)).collect();
        self.one = self.one.max(sizes.iter().copied().max().unwrap_or(0));
        self.all = self.all.max(sizes.iter().sum());
    }
}

/// Runs the hundred in ten threads. `run` receives their numbers.
fn hundred(run: impl Fn(usize) + Sync) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for tenth in 0..10 {
            let run = &run;
            scope.spawn(move || (tenth..100).step_by(10).for_each(run));
        }
    });
    started.elapsed()
}

#[track_caller]
fn assert_bounds(what: &str, took: Duration, peak: &Peak) {
    println!(
        "{what}: {took:?}, at most {} KiB in a process, {} KiB in all of one",
        peak.one, peak.all
    );
    assert!(took < within(ALL), "{took:?}");
    assert!(peak.one < MOST_RESIDENT, "{peak:?}");
}

/// The stdin of a task is finite, so these sleep, compute or flood.
#[test]
fn a_hundred_tasks_that_never_end_do_so_in_time_and_flat_memory() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("command.wat");
    std::fs::write(&guest, TOOL).unwrap();
    let kinds = ["zzz", "flood", "loop"];
    let lines = (0..100).map(|number| format!("[{:?}]", kinds[number % kinds.len()]));
    let tasks = task_file(folder.path(), lines);
    let started = Instant::now();
    let mut run = Session::start(&[
        "--results=-",
        "--timeout=500ms",
        "--size=10",
        "--tasks",
        tasks.to_str().unwrap(),
        guest.to_str().unwrap(),
    ]);
    let stdout = run.read();
    let mut peak = Peak::default();
    while !run.has_ended(Duration::from_millis(20)) {
        peak.look(&run.processes());
        assert!(started.elapsed() < HANGS, "it does not end");
    }
    let took = started.elapsed();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(1);
    let records = ended.records();
    assert_eq!(
        assert_accounted(&records, &["timeout"]),
        BTreeMap::from([("timeout", 100)])
    );
    for record in &records {
        let late = record["run_us"].as_u64().unwrap();
        assert!(
            Duration::from_micros(late) < within(Duration::from_millis(750)),
            "{record}"
        );
    }
    assert_bounds("tasks", took, &peak);
}

/// `mpwasm exec`, with a stdin that stays open without data and a stdout that is not read. They are started as from one
/// shell: with a cache that has the guest, and in one session, as the kernel would first divide CPU time between
/// sessions.
#[test]
fn a_hundred_execs_that_never_end_do_so_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("command.wat");
    std::fs::write(&guest, TOOL).unwrap();
    let cache = folder.path().join("cache");
    let exec = |args: &[&str]| {
        let mut command = mpwasm();
        command.env("MPWASM_CACHE_DIR", &cache).arg("exec").args(args);
        command
    };
    let (guest, kinds) = (guest.to_str().unwrap(), ["zzz", "read", "flood"]);
    let first = run_within(HANGS, &mut exec(&[guest]));
    assert!(first.status.success(), "{first:?}");
    let peak = Mutex::new(Peak::default());
    let took = hundred(|number| {
        let mut exec = exec(&["--timeout=500ms", guest, kinds[number % kinds.len()]]);
        exec.stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped());
        let mut run = exec.stderr(process::Stdio::null()).spawn().unwrap();
        let (end, mut seen, started) = (pidfd(run.id()), Vec::new(), Instant::now());
        while !wait_readable(&end, LOOK) {
            if started.elapsed() > HANGS {
                run.kill().unwrap();
                panic!("it does not end");
            }
            let others = descendants(run.id());
            seen.extend(others.iter().filter_map(|&pid| pidfd_if_there(pid)));
            peak.lock().unwrap().look(&[vec![run.id()], others].concat());
        }
        assert_all_end(&seen, Duration::ZERO);
        assert_eq!(run.wait().unwrap().code(), Some(124));
    });
    assert_bounds("execs", took, &peak.lock().unwrap());
}

/// Children of the library, with three pipes. Nothing is ever written to stdin or read from the others.
#[test]
fn a_hundred_children_that_never_end_do_so_in_time() {
    let loaded = Pool::builder()
        .executable(binary())
        .load_bytes("command.wat", TOOL.as_bytes());
    let (guest, kinds) = (loaded.unwrap(), ["zzz", "read", "flood"]);
    let peak = Mutex::new(Peak::default());
    let took = hundred(|number| {
        let command = Command::new(&guest)
            .arg(kinds[number % kinds.len()])
            .timeout(TIMEOUT);
        let command = command
            .stdin(Stdio::Piped)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Piped);
        let (child, started) = (command.spawn().unwrap(), Instant::now());
        let status = loop {
            assert!(started.elapsed() < HANGS, "it does not end");
            let dispatcher = child.dispatcher_pid();
            let processes = [vec![dispatcher], descendants(dispatcher)].concat();
            peak.lock().unwrap().look(&processes);
            if let Some(status) = child.wait_timeout(LOOK) {
                break status;
            }
        };
        assert_eq!(status.kind(), Some(Kind::Timeout), "{status}");
    });
    assert_bounds("children", took, &peak.lock().unwrap());
}
