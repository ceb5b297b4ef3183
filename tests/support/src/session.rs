//! Runs mpwasm in a session of its own, so that all its processes can be found, including orphans.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

pub use crate::files::{BUSY, announcing_guest, busy_tasks, task_file};
pub use crate::lines::Lines;
pub use crate::processes::{cpu, rests, state, stop, wait_until_busy};
use crate::processes::{pidfd, processes, role, send};
use crate::programs::{binary, fixture, like_mpwasm, mpwasm};
use crate::records::records;
pub use crate::records::{assert_accounted, surviving_records};
pub use crate::waiting::HANGS;
use crate::waiting::{until, wait_readable};

/// Longest time from a kill until all processes of the run have ended, on an idle machine (SECURITY.md).
pub const GONE: Duration = Duration::from_secs(1);

/// Returns a bound of the contract with slack. The bounds hold on an idle machine, but tests run in parallel and beside
/// other programs, and a process that is not scheduled can't meet a deadline. With `MPWASM_FAULT_SLACK=1` the bounds
/// themselves are tested, on an idle machine.
pub fn within(contract: Duration) -> Duration {
    contract * number("MPWASM_FAULT_SLACK", 5)
}

/// Returns the number of tasks of a long run.
pub fn many() -> u64 {
    u64::from(number("MPWASM_FAULT_TASKS", 5000))
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number"))
    })
}

/// Returns a source of random moments. It prints its seed, which the harness shows when the test fails.
pub fn chance() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Sleeps for a random time. It is the only wait by the clock here.
pub fn random_moment(chance: &mut StdRng, longest: Duration) {
    let wait = longest.mul_f64(chance.random());
    println!("a moment {wait:?} later");
    std::thread::sleep(wait);
}

/// A run in the background. Its records go to stdout unless its args say otherwise. Dropping it kills all its processes.
#[derive(Debug)]
pub struct Session {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<std::process::ChildStdout>,
    pub stderr: Lines,
}

/// How a run ended.
#[derive(Debug)]
pub struct EndedSession {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl EndedSession {
    /// Returns the records on stdout.
    pub fn records(&self) -> Vec<Value> {
        records(&self.stdout)
    }

    /// Panics when the exit code is a different one.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{:?} {}",
            self.status,
            self.stderr
        );
    }
}

impl Session {
    /// Starts `mpwasm run ARGS...`.
    pub fn start(args: &[&str]) -> Self {
        Self::start_program(&binary(), args)
    }

    /// Starts `PROGRAM run ARGS...`, of a program that has the command line of `mpwasm`.
    pub fn start_program(program: &Path, args: &[&str]) -> Self {
        Self::spawn(like_mpwasm(program), "run", args)
    }

    /// Starts `mpwasm exec ARGS...`.
    pub fn exec(args: &[&str]) -> Self {
        Self::spawn(mpwasm(), "exec", args)
    }

    /// As [`start`](Self::start), with a limit of address space for each process of the run.
    pub fn start_in(address_space: u64, args: &[&str]) -> Self {
        let mut command = mpwasm();
        let limit = move || Ok(setrlimit(Resource::RLIMIT_AS, address_space, address_space)?);
        // SAFETY: setrlimit is safe to be called between fork and exec.
        unsafe { command.pre_exec(limit) };
        Self::spawn(command, "run", args)
    }

    /// As [`start`](Self::start), after calling `legacy` between fork and exec; it may make system calls only.
    pub fn start_inheriting(legacy: fn() -> std::io::Result<()>, args: &[&str]) -> Self {
        let mut command = mpwasm();
        // SAFETY: system calls only, which are safe between fork and exec.
        unsafe { command.pre_exec(legacy) };
        Self::spawn(command, "run", args)
    }

