//! `mpwasm exec`: with pipes, signals and readers that go away, a command behaves like a native program.

use std::collections::BTreeSet;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::pressure::wait_until_stuck;
use crate::session::{EndedSession, HANGS, Lines, Session};
use crate::support::{
    binary, descendants, guest, mpwasm, pidfd, run_within, wait_readable, without_landlock,
};

/// The file of the command `COMMAND`, which describes itself.
struct Tool {
    _folder: TempDir,
    path: PathBuf,
}

impl Tool {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("command.wat");
        std::fs::write(&path, crate::support::COMMAND).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Starts the command.
    fn start(&self, options: &[&str], args: &[&str]) -> Session {
        Session::exec(&[options, &[self.path()], args].concat())
    }

    /// Runs the command to its end, with this stdin.
    fn run(&self, stdin: &[u8], options: &[&str], args: &[&str]) -> EndedSession {
        let mut run = self.start(options, args);
        let stdout = run.read();
        let mut pipe = run.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(pipe.write_all(stdin))); // a command need not read it
            run.finish(stdout, HANGS)
        })
    }
}

#[test]
fn arguments_streams_and_the_exit_code_are_the_commands_own() {
    let tool = Tool::new();
    let ended = tool.run(b"", &[], &["args", "--timeout", "-v", "--", ""]);
    ended.assert_code(0);
    assert_eq!(ended.stdout, b"command.wat\0args\0--timeout\0-v\0--\0\0");
    assert_eq!(ended.stderr, "");
    let ended = tool.run(b"", &[], &["x7"]);
    ended.assert_code(7);
    assert_eq!((ended.stdout.len(), ended.stderr.as_str()), (0, "to stderr\n"));
}

#[test]
fn stdout_is_byte_for_byte_what_the_command_wrote_and_has_no_cap() {
    let tool = Tool::new();
    assert_eq!(tool.run(b"", &[], &["bytes"]).stdout, b"\xff\x1b[2J\0\xff\n");
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let ended = tool.run(&large, &[], &["cat"]);
    ended.assert_code(0);
    assert!(ended.stdout == large, "{} bytes", ended.stdout.len());
}

#[test]
fn what_a_command_can_not_say_itself_has_codes_of_its_own() {
    let tool = Tool::new();
    let ended = tool.run(b"", &[], &["trap"]);
    ended.assert_code(134);
    assert!(
        ended
            .stderr
            .starts_with("to stderr\nmpwasm: trap: trap in `_start`"),
        "{}",
        ended.stderr
    );
    tool.run(b"", &["--timeout", "200ms"], &["loop"]).assert_code(124);
    tool.run(b"", &["--fuel", "1000"], &["loop"]).assert_code(134);
    let code = |args: &[&str]| run_within(HANGS, mpwasm().arg("exec").args(args)).status.code();
    assert_eq!(code(&[]), Some(125));
    assert_eq!(code(&["--timeout", "soon", tool.path()]), Some(125));
    assert_eq!(code(&["--user", "0:0", tool.path()]), Some(125));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["/does/not/exist.wasm"]), Some(126));
    assert_eq!(code(&[guest("fixture").to_str().unwrap()]), Some(126));
}

#[test]
fn it_answers_while_its_stdin_goes_on() {
    let tool = Tool::new();
    let mut run = tool.start(&[], &["cat"]);
    let (mut stdin, mut stdout) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
    // A prompt has no newline, and may come with a line.
    for text in ["line 1\n", "line 2\n", "name? ", "line 3\nname? "] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; text.len()];
        stdout.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
    }
    drop(stdin);
    run.finish(Lines::read(stdout), HANGS).assert_code(0);
}

#[test]
fn a_command_that_waits_for_a_silent_stdin_ends_in_time() {
    let tool = Tool::new();
    for waits in ["read", "sleep", "cat"] {
        let mut run = tool.start(&["--timeout", "300ms"], &[waits]);
        let stdout = run.read();
        // Its stdin stays open.
        let ended = run.finish(stdout, HANGS);
        ended.assert_code(124);
    }
}

