//! A hundred commands that never end by themselves, ten at a time: they sleep, wait for a silent stdin, or flood a stdout
//! that may have no reader. All end at their timeout, soon, and in memory that does not grow.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use mpwasm::command::{Command, Stdio};
use mpwasm::{Kind, Pool};

use crate::session::{HANGS, Lines, Session, assert_accounted, resident, task_file, within};
use crate::support::{binary, descendants};

const TOOL: &str = include_str!("../support/command.wat");

/// All hundred, from the first start to the last end: ten rounds of half a second, and what processes cost.
const ALL: Duration = Duration::from_secs(8);

const TIMEOUT: Duration = Duration::from_millis(500);

/// What one process may hold, KiB: 8 MiB of output on its way, the engine, the executable.
const MOST_RESIDENT: u64 = 100 << 10;

/// The most memory that was seen: of one process, and of all of one run, exec or child at one time. KiB.
#[derive(Debug, Default)]
struct Peak {
    one: u64,
    all: u64,
}

impl Peak {
    fn look(&mut self, processes: &[u32]) {
        let sizes: Vec<_> = processes.iter().map(|&pid| resident(pid)).collect();
        self.one = self.one.max(sizes.iter().copied().max().unwrap_or(0));
        self.all = self.all.max(sizes.iter().sum());
    }
}

/// Runs all of the hundred in ten threads: `run` is given their numbers.
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

/// A task's stdin is data, which ends: so these sleep, compute, and flood.
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

/// `mpwasm exec`, with a stdin that stays open and says nothing and a stdout that nobody reads. They have a cache that knows
/// the guest, as a user's does from the second time on.
#[test]
fn a_hundred_execs_that_never_end_do_so_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("command.wat");
    std::fs::write(&guest, TOOL).unwrap();
    let (guest, kinds) = (guest.to_str().unwrap(), ["zzz", "read", "flood"]);
    let cache = tempfile::tempdir().unwrap();
    let mut first = Session::exec_with_cache(cache.path(), &[guest]);
    let stdout = first.read();
    first.finish(stdout, HANGS).assert_code(0);
    let peak = Mutex::new(Peak::default());
    let took = hundred(|number| {
        let kind = kinds[number % kinds.len()];
        let run = Session::exec_with_cache(cache.path(), &["--timeout=500ms", guest, kind]);
        while !run.has_ended(Duration::from_millis(100)) {
            peak.lock().unwrap().look(&run.processes());
        }
        let ended = run.finish(Lines::read(std::io::empty()), HANGS);
        ended.assert_code(124);
    });
    assert_bounds("execs", took, &peak.lock().unwrap());
}

/// Children of the library, with three pipes: nothing is ever written to the one, or read from the others.
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
        let child = command.spawn().unwrap();
        let status = loop {
            let dispatcher = child.dispatcher_pid();
            let processes = [vec![dispatcher], descendants(dispatcher)].concat();
            peak.lock().unwrap().look(&processes);
            if let Some(status) = child.wait_timeout(Duration::from_millis(100)) {
                break status;
            }
        };
        assert_eq!(status.kind(), Some(Kind::Timeout), "{status}");
    });
    assert_bounds("children", took, &peak.lock().unwrap());
}
