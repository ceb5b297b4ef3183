//! Compares the memory of each process of a run with the sum of its bounds.
//!
//! Every few milliseconds a thread reads the peak resident memory of all descendants of the tests. So only what a process
//! allocates in its last milliseconds is missed. With `MPWASM_TEST_MEMORY` a line for each process is appended to that
//! file, from which `.ci/run` shows the largest.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mpwasm::Settings;
use mpwasm_sandbox::jail::{DISPATCHER_MEMORY, WORKER_OVERHEAD};

use crate::support;

/// Time between two scans.
const INTERVAL: Duration = Duration::from_millis(5);

/// Number of scans after which a process's role is read. Before, it may not have executed its program yet.
const LOOKS: u32 = 20;

/// Most resident memory of the parent with default limits, in bytes.
const PARENT: u64 = 256 << 20;

/// Limit of address space of the compiler, bytes.
const COMPILER: u64 = 4 << 30;

/// Returns the sum of the bounds of a process, with default limits, in bytes.
fn bound(process: &str) -> u64 {
    let settings = Settings::default();
    match process {
        "parent" => PARENT,
        "dispatcher" => DISPATCHER_MEMORY + settings.callback_memory,
        "compiler" => COMPILER,
        // Workers, and the process that runs `tasks`.
        _ => WORKER_OVERHEAD + settings.memory + settings.max_args + settings.max_result,
    }
}

/// A descendant of the tests.
struct Seen {
    /// The direct child of the tests from which it descends.
    root: u32,
    /// Its role, once that is known.
    name: Option<String>,
    looks: u32,
}

#[derive(Default)]
struct Sampler {
    /// All processes of the machine; `None` for those that do not descend from the tests.
    processes: HashMap<u32, Option<Seen>>,
    /// Peak memory of the processes of a run, in bytes, by their direct ancestor and their name.
    peaks: BTreeMap<(u32, String), u64>,
}

impl Sampler {
    fn look(&mut self) {
        let mut pids: Vec<u32> = support::all_pids().collect();
        // Parents are seen before their children.
        pids.sort_unstable();
        self.processes.retain(|pid, _| pids.binary_search(pid).is_ok());
        for pid in pids {
            if !self.processes.contains_key(&pid) {
                let root = self.root(pid);
                let seen = root.map(|root| Seen {
                    root,
                    name: None,
                    looks: 0,
                });
                self.processes.insert(pid, seen);
            }
            if let Some(Some(seen)) = self.processes.get_mut(&pid) {
                seen.look(pid);
                if let (Some(name), Some(peak)) = (&seen.name, support::peak_resident(pid)) {
                    let most = self.peaks.entry((seen.root, name.clone())).or_default();
                    *most = peak.max(*most);
                }
            }
        }
    }

    /// Returns the direct child of the tests from which a process descends.
    fn root(&self, pid: u32) -> Option<u32> {
        let parent = support::parent(pid)?;
        if parent == std::process::id() {
            return Some(pid);
        }
        Some(self.processes.get(&parent)?.as_ref()?.root)
    }
}

impl Seen {
    fn look(&mut self, pid: u32) {
        self.looks += 1;
        if self.looks > LOOKS && self.name.is_some() {
            return;
        }
        self.name = match support::role(pid) {
            Some(role) => Some(role),
            None if pid == self.root && has_executed(pid) => Some("parent".to_owned()),
            None => None,
        };
    }
}

/// Returns whether a child of the tests has executed its program. Until then its memory is that of the tests.
fn has_executed(pid: u32) -> bool {
    let line = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line(&pid.to_string()) != line("self")
}

fn sampler() -> &'static Mutex<Sampler> {
    static SAMPLER: OnceLock<Mutex<Sampler>> = OnceLock::new();
    SAMPLER.get_or_init(|| {
        std::thread::spawn(|| {
            loop {
                lock().look();
                std::thread::sleep(INTERVAL);
            }
        });
        Mutex::default()
    })
}

fn lock() -> std::sync::MutexGuard<'static, Sampler> {
    sampler().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, once.
pub fn watch() {
    drop(lock());
}

/// Returns the peak memory of the processes with this name in the run with the parent `root`, in bytes; 0 when none was
/// seen.
pub fn peak(root: u32, name: &str) -> u64 {
    let peaks = &lock().peaks;
    peaks.get(&(root, name.to_owned())).copied().unwrap_or_default()
}

/// Panics when a process of the run with the parent `root` exceeded its bounds of memory.
pub fn assert_bounded(root: u32) {
    let all = lock();
    let run = (root, String::new())..(root + 1, String::new());
    let peaks: Vec<_> = all
        .peaks
        .range(run)
        .map(|((_, name), peak)| (name.clone(), *peak))
        .collect();
    drop(all);
    let case = std::thread::current().name().unwrap_or("?").to_owned();
    let mut table = String::new();
    for (name, peak) in &peaks {
        let (peak, bound) = (peak >> 20, bound(name) >> 20);
        table += &format!("{name:<10} {peak:>5} MiB of {bound:>5} MiB  {case}\n");
    }
    print!("{table}");
    if let Some(path) = std::env::var_os("MPWASM_TEST_MEMORY") {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(table.as_bytes()).unwrap();
    }
    let beyond = peaks.iter().find(|(name, peak)| *peak > bound(name));
    assert_eq!(beyond, None, "it had more memory than its bounds allow:\n{table}");
}
