//! What the integration tests share: the real binary, the guests, and processes to look at.
//!
//! A test starts the real binary on real guests and waits for events: output, exits, the end of a process. There is
//! no sleep in place of an event.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod page;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;

/// The binary under test. `MPWASM_TEST_BINARY` names another: `.ci/run` tests as a user who can't reach this one.
pub fn binary() -> PathBuf {
    std::env::var_os("MPWASM_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_mpwasm").into(), PathBuf::from)
}

/// A command that runs the binary under test. It has no cache of compiled guests, neither the user's own nor one that
/// would make the second run of a test another than the first; a test that wants one names it in `MPWASM_CACHE_DIR`.
/// SIGHUP ends it, also where `nohup` runs the tests.
pub fn mpwasm() -> Command {
    like_mpwasm(&binary())
}

/// As [`mpwasm`], for another program with its command line.
pub fn like_mpwasm(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("MPWASM_CACHE_DIR")
        .env("XDG_CACHE_HOME", "/dev/null/no-cache");
    let heeds_hangup = || {
        // SAFETY: the default action runs no code of this process.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        Ok(())
    };
    // SAFETY: a system call, which is safe between fork and exec.
    unsafe { command.pre_exec(heeds_hangup) };
    command
}

/// A copy of the tests' attacker in `folder`, which is what this name says (`tests/programs/attacker`). A copy, since a
/// link would lead to the file's own name.
pub fn attacker(folder: &Path, name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let examples = tests.parent().unwrap().parent().unwrap().join("examples");
    let path = folder.join(name);
    // By a program of its own: while this process has the copy open for writing, another test's child could inherit
    // that, and the copy could not be executed.
    let status = Command::new("cp")
        .arg(examples.join("attacker"))
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    // The attackers run it as another user in some tests.
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Lets the command run as on a machine whose kernel has no Landlock.
pub fn without_landlock(command: &mut Command) {
    refusing(command, libc::SYS_landlock_create_ruleset, libc::ENOSYS);
}

/// Lets `command` run on a kernel that answers this system call with this error.
pub fn refusing(command: &mut Command, call: libc::c_long, errno: i32) {
    refusing_some(command, call, Vec::new(), errno);
}

/// As [`refusing`], with arguments for which one of the rules holds.
pub fn refusing_some(
    command: &mut Command,
    call: libc::c_long,
    rules: Vec<seccompiler::SeccompRule>,
    errno: i32,
) {
    let filter = seccompiler::SeccompFilter::new(
        [(call, rules)].into(),
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let apply = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
    // SAFETY: it makes two system calls, and allocates only if they fail.
    unsafe { command.pre_exec(apply) };
}

/// The guest in `guests/NAME`, built once per test binary, as users build theirs.
pub fn guest(name: &'static str) -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    static PUSHER: OnceLock<PathBuf> = OnceLock::new();
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    let cell = match name {
        "demo" => &DEMO,
        "fixture" => &FIXTURE,
        "pusher" => &PUSHER,
        "files" => &FILES,
        _ => panic!("there is no guest {name}"),
    };
    cell.get_or_init(|| {
        // Built in advance, for a user who can't build: see `.ci/run`.
        if let Some(built) = std::env::var_os("MPWASM_TEST_GUESTS") {
            return PathBuf::from(built).join(name).with_extension("wasm");
        }
        let output = mpwasm()
            .args(["build"])
            .arg(repository().join("guests").join(name))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

/// The fixture's model NAME, as `mpwasm run` takes it.
pub fn fixture(model: &str) -> String {
    format!("{}#{model}", guest("fixture").display())
}

/// The top folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs to the end; panics when that takes longer than `limit`.
pub fn run_within(limit: Duration, command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = pidfd(child.id());
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    assert!(wait_readable(&end, limit), "it took longer than {limit:?}");
    reader.join().unwrap()
}

/// The JSON lines in `text`.
pub fn records(text: &[u8]) -> Vec<Value> {
    let parse = |line: &[u8]| {
        serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)))
    };
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(parse)
        .collect()
}

/// The records of `mpwasm run --results - ARGS...`, in the order of their ids, and how the run ended.
pub fn run_records(limit: Duration, args: &[&str]) -> (Vec<Value>, Output) {
    let output = run_within(limit, mpwasm().args(["run", "--results", "-"]).args(args));
    let mut all = records(&output.stdout);
    all.sort_by_key(|record| record["id"].as_u64());
    (all, output)
}

/// Every id from 0 to `count` exactly once.
pub fn assert_each_id_once(records: &[Value], count: u64) {
    let mut ids: Vec<_> = records
        .iter()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..count).collect::<Vec<_>>());
}

