//! Closed pipes: the reader of stdout or of the records goes away, or stdin ends early.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use crate::session::{GONE, HANGS, Lines, Session, assert_accounted, busy_tasks, task_file, within};
use crate::support::{fixture, mpwasm, pidfd, wait_readable};

/// Reads a few lines of stdout and goes away. The run must end soon, with the exit code of SIGPIPE. Output that is not
/// read blocks the run, so it can't end before the reader goes.
fn read_a_little(mut run: Session) {
    let mut stdout = BufReader::new(run.stdout.take().unwrap());
    for _ in 0..5 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'));
    }
    drop(stdout);
    let ended = run.finish_killed(Lines::read(std::io::empty()), within(GONE));
    ended.assert_code(141);
}

#[test]
fn a_closed_stdout_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // 100,000 tasks take longer than the reader lives.
    let lines = (0..100_000).map(|number| format!(r#"["task {number}\n",""]"#));
    let tasks = task_file(folder.path(), lines);
    read_a_little(Session::start(&[
        "--size",
        "2",
        "--tasks",
        tasks.to_str().unwrap(),
        &fixture("print"),
    ]));
}

#[test]
fn a_closed_stdout_ends_the_run_while_a_guest_prints_on() {
    let args = [
        "--size",
        "1",
        "--timeout",
        "1h",
        "--max-output",
        "1GiB",
        "--args",
        "[]",
    ];
    read_a_little(Session::start(&[&args[..], &[&fixture("flood")]].concat()));
}

#[test]
fn a_closed_results_pipe_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = busy_tasks(folder.path(), 100_000);
    let args = [
        "--results",
        "-",
        "--size",
        "2",
        "--tasks",
        tasks.to_str().unwrap(),
    ];
    read_a_little(Session::start(&[&args[..], &[&fixture("busy")]].concat()));
}

/// Asserts that the run ends when its reader goes away while all tasks sleep for an hour and nothing more is written.
fn goes_away_in_silence(options: &[&str]) {
    let more = [
        "--size",
        "1",
        "--timeout",
        "1h",
        "--tasks",
        "-",
        &fixture("print"),
    ];
    let mut run = Session::start(&[options, &more].concat());
    let mut stdin = run.stdin.take().unwrap();
    stdin
        .write_all(b"[\"a line\\n\",\"\"]\n{\"model\":\"sleep\",\"args\":[3600000]}\n")
        .unwrap();
    let mut stdout = BufReader::new(run.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let ended = run.finish_killed(Lines::read(std::io::empty()), within(GONE));
    ended.assert_code(141);
}

#[test]
fn a_closed_results_pipe_ends_a_run_that_writes_nothing() {
    goes_away_in_silence(&["--results", "-"]);
}

#[test]
fn a_closed_stdout_ends_a_run_that_writes_nothing() {
    goes_away_in_silence(&[]);
}

#[test]
fn a_stdin_that_is_empty_is_a_run_without_tasks() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("noop")]);
    let stdout = run.read();
    drop(run.stdin.take());
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    assert_eq!(ended.stdout, b"");
}

#[test]
fn a_stdin_that_ends_within_a_line_loses_nothing() {
    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("echo")]);
    let stdout = run.read();
    run.stdin.take().unwrap().write_all(b"[1]\n[2]").unwrap();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(0);
    assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 2);

    let mut run = Session::start(&["--results", "-", "--size", "2", "--tasks", "-", &fixture("echo")]);
    let stdout = run.read();
    run.stdin.take().unwrap().write_all(b"[1]\n[2").unwrap();
    let ended = run.finish(stdout, HANGS);
    ended.assert_code(1);
    let counts = ended.records();
    let counts = assert_accounted(&counts, &["ok", "invalid"]);
    assert_eq!((counts["ok"], counts["invalid"]), (1, 1));
}

#[test]
fn twenty_runs_in_a_row_leave_nothing_behind() {
    for _ in 0..20 {
        let args = [
            "--results",
            "-",
            "--size",
            "2",
            "--args",
            "[1]",
            "--args",
            "[2]",
            "--args",
            "[3]",
        ];
        let mut run = Session::start(&[&args[..], &[&fixture("echo")]].concat());
        let stdout = run.read();
        let ended = run.finish(stdout, within(Duration::from_secs(5)));
        ended.assert_code(0);
        assert_eq!(assert_accounted(&ended.records(), &["ok"])["ok"], 3);
    }
}

/// Some programs start others with sockets as their streams.
#[test]
fn a_closed_socket_ends_the_run_as_a_closed_pipe_does() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut run = mpwasm()
        .args(["run", "--size", "1", "--tasks", "-", &fixture("print")])
        .stdin(Stdio::piped())
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = run.stdin.take().unwrap();
    stdin.write_all(b"[\"first\\n\",\"\"]\n").unwrap();
    let mut stdout = BufReader::new(ours);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    drop(stdout);
    // It prints nothing more, and its stdin stays open.
    assert!(wait_readable(&pidfd(run.id()), HANGS), "it has not noticed");
    assert_eq!(run.wait().unwrap().code(), Some(141));
    drop(stdin);
}
