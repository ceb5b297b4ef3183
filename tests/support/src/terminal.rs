//! Runs commands on a terminal.

use std::io::Read;
use std::process::{Command, Stdio};

/// Runs a command with stderr on a terminal, and with `both` stdout as well. Returns the output on the terminal, and
/// stdout if it was not there.
pub fn on_a_terminal(both: bool, mut command: Command) -> (String, String) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let terminal = std::fs::File::from(pty.slave);
    command.env("TERM", "xterm").stdin(Stdio::null());
    command.stderr(terminal.try_clone().unwrap());
    command.stdout(if both {
        terminal.try_clone().unwrap().into()
    } else {
        Stdio::piped()
    });
    drop(terminal);
    let mut child = command.spawn().unwrap();
    drop(command); // closes its descriptors of the terminal, or the reader would wait forever
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        // The end of a terminal's output is reported as an error.
        let _ = std::fs::File::from(pty.master).read_to_end(&mut seen);
        String::from_utf8(seen).unwrap()
    });
    let mut rest = String::new();
    if let Some(mut stdout) = stdout {
        stdout.read_to_string(&mut rest).unwrap();
    }
    child.wait().unwrap();
    (reader.join().unwrap(), rest)
}