/// How many records have each status, such as `[("ok", 3)]`.
pub fn statuses(records: &[Value]) -> Vec<(&str, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for record in records {
        *counts.entry(record["status"].as_str().unwrap()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// A run in the background. Dropping it kills what is left of it.
pub struct Run {
    pub child: Child,
    pub stdout: Option<BufReader<ChildStdout>>,
}

impl Run {
    /// Starts `mpwasm run ARGS...`, with a pipe to each of its three streams but stderr, which goes nowhere.
    pub fn start(args: &[&str]) -> Self {
        let mut child = mpwasm()
            .arg("run")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    /// The next line of stdout: an event to wait for.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// The rest of stdout.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        rest
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pid of its dispatcher, once there is one.
    pub fn dispatcher(&self) -> u32 {
        until(|| {
            descendants(self.pid())
                .into_iter()
                .find(|&pid| role(pid).as_deref() == Some("dispatcher"))
        })
    }

    /// The pids of its workers, once there are `count`.
    pub fn workers(&self, count: usize) -> Vec<u32> {
        until(|| {
            let all = descendants(self.pid());
            let workers: Vec<_> = all
                .into_iter()
                .filter(|&pid| role(pid).as_deref() == Some("worker"))
                .collect();
            (workers.len() == count).then_some(workers)
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits for its end; panics when that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            wait_readable(&pidfd(self.pid()), limit),
            "it took longer than {limit:?}"
        );
        self.child.wait().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// A descriptor that is readable once the process has ended (even if nobody has reaped it).
pub fn pidfd(pid: u32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

/// As [`pidfd`]; `None` when the process has ended and was reaped.
pub fn pidfd_if_there(pid: u32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Waits until the descriptor is readable. False when that takes longer than `limit`.
pub fn wait_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
}

/// Panics when one of the processes behind these descriptors has not ended `limit` from now.
pub fn assert_all_end(pidfds: &[OwnedFd], limit: Duration) {
    let end = Instant::now() + limit;
    for fd in pidfds {
        assert!(
            wait_readable(fd, end.saturating_duration_since(Instant::now())),
            "a process is left"
        );
    }
}

/// Looks again and again until there is an answer; panics after a minute. For what the kernel does not announce.
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not happen");
        // It rests between two looks: a thread that yields again and again is starved by those that compute.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Tries what depends on real time at most three times, and returns at the first success. On a busy machine a thread
/// may stand still at any moment, so what is true of a machine that keeps up is asked of one try out of three. What is
/// true always is asserted within the try.
#[track_caller]
pub fn once_in_three(mut attempt: impl FnMut() -> Result<(), String>) {
    let failures: Vec<_> = (0..3).map_while(|_| attempt().err()).collect();
    assert!(failures.len() < 3, "{failures:#?}");
}

/// All processes that descend from `pid`, in the order of /proc.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let parents: Vec<(u32, u32)> = all_pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut index = 0;
    while let Some(&of) = found.get(index) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == of)
                .map(|(pid, _)| *pid),
        );
        index += 1;
    }
    found.split_off(1)
}

/// All processes of the machine.
pub fn all_pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent of a process, unless it has ended and was reaped.
pub fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// What a process of the pool is: `dispatcher`, `worker`, `compiler` or `tasks`.
pub fn role(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line);
    Some(
        line.split('\0')
            .nth(1)?
            .strip_prefix("--mpwasm-child=")?
            .to_owned(),
    )
}

/// Bytes of memory that a process has.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .strip_suffix("kB")
        .unwrap()
        .trim()
        .parse::<u64>()
        .unwrap()
        << 10
}