#[test]
fn a_poll_sees_a_stdin_that_comes_late_and_a_clock_that_does_not_wait_for_it() {
    let tool = Tool::new();
    let mut run = tool.start(&[], &["sleep"]);
    let stdout = run.read();
    stdout.wait_for(1);
    run.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    let ended = run.finish(stdout, HANGS);
    assert_eq!(ended.stdout, b"ready\nnone\n");
    let mut run = tool.start(&[], &["wait"]);
    let stdout = run.read();
    assert_eq!(run.finish(stdout, HANGS).stdout, b"none\n");
}

#[test]
fn a_reader_that_leaves_ends_it_as_in_a_shell() {
    let tool = Tool::new();
    let mut run = tool.start(&[], &["flood"]);
    let mut stdout = run.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    let ended = run.finish_killed(Lines::read(std::io::empty()), HANGS);
    ended.assert_code(141);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_reader_that_does_not_read_holds_the_command_back() {
    let tool = Tool::new();
    let run = tool.start(&[], &["flood"]);
    wait_until_stuck(&run);
    // It still ends at its timeout, and its output so far is there.
    run.signal(Signal::SIGTERM);
    let ended = run.finish_killed(Lines::read(std::io::empty()), HANGS);
    ended.assert_code(143);
}

/// A terminal polls as writable as soon as one byte fits.
#[test]
fn a_terminal_that_nobody_reads_holds_the_command_back_until_its_timeout() {
    let tool = Tool::new();
    let terminal = openpty(None, None).unwrap();
    let mut run = mpwasm()
        .args(["exec", "--timeout", "500ms", tool.path(), "flood"])
        .stdin(Stdio::null())
        .stdout(terminal.slave)
        .spawn()
        .unwrap();
    let ended = wait_readable(&pidfd(run.id()), HANGS);
    run.kill().unwrap();
    assert!(ended, "it waits for the terminal");
    assert_eq!(run.wait().unwrap().code(), Some(124));
    drop(terminal.master);
}

/// A command that logs forever.
const LOGS: &str = r#"(module
  (import "mpwasm_v1" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1) (data (i32.const 0) "a line of some words")
  (func (export "_start") (loop $more (call $log (i32.const 1) (i32.const 0) (i32.const 20)) (br $more))))"#;

#[test]
fn log_lines_have_a_cap_and_nobody_has_to_read_them() {
    let tool = Tool::new();
    std::fs::write(tool.path(), LOGS).unwrap();
    let exec = || {
        let mut command = mpwasm();
        command.args(["exec", "--timeout", "500ms", tool.path()]);
        command
    };
    let output = run_within(HANGS, &mut exec());
    assert_eq!(output.status.code(), Some(124));
    let lines = output.stderr.split(|&byte| byte == b'\n').count();
    assert!(
        (20_000..40_000).contains(&lines),
        "{lines} lines of 36 bytes each, as they are counted"
    );

    let (_unread, stderr) = std::io::pipe().unwrap();
    assert_ends(exec().stderr(stderr), 124);
}

/// Returns a full pipe and its reader.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap();
    writer.write_all(&vec![0; size as usize]).unwrap();
    (reader, writer)
}

/// Asserts that it ends by itself, although its output is not read.
#[track_caller]
fn assert_ends(command: &mut Command, code: i32) {
    let mut run = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ended = wait_readable(&pidfd(run.id()), HANGS);
    run.kill().unwrap();
    assert!(ended, "it waits for the reader of its stderr: {command:?}");
    assert_eq!(run.wait().unwrap().code(), Some(code), "{command:?}");
}

#[test]
fn its_last_words_do_not_wait_for_a_reader_for_long() {
    let tool = Tool::new();
    let (_unread, stderr) = full_pipe();
    let timeout = ["exec", "--timeout", "300ms", tool.path(), "loop"];
    let debug = [&["-v"], &timeout[..]].concat();
    for (args, code) in [
        (&timeout[..], 124),
        (&debug, 124),
        (&["exec", "--fuel", "1000", tool.path(), "loop"], 134),
        (&["exec", "/does/not/exist.wasm"], 126),
        (&["exec", "--user", "0:0", tool.path()], 125),
    ] {
        let stderr = stderr.try_clone().unwrap();
        assert_ends(mpwasm().args(args).stderr(stderr), code);
    }
    // Warnings about the machine do not block the start of the command, either.
    let mut exec = mpwasm();
    without_landlock(&mut exec);
    assert_ends(exec.args(["exec", tool.path()]).stderr(stderr), 0);
}

