//! Runs `mpwasm run` in the background and reads its stdout line by line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::processes::{descendants, pidfd, role, send};
use crate::programs::mpwasm;
use crate::waiting::{until, wait_readable};

/// A run in the background. Dropping it kills what is left of it.
pub struct BackgroundRun {
    pub child: Child,
    pub stdout: Option<BufReader<ChildStdout>>,
}

impl BackgroundRun {
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

    /// Waits for the next line of stdout and returns it. It serves as an event.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Returns the rest of stdout.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        rest
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its dispatcher and returns the process id.
    pub fn dispatcher(&self) -> u32 {
        until(|| {
            descendants(self.pid())
                .into_iter()
                .find(|&pid| role(pid).as_deref() == Some("dispatcher"))
        })
    }

    /// Waits until it has `count` workers and returns their process ids.
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

    /// Sends a signal to the parent process.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until it has ended. Panics when that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            wait_readable(&pidfd(self.pid()), limit),
            "it took longer than {limit:?}"
        );
        self.child.wait().unwrap()
    }
}

impl Drop for BackgroundRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
