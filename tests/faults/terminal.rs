//! `mpwasm exec` on a terminal: the command sees a terminal, so that a dialogue works, and its output is escaped.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::pty::openpty;
use tempfile::TempDir;

use crate::session::HANGS;
use crate::support::{mpwasm, pidfd, wait_readable};

/// The command. Its file describes it.
const COMMAND: &str = crate::support::TERMINAL;

/// Returns a folder with the command, and `mpwasm exec` with these arguments for it.
fn exec(args: &[&str]) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("terminal.wat");
    std::fs::write(&path, COMMAND).unwrap();
    let mut command = mpwasm();
    command.arg("exec").arg(path).args(args);
    (folder, command)
}

/// The other end of a terminal: what a user types and sees.
struct TerminalUser {
    terminal: File,
    seen: Vec<u8>,
}

impl TerminalUser {
    /// Reads until the terminal shows this text after what was read before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        self.seen.clear();
        while !self.seen.windows(text.len()).any(|seen| seen == text.as_bytes()) {
            let mut piece = [0; 100];
            assert!(
                wait_readable(&self.terminal, HANGS),
                "no {text:?} behind {:?}",
                String::from_utf8_lossy(&self.seen)
            );
            let count = self.terminal.read(&mut piece).unwrap();
            self.seen.extend_from_slice(&piece[..count]);
        }
    }

    fn type_in(&mut self, line: &str) {
        self.terminal.write_all(line.as_bytes()).unwrap();
    }
}

#[track_caller]
fn code(mut child: Child) -> Option<i32> {
    let ended = wait_readable(&pidfd(child.id()), HANGS);
    child.kill().unwrap();
    assert!(ended, "it goes on");
    child.wait().unwrap().code()
}

#[test]
fn a_dialogue_program_answers_before_the_next_input() {
    let (_folder, mut command) = exec(&["play"]);
    let pty = openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    let child = command
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let mut user = TerminalUser {
        terminal: File::from(pty.master),
        seen: Vec::new(),
    };
    user.wait_for("Guess a number.\r\n");
    for (guess, answer) in [("3\n", "More.\r\n"), ("9\n", "Less.\r\n"), ("5\n", "More.\r\n")] {
        user.type_in(guess);
        user.wait_for(answer);
    }
    user.type_in("7\n");
    // A sequence that would clear the screen is escaped.
    user.wait_for("Right.\\u{1b}[2J\r\n");
    assert_eq!(code(child), Some(0));
}

#[test]
fn each_stream_is_what_it_is() {
    let pty = openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    for terminals in 0..8 {
        let (_folder, mut command) = exec(&[]);
        let stream = |bit: i32, other: Stdio| match terminals & bit {
            0 => other,
            _ => terminal.try_clone().unwrap().into(),
        };
        command
            .stdin(stream(1, Stdio::null()))
            .stdout(stream(2, Stdio::piped()))
            .stderr(stream(4, Stdio::null()));
        assert_eq!(code(command.spawn().unwrap()), Some(terminals));
    }
    drop(pty.master);
}

/// The stream that matters is stdout: stdin is a pipe.
#[test]
fn each_line_is_written_at_once_on_a_terminal_and_all_at_the_end_without() {
    let (_folder, mut command) = exec(&["play"]);
    let pty = openpty(None, None).unwrap();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(File::from(pty.slave))
        .spawn()
        .unwrap();
    let mut user = TerminalUser {
        terminal: File::from(pty.master),
        seen: Vec::new(),
    };
    user.wait_for("Guess a number.\r\n");
    child.stdin.take().unwrap().write_all(b"7\n").unwrap();
    user.wait_for("Right.\\u{1b}[2J\r\n");
    assert_eq!(code(child), Some(0));

    let (_folder, mut command) = exec(&["play"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"7\n").unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(code(child), Some(0));
    // Other output is passed on byte for byte.
    assert_eq!(reader.join().unwrap(), b"Guess a number.\nRight.\x1b[2J\n");
}

/// The streams of a task of a run become its result, wherever the streams of mpwasm lead. Those of a command of `exec` are
/// the streams of mpwasm.
#[test]
fn a_command_of_exec_has_the_terminal_and_a_task_of_a_run_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("terminal.wat");
    std::fs::write(&path, COMMAND).unwrap();
    let pty = openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    // The exit code of the command has a bit for each stream that is a terminal.
    for (what, expected) in [("exec", 7), ("run", 0)] {
        let child = mpwasm()
            .arg(what)
            .arg(&path)
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal.try_clone().unwrap())
            .spawn()
            .unwrap();
        assert_eq!(code(child), Some(expected), "{what}");
    }
    drop(pty.master);
}
