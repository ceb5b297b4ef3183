//! Sets up the measurements: the guests, a cache that is warm after the first round, and pools.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use mpwasm::{Cache, Guest, Interrupt, Outcome, Pool, Reporter};
use tempfile::TempDir;

/// A guest that copies its input to its output.
pub const COPY: &str = include_str!("copy.wat");

/// A guest that writes `PAGES` pages of its memory, of 64 KiB each.
pub const WRITE: &str = include_str!("write.wat");

/// Number of workers of the pools whose throughput is measured.
pub const WORKERS: u32 = 2;

/// The guests, the cache and the peers of all measurements.
pub struct Setup {
    scratch: TempDir,
    /// The guest with the models that the tests use, too.
    pub fixture: PathBuf,
    /// The guest whose models are programs that compute.
    pub programs: PathBuf,
    /// The Python that has the peers installed. `None` skips the peers.
    pub python: Option<PathBuf>,
}

impl Setup {
    /// Builds the guests.
    pub fn new(python: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            scratch: tempfile::tempdir()?,
            fixture: build("fixture")?,
            programs: build("programs")?,
            python,
        })
    }

    /// Returns the path of a temporary file of this run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Creates a folder with `count` small guests that all differ: `0.wat` and so on.
    pub fn guests(&self, count: usize) -> Result<PathBuf> {
        let folder = self.file("guests");
        std::fs::create_dir_all(&folder)?;
        for number in 0..count {
            let text = format!(
                r#"(module (memory (export "memory") 1) (global i32 (i32.const {number}))
                    (func (export "runnable") (result i32) (i32.const 0)))"#
            );
            std::fs::write(folder.join(format!("{number}.wat")), text)?;
        }
        Ok(folder)
    }

    /// Returns the command line, with the cache of this run.
    pub fn mpwasm(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpwasm"));
        command.env("MPWASM_CACHE_DIR", self.file("cache"));
        command
    }

    /// Returns a model of the fixture, as `mpwasm run` takes it.
    pub fn model(&self, name: &str) -> String {
        format!("{}#{name}", self.fixture.display())
    }

    /// Starts a pool of `size` workers and loads the fixture. Returns both and the counter of the pool's outcomes.
    pub fn pool(&self, size: u32) -> Result<(Pool, Guest, Counter)> {
        let counter = Counter::default();
        let pool = Pool::builder()
            .size(size)
            .cache(Cache::at(self.file("cache")))
            .reporter(counter.clone())
            .start()?;
        let guest = pool.load(&self.fixture)?;
        Ok((pool, guest, counter))
    }

    /// Starts a pool of one worker whose tasks are stopped in this way, and loads the fixture.
    pub fn pool_with(&self, interrupt: Interrupt) -> Result<(Pool, Guest)> {
        let pool = Pool::builder()
            .size(1)
            .interrupt(interrupt)
            .cache(Cache::at(self.file("cache")))
            .reporter(Counter::default())
            .start()?;
        let guest = pool.load(&self.fixture)?;
        Ok((pool, guest))
    }

    /// Runs a Python script of `benches/peers` and returns its stdout. Returns `None` without peers.
    pub fn peer(&self, args: &[&str]) -> Result<Option<String>> {
        let Some(mut command) = self.peer_command(args) else {
            return Ok(None);
        };
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(
            output.status.success(),
            "the peer {args:?} failed: {}",
            output.status
        );
        Ok(Some(String::from_utf8(output.stdout)?))
    }

    /// Runs a script as [`Setup::peer`] does, and parses the number that it prints.
    pub fn peer_number(&self, args: &[&str]) -> Result<Option<f64>> {
        let parse = |text: String| {
            text.trim()
                .parse()
                .with_context(|| format!("{args:?} said {text:?}"))
        };
        self.peer(args)?.map(parse).transpose()
    }

    /// Returns the command of a peer.
    pub fn peer_command(&self, args: &[&str]) -> Option<Command> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/peers/peer.py");
        let mut command = Command::new(self.python.as_ref()?);
        command.arg(script).args(args);
        Some(command)
    }
}

/// Builds the guest in this folder of `guests`. Returns the path of its module.
fn build(name: &str) -> Result<PathBuf> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests");
    let output = Command::new(env!("CARGO_BIN_EXE_mpwasm"))
        .arg("build")
        .arg(guests.join(name))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the guest {name} can't be built");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Counts outcomes, and wakes the thread that waits for a number of them.
#[derive(Clone, Default)]
pub struct Counter(Arc<Counted>);

struct Counted {
    ended: AtomicU64,
    failed: AtomicU64,
    /// Number of ended tasks at which the waiting thread is woken. It is not woken earlier, as that costs a system call.
    target: AtomicU64,
    gate: Mutex<()>,
    reached: Condvar,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            target: AtomicU64::new(u64::MAX),
            gate: Mutex::new(()),
            reached: Condvar::new(),
        }
    }
}

impl Counter {
    /// Waits until `count` tasks have ended since the pool's start. Fails if one of them failed.
    pub fn wait_for(&self, count: u64) -> Result<()> {
        let counted = &self.0;
        counted.target.store(count, Ordering::SeqCst);
        let gate = counted.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |(): &mut ()| counted.ended.load(Ordering::SeqCst) < count;
        drop(
            counted
                .reached
                .wait_while(gate, waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
        counted.target.store(u64::MAX, Ordering::SeqCst);
        let failed = counted.failed.load(Ordering::SeqCst);
        ensure!(failed == 0, "{failed} tasks did not end well");
        Ok(())
    }
}

impl Reporter for Counter {
    fn outcome(&mut self, outcome: &Outcome) -> std::io::Result<()> {
        if !outcome.is_success() {
            self.0.failed.fetch_add(1, Ordering::SeqCst);
        }
        let ended = self.0.ended.fetch_add(1, Ordering::SeqCst) + 1;
        if ended >= self.0.target.load(Ordering::SeqCst) {
            drop(self.0.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.reached.notify_all();
        }
        Ok(())
    }
}
