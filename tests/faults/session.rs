//! A run in a session of its own, so that all of its processes can be found, orphans as well; and the waiting for
//! events around it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::support::{
    binary, fixture, like_mpwasm, mpwasm, pidfd, records, role, send, statuses, until, wait_readable,
};

/// Longer than any run here takes on a machine that is busy with other things: a run that hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// Between a kill and the end of all processes of the run (DESIGN.md, section 1).
pub const GONE: Duration = Duration::from_secs(1);

/// A bound of the contract, with slack. The bounds are for a machine that is idle; tests run beside each other and
/// beside whatever else the machine does, and a process that is not scheduled can't keep a deadline. The figures
/// themselves are measured with `MPWASM_FAULT_SLACK=1` on an idle machine.
pub fn within(contract: Duration) -> Duration {
    contract * number("MPWASM_FAULT_SLACK", 5)
}

/// How many tasks a long run has.
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

/// A source of random moments. Its seed is printed, which the harness shows when the test fails.
pub fn chance() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Lets a random moment come: the one thing here that is waited for by the clock.
pub fn random_moment(chance: &mut StdRng, longest: Duration) {
    let wait = longest.mul_f64(chance.random());
    println!("a moment {wait:?} later");
    std::thread::sleep(wait);
}

/// The lines of a stream, as a thread reads them.
#[derive(Debug)]
pub struct Lines {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    lines: usize,
    ended: bool,
}

impl Lines {
    /// Starts to read.
    pub fn read(stream: impl Read + Send + 'static) -> Self {
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let sees = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let count = stream.read_until(b'\n', &mut line).unwrap();
                let mut seen = sees.0.lock().unwrap();
                seen.bytes.extend_from_slice(&line);
                seen.lines += usize::from(line.ends_with(b"\n"));
                seen.ended = count == 0;
                sees.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self {
            seen,
            thread: Some(thread),
        }
    }

    /// Waits until there are `count` lines, or the end.
    pub fn wait_for(&self, count: usize) {
        self.wait("lines", |seen| seen.lines >= count);
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.seen.0.lock().unwrap().lines
    }

    /// Waits until `text` was read.
    pub fn wait_for_text(&self, text: &str) {
        let found = |seen: &Seen| {
            seen.bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        self.wait(text, found);
        let seen = self.seen.0.lock().unwrap();
        assert!(
            found(&seen),
            "no {text:?} in {:?}",
            String::from_utf8_lossy(&seen.bytes)
        );
    }

    /// What was read so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().unwrap().bytes).into_owned()
    }

    fn wait(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let seen = self.seen.0.lock().unwrap();
        let waiting = |seen: &mut Seen| !seen.ended && !enough(seen);
        let (seen, timeout) = self.seen.1.wait_timeout_while(seen, HANGS, waiting).unwrap();
        assert!(
            !timeout.timed_out(),
            "no {what} in {:?}",
            String::from_utf8_lossy(&seen.bytes)
        );
    }

    /// All of it, at the stream's end.
    pub fn all(mut self) -> Vec<u8> {
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.seen.0.lock().unwrap().bytes)
    }
}

/// A run in the background, with its records on stdout unless its args say otherwise. Dropping it kills what is left.
#[derive(Debug)]
pub struct Session {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<std::process::ChildStdout>,
    pub stderr: Lines,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// The records on stdout.
    pub fn records(&self) -> Vec<Value> {
        records(&self.stdout)
    }

    /// Panics when the exit code is another.
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

    /// As [`start`](Self::start); no process of the run may have more address space than this.
    pub fn start_in(address_space: u64, args: &[&str]) -> Self {
        let mut command = mpwasm();
        let limit = move || Ok(setrlimit(Resource::RLIMIT_AS, address_space, address_space)?);
        // SAFETY: setrlimit is safe to be called between fork and exec.
        unsafe { command.pre_exec(limit) };
        Self::spawn(command, "run", args)
    }

    /// As [`start`](Self::start), by a process that has done this before; it makes system calls only.
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

    /// The parent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the parent a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// All processes of the run that have not ended.
    pub fn processes(&self) -> Vec<u32> {
        processes(self.pid(), false)
    }

    /// Those of one role.
    pub fn of_role(&self, wanted: &str) -> Vec<u32> {
        self.processes()
            .into_iter()
            .filter(|&pid| role(pid).as_deref() == Some(wanted))
            .collect()
    }

    /// Waits for the one process of this role.
    pub fn one(&self, wanted: &str) -> u32 {
        until(|| self.of_role(wanted).first().copied())
    }

    /// Waits until there are `count` workers.
    pub fn workers(&self, count: usize) -> Vec<u32> {
        until(|| Some(self.of_role("worker")).filter(|workers| workers.len() == count))
    }

    /// Whether the parent has ended, `limit` from now or before.
    pub fn has_ended(&self, limit: Duration) -> bool {
        wait_readable(&pidfd(self.pid()), limit)
    }

    /// Waits for the parent's end, and reaps it.
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

    /// Waits for the end of a run that ends by itself: nothing is left of it at that moment, no zombie either.
    pub fn finish(mut self, stdout: Lines, limit: Duration) -> Ended {
        let status = self.wait(limit);
        assert_eq!(
            processes(self.pid(), true),
            [0; 0],
            "processes or zombies are left: {status:?}"
        );
        Ended {
            status,
            stdout: stdout.all(),
            stderr: self.stderr_text(),
        }
    }

