//! Generates records for pictures of reports.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

/// When the runs began: microseconds since the Unix epoch.
const BEGIN: u64 = 1_764_489_000_000_000;

/// Text that guests could choose: markup, escapes, bidirectional marks, long words and no words.
const HOSTILE: [&str; 6] = [
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "\" onmouseover=\"alert(3)\" '--><!-- ]]> &lt; &amp;",
    "\u{1b}[2J\u{1b}]0;title\u{7}\u{0}\u{9b}2J\r\n\t",
    "\u{202e}gpj.exe\u{2066}\u{200b}\u{feff} שלום עולם مرحبا",
    "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww",
    "",
];

/// A run to make up.
struct Run {
    name: &'static str,
    tasks: u64,
    workers: u64,
    /// Usual run time of a task, microseconds.
    run_us: u64,
    /// Of a thousand tasks, those that fail.
    failing: u64,
    is_hostile: bool,
}

const RUNS: [Run; 4] = [
    run("ten", 10, 2, 300_000, 0),
    run("failed", 300, 8, 40_000, 200),
    run("million", 1_000_000, 16, 2000, 10),
    Run {
        is_hostile: true,
        ..run("hostile", 120, 3, 5000, 500)
    },
];

const fn run(name: &'static str, tasks: u64, workers: u64, run_us: u64, failing: u64) -> Run {
    Run {
        name,
        tasks,
        workers,
        run_us,
        failing,
        is_hostile: false,
    }
}

/// Writes the log of each run into a folder. Returns their names and paths.
pub fn write_logs(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    RUNS.iter()
        .map(|run| Ok((run.name, run.write(folder)?)))
        .collect()
}

impl Run {
    fn write(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(self.name).with_extension("log");
        let mut file = BufWriter::new(File::create(&path)?);
        let mut random = Random(7);
        let mut free = vec![BEGIN; self.workers as usize];
        for id in 0..self.tasks {
            let (worker, start) = free
                .iter()
                .copied()
                .enumerate()
                .min_by_key(|(_, time)| *time)
                .unwrap_or_default();
            let record = self.record(id, worker, start, &mut random);
            free[worker] =
                start + record["run_us"].as_u64().unwrap_or(0) + random.below(self.run_us / 20 + 1);
            writeln!(file, "{record}")?;
        }
        file.flush()?;
        Ok(path)
    }

    fn record(&self, id: u64, worker: usize, start: u64, random: &mut Random) -> Value {
        // The product of two numbers gives a few tasks that are much slower than most.
        let run_us = self.run_us * (10 + random.below(90)) * (10 + random.below(190)) / 5000 + 1;
        let mut record = json!({
            "id": id, "key": Value::Null, "model": "", "status": "ok", "result": Value::Null, "error": Value::Null,
            "attempts": 1, "tried": [], "worker": worker, "pid": 100 + worker, "started_us": start,
            "queued_us": start - BEGIN, "run_us": run_us, "cpu_us": run_us * 9 / 10,
            "memory_peak": 65536 * (1 + random.below(40)), "stdout_bytes": random.below(2000), "output_truncated": false,
            "callback": "none"
        });
        if id.is_multiple_of(3) {
            record["key"] = format!("item-{id}").into();
        }
        if random.below(50) == 0 {
            record["attempts"] = 2.into();
            record["tried"] = json!([{"attempt": 1, "kind": "crash", "message": "killed", "worker": worker, "pid": 99, "run_us": 5}]);
        }
        if self.failing > 0 && random.below(4) == 0 {
            record["callback"] = if random.below(50) == 0 { "trap" } else { "ok" }.into();
        }
        // In a tenth of the time, five times as many tasks fail.
        let factor = if id * 10 / self.tasks == 4 { 5 } else { 1 };
        if random.below(1000) < self.failing * factor {
            fail(&mut record, id, random);
        }
        if self.is_hostile {
            make_hostile(&mut record, random);
        }
        record
    }
}

fn fail(record: &mut Value, id: u64, random: &mut Random) {
    let (kind, message) = match random.below(5) {
        0 => ("timeout", "the deadline passed in `runnable`".to_owned()),
        1 => ("error", format!("no item {id} in \"stock\"")),
        2 => ("crash", "the worker process was killed by signal 9".to_owned()),
        _ => (
            "trap",
            format!("wasm `unreachable` instruction executed at {:#x}", id * 16),
        ),
    };
    record["status"] = kind.into();
    record["error"] = json!({"kind": kind, "message": message, "args": [id], "id": id, "attempt": 1,
        "backtrace": [format!("shop::stock::take @ {:#x}", random.below(1 << 20))]});
}

fn make_hostile(record: &mut Value, random: &mut Random) {
    let mut text = || HOSTILE[random.below(HOSTILE.len() as u64) as usize];
    record["key"] = text().into();
    record["model"] = text().into();
    if record["error"].is_object() {
        record["error"]["message"] = text().into();
        record["error"]["backtrace"] = json!([text()]);
    }
}

/// Numbers that look random, and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
