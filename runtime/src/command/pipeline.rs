//! Several commands, each of which reads what the one before it writes.

use std::thread;

use super::Command;
use super::child::Child;
use super::status::Output;
use super::stdio::{ChildStdout, Stdio};
use crate::error::Error;

/// Commands of which each reads what the one before it writes, as `a | b | c` in a shell. What was said of the stdout of
/// the others, and of the stdin of all but the first, does not matter.
///
/// Each is a [`Child`] with a timeout of its own. When one ends early, the one before it is ended with its next write:
/// [`ExitStatus::Unwritten`](super::ExitStatus::Unwritten), and so on to the first. What stands between two of them is a
/// pipe, and nothing of it passes through this process twice.
///
/// ```no_run
/// # fn f(cat: mpwasm::Guest, sort: mpwasm::Guest, head: mpwasm::Guest) -> Result<(), mpwasm::Error> {
/// use mpwasm::command::Command;
///
/// let outputs = Command::new(&cat)
///     .stdin("2\n3\n1\n")
///     .pipe(Command::new(&sort))
///     .pipe(Command::new(&head).args(["-n", "1"]))
///     .output()?;
/// println!("{}: {:?}", outputs[2].status, outputs[2].stdout);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pipeline {
    before: Vec<Command>,
    last: Command,
}

impl Pipeline {
    pub(super) fn new(first: Command, second: Command) -> Self {
        Self {
            before: vec![first],
            last: second,
        }
    }

    /// And what the last one writes is read by `next`.
    #[must_use]
    pub fn pipe(mut self, next: Command) -> Self {
        self.before.push(std::mem::replace(&mut self.last, next));
        self
    }

    /// Starts all of them, and returns them in order. When one can't be started, those before it are killed.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(self) -> Result<Vec<Child>, Error> {
        let mut children = Vec::new();
        let mut stdout: Option<ChildStdout> = None;
        let commands = self
            .before
            .into_iter()
            .map(|command| command.stdout(Stdio::Piped));
        for mut command in commands.chain([self.last]) {
            if let Some(stdout) = stdout.take() {
                command = command.stdin(stdout);
            }
            let mut child = command.spawn()?;
            stdout = child.stdout.take();
            children.push(child);
        }
        // The last one's is its reader's.
        if let Some(last) = children.last_mut() {
            last.stdout = stdout;
        }
        Ok(children)
    }

    /// Runs them to the end of all. What the last one wrote to its stdout, and each to its stderr, is returned where
    /// nothing else was said of them.
    ///
    /// # Errors
    /// As [`Command::output`].
    ///
    /// # Panics
    /// Never: the threads that read do not panic.
    pub fn output(mut self) -> Result<Vec<Output>, Error> {
        for command in &mut self.before {
            command.stderr.get_or_insert(Stdio::Piped.into());
        }
        self.last.stderr.get_or_insert(Stdio::Piped.into());
        self.last.stdout.get_or_insert(Stdio::Piped.into());
        let mut children = self.spawn()?;
        // Each is read at the same time: one that waits for its reader would hold up the others.
        thread::scope(|scope| {
            let readers: Vec<_> = children
                .iter_mut()
                .map(|child| scope.spawn(|| child.communicate("", None)))
                .collect();
            let outputs = readers.into_iter();
            outputs
                .map(|reader| reader.join().expect("communicate does not panic"))
                .collect()
        })
    }
}