    /// Waits for the end of a run after a kill, be it of the whole run by its parent (a second signal, the total
    /// timeout, a reader that has left): nothing is left of it soon. A dispatcher that is not through with that in
    /// time is killed, and what was an orphan is for init to reap.
    pub fn finish_killed(mut self, stdout: Lines, limit: Duration) -> Ended {
        let status = self.wait(limit);
        self.assert_gone();
        Ended {
            status,
            stdout: stdout.all(),
            stderr: self.stderr_text(),
        }
    }

    /// Kills the parent; nothing is left of the run soon.
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

    /// Waits for the end of all processes of the run.
    pub fn assert_gone(&self) {
        let end = Instant::now() + within(GONE);
        let left = loop {
            let Some(&pid) = self.processes().first() else {
                return;
            };
            // It may end between the look and the next line.
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

/// The processes of a session, with or without those that have ended and wait to be reaped.
fn processes(session: u32, zombies: bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let belongs = |pid: &u32| {
        let fields = stat(*pid).unwrap_or_default();
        let ended = fields
            .first()
            .is_none_or(|state| ["Z", "X"].contains(&state.as_str()));
        fields.get(3) == Some(&session.to_string()) && (zombies || !ended)
    };
    pids.filter(belongs).collect()
}

/// The fields of `/proc/PID/stat` behind the name, beginning with the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(
        text.rsplit_once(')')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

/// The state of a process: `R`, `S`, `T`, `Z` and so on; `None` when it has ended and was reaped.
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?[0].chars().next()
}

/// Processor time of a process, in ticks of 10 ms.
pub fn cpu(pid: u32) -> u64 {
    stat(pid).map_or(0, |fields| {
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    })
}

/// Resident memory of a process, KiB; 0 when it has ended.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |rest| rest.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Whether every thread of the process waits for something. One that only does not get its turn does not.
pub fn rests(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with(['S', 'Z', 'X']))
    })
}

/// Waits until all of these spin: 200 ms of processor time from now are more than any start takes.
pub fn wait_until_busy(pids: &[u32]) {
    let before: Vec<_> = pids.iter().map(|&pid| cpu(pid)).collect();
    until(|| {
        pids.iter()
            .zip(&before)
            .all(|(&pid, before)| cpu(pid) >= before + 20)
            .then_some(())
    });
}

/// Stops a process, and waits until it stands.
pub fn stop(pid: u32) {
    send(pid, Signal::SIGSTOP);
    until(|| (state(pid) == Some('T')).then_some(()));
}

/// A file of task lines.
pub fn task_file(folder: &Path, lines: impl IntoIterator<Item = String>) -> PathBuf {
    let path = folder.join("tasks");
    fs::write(
        &path,
        lines.into_iter().map(|line| line + "\n").collect::<String>(),
    )
    .unwrap();
    path
}

/// A task of the fixture that computes for a millisecond.
pub const BUSY: &str = r#"{"model":"busy","args":[1000]}"#;

/// A file of `count` of them.
pub fn busy_tasks(folder: &Path, count: u64) -> PathBuf {
    task_file(folder, (0..count).map(|_| BUSY.to_owned()))
}

/// Writes task lines without end to stdin, or `count` of them; counts them.
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

/// A run with ten tasks that never end, and so many workers, all of which spin.
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

/// A guest whose `runnable` prints `started` and then computes until so much is left to its deadline. Its model `next`
/// returns at once.
pub fn announcing_guest(folder: &Path, left: Duration) -> PathBuf {
    let path = folder.join("announcing.wat");
    let left = left.as_millis();
    let text = format!(
        r#"(module
        (import "mpwasm_v1" "remaining_ms" (func $remaining_ms (result i64)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\08\00\00\00")
        (data (i32.const 16) "started\n")
        (func (export "runnable") (result i32)
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (loop $again (br_if $again (i64.gt_s (call $remaining_ms) (i64.const {left}))))
            (i32.const 0))
        (func (export "next.runnable") (result i32) (i32.const 0)))"#
    );
    fs::write(&path, text).unwrap();
    path
}

/// Every id from 0 on exactly once, however many were accepted; and no status but these. Returns how many there are
/// of each.
pub fn assert_accounted<'a>(
    records: &'a [Value],
    allowed: &[&str],
) -> std::collections::BTreeMap<&'a str, usize> {
    crate::support::assert_each_id_once(records, records.len() as u64);
    let counts = statuses(records);
    assert!(
        counts.iter().all(|(status, _)| allowed.contains(status)),
        "{counts:?}"
    );
    counts.into_iter().collect()
}

/// The records that a run left in a file when it was killed: at most the last line is torn.
pub fn surviving_records(path: &Path) -> Vec<Value> {
    let text = fs::read(path).unwrap();
    let whole = text
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let all = records(&text[..whole]);
    let mut ids: Vec<_> = all.iter().map(|record| record["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(
        ids.windows(2).all(|pair| pair[0] < pair[1]),
        "a task has two records"
    );
    all
}
