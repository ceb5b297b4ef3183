//! SIGTSTP, SIGTTIN, SIGTTOU and SIGCONT, as a terminal sends them to the parent alone; and SIGHUP where it was ignored.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, signal};

use super::{LIMIT, Legacy, inheriting};
use crate::session::{Lines, Session, announcing_guest, cpu, rests, state, stop, wait_until_busy};
use crate::support::{descendants, fixture, mpwasm, pidfd, records, role, send, until, wait_readable};

/// Timeout of a task, of which its guest uses a part.
const TIMEOUT: Duration = Duration::from_secs(20);
const LEFT: Duration = Duration::from_secs(14);

/// mpwasm as a shell starts it: in a process group of its own that is not orphaned, so that SIGTSTP stops it.
struct Job {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Job {
    fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        Self {
            stdout: Lines::read(child.stdout.take().unwrap()),
            stderr: Lines::read(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Starts a run with one worker and one task that does not end by itself.
    fn start_spinning() -> Self {
        let mut command = mpwasm();
        command.args("run --size 1 --timeout 1h --args []".split_whitespace());
        command.arg(fixture("spin"));
        Self::start(command)
    }

    fn worker(&self) -> u32 {
        until(|| {
            let all = descendants(self.child.id());
            all.into_iter()
                .find(|&pid| role(pid).as_deref() == Some("worker"))
        })
    }

    /// Stops it as Ctrl-Z does, and waits until it and its worker are stopped. Returns the worker.
    fn stop(&self) -> u32 {
        self.stop_by(Signal::SIGTSTP)
    }

    /// As [`stop`](Self::stop), with another signal.
    fn stop_by(&self, signal: Signal) -> u32 {
        let worker = self.worker();
        send(self.child.id(), signal);
        until(|| (state(self.child.id()) == Some('T') && state(worker) == Some('T')).then_some(()));
        worker
    }

    fn go_on(&self) {
        send(self.child.id(), Signal::SIGCONT);
    }

    /// Waits until it has ended.
    fn end(mut self) -> (Option<i32>, String, String) {
        assert!(
            wait_readable(&pidfd(self.child.id()), LIMIT),
            "{}",
            self.stderr.text()
        );
        let code = self.child.wait().unwrap().code();
        (
            code,
            String::from_utf8(self.stdout.all()).unwrap(),
            String::from_utf8(self.stderr.all()).unwrap(),
        )
    }
}

/// Waits for longer than the task has left. Nothing may happen meanwhile.
fn outlast(worker: u32, since: Instant) {
    let used = cpu(worker);
    let over = since + TIMEOUT + Duration::from_secs(1);
    std::thread::sleep(over.saturating_duration_since(Instant::now()));
    assert_eq!(cpu(worker), used, "it is stopped");
    assert_eq!(state(worker), Some('T'));
}

#[test]
fn ctrl_z_stops_the_workers_of_a_run_and_the_clocks_of_tasks_and_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path(), LEFT);
    let results = folder.path().join("results");
    let mut command = mpwasm();
    command.args([
        "run",
        "--size",
        "1",
        "--timeout",
        "20s",
        "--total-timeout",
        "20s",
        "--args",
        "[]",
        "--args",
        "[]",
    ]);
    command.arg("--results").arg(&results).arg(&guest);
    let job = Job::start(command);
    job.stdout.wait_for(1);
    let started = Instant::now();
    let worker = job.stop();
    outlast(worker, started);
    job.go_on();
    let (code, _, stderr) = job.end();
    let records = records(&fs::read(&results).unwrap());
    let statuses: Vec<_> = records
        .iter()
        .map(|record| record["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        (code, &statuses[..]),
        (Some(0), &["ok", "ok"][..]),
        "{records:?} {stderr}"
    );
    // Its wall time is the time that it ran, and the second task was not queued before it was accepted.
    for record in &records {
        assert!(
            record["run_us"].as_u64().unwrap() < TIMEOUT.as_micros() as u64,
            "{record}"
        );
        assert_eq!(record["pid"], worker);
    }
}

/// Creates a command that prints `started`, computes, and prints `ended`. That output is read only after its deadline by
/// other clocks.
fn computing_command(folder: &Path) -> PathBuf {
    let path = folder.join("computing.wat");
    let left = LEFT.as_millis();
    let text = format!(
        r#"(module
        (import "mpwasm_v1" "remaining_ms" (func $remaining_ms (result i64)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\08\00\00\00\18\00\00\00\06\00\00\00")
        (data (i32.const 16) "started\nended\n")
        (func (export "_start")
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))
            (loop $again (br_if $again (i64.gt_s (call $remaining_ms) (i64.const {left}))))
            (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 40)))))"#
    );
    fs::write(&path, text).unwrap();
    path
}

/// Runs the command, stops it with this signal, and continues it after its timeout.
fn stops_and_goes_on(signal: Signal) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mpwasm();
    command
        .args(["exec", "--timeout", "20s"])
        .arg(computing_command(folder.path()));
    let job = Job::start(command);
    job.stdout.wait_for(1);
    let started = Instant::now();
    let worker = job.stop_by(signal);
    outlast(worker, started);
    job.go_on();
    let (code, stdout, stderr) = job.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "started\nended\n"), "{stderr}");
}

#[test]
fn ctrl_z_stops_the_worker_of_a_command_and_its_clock() {
    stops_and_goes_on(Signal::SIGTSTP);
}

#[test]
fn to_read_a_terminal_in_the_background_stops_the_worker_too() {
    stops_and_goes_on(Signal::SIGTTIN);
}

#[test]
fn to_write_to_a_terminal_that_stops_the_background_stops_the_worker_too() {
    stops_and_goes_on(Signal::SIGTTOU);
}

