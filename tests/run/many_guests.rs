//! Runs of many guests: they use the descriptors that are available, and fail with a reason if these are too few.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use tempfile::TempDir;

use crate::support::{mpwasm, records, run_within, statuses};

/// Longest time of a run of a thousand guests, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Guests in separate files, with equal contents so that only one is compiled, and a task line for each.
struct Guests {
    dir: TempDir,
    paths: Vec<PathBuf>,
}

impl Guests {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |number| dir.path().join(format!("guest{number}.wat"));
        let paths: Vec<_> = (0..count).map(path).collect();
        let text = "(module (memory (export \"memory\") 1)
            (func (export \"runnable\") (result i32) (i32.const 0)))";
        let mut lines = String::new();
        for path in &paths {
            std::fs::write(path, text).unwrap();
            writeln!(lines, "{{\"guest\":\"{}\",\"args\":[]}}", path.display()).unwrap();
        }
        std::fs::write(dir.path().join("tasks"), lines).unwrap();
        Self { dir, paths }
    }

    /// Runs all guests, with these soft and hard limits of open files.
    fn run(&self, soft: u64, hard: u64) -> Output {
        let mut command = mpwasm();
        command
            .env("MPWASM_CACHE_DIR", self.dir.path().join("cache"))
            .args(["run", "--size", "2", "--results", "-", "--tasks"])
            .arg(self.dir.path().join("tasks"))
            .args(&self.paths);
        limit_descriptors(&mut command, soft, hard);
        run_within(PATIENCE, &mut command)
    }
}

fn limit_descriptors(command: &mut Command, soft: u64, hard: u64) {
    let limit = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?);
    // SAFETY: it makes one system call.
    unsafe { command.pre_exec(limit) };
}

#[test]
fn more_guests_than_the_soft_limit_of_descriptors_run() {
    let output = Guests::new(1100).run(1024, 4096);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(statuses(&records(&output.stdout)), [("ok", 1100)]);
}

#[test]
fn more_guests_than_processes_may_have_descriptors_for_are_refused() {
    let output = Guests::new(300).run(256, 256);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("cannot take another guest") && stderr.contains("a process may have 256"),
        "{stderr}"
    );
    assert_eq!(output.stdout, b"", "nothing ran");
}