#[test]
fn a_signal_ends_it_while_a_slow_reader_still_takes_what_it_says() {
    let tool = Tool::new();
    std::fs::write(tool.path(), LOGS).unwrap();
    let (mut slow, stderr) = std::io::pipe().unwrap();
    let mut run = mpwasm()
        .args(["exec", "--timeout", "500ms", tool.path()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let (end, mut is_sent) = (pidfd(run.id()), false);
    // It is a megabyte. At this rate it takes far longer than the grace period of a signal.
    while !wait_readable(&end, Duration::from_millis(100)) {
        assert_ne!(slow.read(&mut [0; 4 << 10]).unwrap(), 0);
        // It logs from its start on. After its end only mpwasm itself is left.
        if !is_sent && descendants(run.id()).is_empty() {
            kill(Pid::from_raw(run.id() as i32), Signal::SIGTERM).unwrap();
            is_sent = true;
        }
    }
    assert_eq!(run.wait().unwrap().code(), Some(143));
}

#[test]
fn signals_end_it() {
    let tool = Tool::new();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for busy in ["loop", "read", "sleep"] {
            let mut run = tool.start(&[], &[busy]);
            let stdout = run.read();
            stdout.wait_for(1);
            run.signal(signal);
            let ended = run.finish_killed(stdout, HANGS);
            ended.assert_code(code);
            assert_eq!((ended.stdout, ended.stderr.as_str()), (b"ready\n".to_vec(), ""));
        }
    }
}

#[test]
fn a_killed_parent_takes_the_command_along() {
    let tool = Tool::new();
    let mut run = tool.start(&[], &["loop"]);
    let stdout = run.read();
    stdout.wait_for(1);
    run.kill_parent();
}

#[test]
fn no_other_process_holds_the_stdin_and_stdout_of_the_parent() {
    let tool = Tool::new();
    let mut run = tool.start(&[], &["loop"]);
    let stdout = run.read();
    stdout.wait_for(1);
    let held = |pid: u32| -> BTreeSet<PathBuf> {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        descriptors
            .filter_map(|descriptor| std::fs::read_link(descriptor.unwrap().path()).ok())
            .collect()
    };
    let parents = [0, 1].map(|fd| std::fs::read_link(format!("/proc/{}/fd/{fd}", run.pid())).unwrap());
    for pid in [run.one("dispatcher"), run.one("worker")] {
        if !nix::unistd::geteuid().is_root() {
            // They are not dumpable, so no other user may read this.
            assert!(std::fs::read_dir(format!("/proc/{pid}/fd")).is_err());
            continue;
        }
        let held = held(pid);
        assert!(
            !held.is_empty() && !parents.iter().any(|parents| held.contains(parents)),
            "{held:?}"
        );
    }
    run.kill_parent();
}

#[test]
fn commands_in_a_pipeline_work_as_in_a_shell() {
    let tool = Tool::new();
    let script = r#"printf 'one\ntwo\n' | "$0" exec "$1" cat | "$0" exec "$1" cat; "$0" exec "$1" x3; echo "code $?"
        "$0" exec "$1" flood | "$0" exec "$1""#;
    let output = run_within(
        HANGS,
        Command::new("/bin/sh")
            .args(["-c", script])
            .arg(binary())
            .arg(tool.path())
            .env("XDG_CACHE_HOME", "/dev/null/no-cache")
            .env_remove("MPWASM_CACHE_DIR")
            .stdin(Stdio::null()),
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "one\ntwo\ncode 3\nnone\n",
        "{output:?}"
    );
    assert!(output.status.success(), "{output:?}");
}