    fn spawn(mut command: Command, what: &str, args: &[&str]) -> Self {
        command
            .arg(what)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // SAFETY: setsid is safe to be called between fork and exec.
        unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
        let mut child = command.spawn().unwrap();
        let stderr = Lines::read(child.stderr.take().unwrap());
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr,
            child,
        }
    }

    /// Starts a thread that reads stdout.
    pub fn read(&mut self) -> Lines {
        Lines::read(self.stdout.take().expect("somebody reads it already"))
    }

    /// Returns the process id of the parent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the parent.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Returns all processes of the run that have not ended.
    pub fn processes(&self) -> Vec<u32> {
        processes(self.pid(), false)
    }

    /// Returns the processes of one role.
    pub fn of_role(&self, wanted: &str) -> Vec<u32> {
        self.processes()
            .into_iter()
            .filter(|&pid| role(pid).as_deref() == Some(wanted))
            .collect()
    }

    /// Waits for the only process of this role.
    pub fn one(&self, wanted: &str) -> u32 {
        until(|| self.of_role(wanted).first().copied())
    }

    /// Waits until there are `count` workers.
    pub fn workers(&self, count: usize) -> Vec<u32> {
        until(|| Some(self.of_role("worker")).filter(|workers| workers.len() == count))
    }

    /// Returns whether the parent ends within `limit` or has ended.
    pub fn has_ended(&self, limit: Duration) -> bool {
        wait_readable(&pidfd(self.pid()), limit)
    }

    /// Waits until the parent has ended, and reaps it.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begin = Instant::now();
        if !self.has_ended(limit) {
            let left: Vec<_> = self
                .processes()
                .into_iter()
                .map(|pid| (pid, role(pid), state(pid)))
                .collect();
            panic!(
                "it has not ended after {:?}; its processes: {left:?}",
                begin.elapsed()
            );
        }
        self.child.wait().unwrap()
    }

    /// Waits until a run has ended by itself. No process of it may be left then, not even a zombie.
    pub fn finish(mut self, stdout: Lines, limit: Duration) -> EndedSession {
        let status = self.wait(limit);
        assert_eq!(
            processes(self.pid(), true),
            [0; 0],
            "processes or zombies are left: {status:?}"
        );
        EndedSession {
            status,
            stdout: stdout.all(),
            stderr: self.stderr_text(),
        }
    }

    /// Waits for the end of a run that was killed, by a signal to its processes or by its own parent: on a second signal,
    /// the total timeout, or a reader that has left. All its processes must be gone soon. A dispatcher that is too slow
    /// is killed, and init reaps the orphans.
    pub fn finish_killed(mut self, stdout: Lines, limit: Duration) -> EndedSession {
        let status = self.wait(limit);
        self.assert_gone();
        EndedSession {
            status,
            stdout: stdout.all(),
            stderr: self.stderr_text(),
        }
    }

    /// Kills the parent and asserts that all processes of the run end soon.
    pub fn kill_parent(mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.wait(HANGS);
        assert_eq!(
            status.signal(),
            Some(9),
            "it had ended before: {status}: {}",
            self.stderr_text()
        );
        self.assert_gone();
    }

    /// Waits until all processes of the run have ended.
    pub fn assert_gone(&self) {
        let end = Instant::now() + within(GONE);
        let left = loop {
            let Some(&pid) = self.processes().first() else {
                return;
            };
            // It may end between this check and the next line.
            let raw = rustix::process::Pid::from_raw(pid as i32).unwrap();
            if let Ok(fd) = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty())
                && !wait_readable(&fd, end.saturating_duration_since(Instant::now()))
            {
                break self.processes();
            }
        };
        let left: Vec<_> = left.into_iter().map(|pid| (pid, role(pid), state(pid))).collect();
        panic!("processes are left: {left:?}");
    }

    fn stderr_text(&mut self) -> String {
        let nothing = Lines::read(std::io::empty());
        String::from_utf8(std::mem::replace(&mut self.stderr, nothing).all()).unwrap()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }
}

/// Writes task lines to stdin, without end or `count` of them, and counts them.
pub fn offer(run: &mut Session, line: impl Into<String>, count: u64) -> Arc<AtomicU64> {
    let offered = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&offered);
    let batch: String = line.into();
    let mut stdin = run.stdin.take().unwrap();
    std::thread::spawn(move || {
        let batch = batch.repeat(100);
        while counter.load(Ordering::SeqCst) < count && stdin.write_all(batch.as_bytes()).is_ok() {
            counter.fetch_add(100, Ordering::SeqCst);
        }
    });
    offered
}

/// Starts a run of ten tasks that never end. Waits until all its `size` workers spin.
pub fn spinning(size: u32, options: &[&str]) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let tasks = task_file(folder.path(), (0..10).map(|_| "[]".to_owned()));
    let (workers, tasks) = (size.to_string(), tasks.to_str().unwrap());
    let args = [
        "--size",
        &workers,
        "--timeout",
        "1h",
        "--tasks",
        tasks,
        &fixture("spin"),
    ];
    let run = Session::start(&[options, &args].concat());
    wait_until_busy(&run.workers(size as usize));
    run
}