#[test]
fn two_signals_that_stop_a_command_stop_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mpwasm();
    command
        .args(["exec", "--timeout", "16s"])
        .arg(computing_command(folder.path()));
    let job = Job::start(command);
    job.stdout.wait_for(1);
    // Both arrive before it has stopped, unless this thread is descheduled in between.
    send(job.child.id(), Signal::SIGTTIN);
    job.stop();
    job.go_on();
    let (code, stdout, stderr) = job.end();
    assert_eq!((code, stdout.as_str()), (Some(0), "started\nended\n"), "{stderr}");
}

/// Creates a command that takes more than a second to compile.
fn bulky_command(folder: &Path) -> PathBuf {
    let path = folder.join("bulky.wat");
    let mut body = String::new();
    for n in 0..12_000 {
        write!(
            body,
            "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const {n})) (i32.load (local.get 1))))
             (if (i32.gt_u (local.get 0) (i32.const {n})) (then (local.set 1 (i32.add (local.get 0) (local.get 2)))))"
        )
        .unwrap();
    }
    let text = format!(
        r#"(module (memory (export "memory") 1) (func (export "_start")) (func (param i32) (local i32 i32) {body}))"#
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_compilation_that_ends_while_its_run_is_stopped_is_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mpwasm();
    command
        .args(["exec", "--no-cache", "--compile-timeout", "20s"])
        .arg(bulky_command(folder.path()));
    let job = Job::start(command);
    let compiler = until(|| {
        let all = descendants(job.child.id());
        all.into_iter()
            .find(|&pid| role(pid).as_deref() == Some("compiler"))
    });
    let started = Instant::now();
    // It continues once its run is stopped, so that its answer comes meanwhile.
    wait_until_busy(&[compiler]);
    stop(compiler);
    send(job.child.id(), Signal::SIGTSTP);
    until(|| (state(job.child.id()) == Some('T')).then_some(()));
    send(compiler, Signal::SIGCONT);
    let over = started + TIMEOUT + Duration::from_secs(1);
    std::thread::sleep(over.saturating_duration_since(Instant::now()));
    // It has ended, or waits until its answer is read.
    until(|| rests(compiler).then_some(()));
    job.go_on();
    let (code, _, stderr) = job.end();
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_run_that_is_stopped_again_and_again_goes_on_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path(), LEFT);
    let mut command = mpwasm();
    command
        .args(["run", "--size", "1", "--timeout", "16s"])
        .arg(guest);
    command.args(["--args", "[]", "--args", "[]", "--args", "[]"]);
    let job = Job::start(command);
    for lines in 1..=3 {
        job.stdout.wait_for(lines);
        job.stop();
        job.go_on();
    }
    let (code, stdout, stderr) = job.end();
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), &*"started\n".repeat(3)),
        "{stderr}"
    );
}

#[test]
fn a_signal_ends_a_run_that_was_stopped_once_it_goes_on() {
    let job = Job::start_spinning();
    wait_until_busy(&[job.worker()]);
    job.stop();
    send(job.child.id(), Signal::SIGTERM);
    job.go_on();
    job.stderr.wait_for_text("a second signal kills all");
    send(job.child.id(), Signal::SIGTERM);
    let (code, _, stderr) = job.end();
    assert_eq!(code, Some(143), "{stderr}");
}

#[test]
fn no_process_is_left_of_a_stopped_run_whose_parent_is_killed() {
    let mut job = Job::start_spinning();
    wait_until_busy(&[job.worker()]);
    let worker = pidfd(job.stop());
    job.child.kill().unwrap();
    job.child.wait().unwrap();
    assert!(wait_readable(&worker, LIMIT), "the worker is left");
}

#[test]
fn sighup_ends_a_command_and_not_one_that_nohup_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let guest = computing_command(folder.path());
    let args = ["exec", "--timeout", "20s", guest.to_str().unwrap()];
    let ignoring = || -> io::Result<()> {
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
        Ok(())
    };
    let plain = || -> io::Result<()> { Ok(()) };
    for (is_ignored, expected) in [(true, (0, "started\nended\n")), (false, (129, "started\n"))] {
        let mut command = match is_ignored {
            true => inheriting(ignoring, &args),
            false => inheriting(plain, &args),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut text = vec![0; 8];
        stdout.read_exact(&mut text).unwrap();
        send(child.id(), Signal::SIGHUP);
        stdout.read_to_end(&mut text).unwrap();
        let code = child.wait().unwrap().code();
        let text = String::from_utf8(text).unwrap();
        assert_eq!((code, text.as_str()), (Some(expected.0), expected.1));
    }
}

#[test]
fn sighup_ends_a_run_and_not_one_that_nohup_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let guest = announcing_guest(folder.path(), LEFT);
    let ignoring = || -> io::Result<()> {
        // SAFETY: ignoring a signal runs no code of this process.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }?;
        Ok(())
    };
    let plain = || -> io::Result<()> { Ok(()) };
    let options = "--size 1 --timeout 18s --args [] --args []".split_whitespace();
    let args: Vec<_> = options.chain([guest.to_str().unwrap()]).collect();
    for (legacy, code, least) in [(ignoring as Legacy, 0, 2), (plain, 129, 1)] {
        let mut run = Session::start_inheriting(legacy, &args);
        let stdout = run.read();
        stdout.wait_for(1);
        run.signal(Signal::SIGHUP);
        let ended = run.finish(stdout, LIMIT);
        ended.assert_code(code);
        // A task that has begun when the signal arrives may end.
        let tasks = ended.stdout.len() / b"started\n".len();
        assert!((least..=2).contains(&tasks), "{tasks}");
    }
}
