//! [`Pipeline`]: several commands, each of which reads what the one before it writes.

use std::thread;

use super::builder::Command;
use super::child::{Child, Killer};
use super::status::Output;
use super::stdio::{ChildStdout, Stdio};
use crate::error::Error;

/// Commands of which each reads what the one before it writes, like `a | b | c` in a shell. The stdout that was set for a
/// command other than the last is ignored, and so is the stdin of a command other than the first.
///
/// Each command is a [`Child`] with a timeout of its own. When a command ends early, the one before it ends at its next
/// write, as [`ExitStatus::Unwritten`](super::ExitStatus::Unwritten), and so on to the first. Two neighbours are connected
/// by a pipe, and this process copies the bytes once.
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

impl Command {
    /// Connects its stdout to the stdin of `next`, like `|` in a shell.
    #[must_use]
    pub fn pipe(self, next: Self) -> Pipeline {
        Pipeline {
            before: vec![self],
            last: next,
        }
    }
}

impl Pipeline {
    /// Adds a command, which reads what the last one writes.
    #[must_use]
    pub fn pipe(mut self, next: Command) -> Self {
        self.before.push(std::mem::replace(&mut self.last, next));
        self
    }

    /// Starts all commands and returns their children in order. When one can't be started, those before it are killed.
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
        // The last stdout is read by the caller.
        if let Some(last) = children.last_mut() {
            last.stdout = stdout;
        }
        Ok(children)
    }

    /// Runs all commands to their end and returns their outputs in order. The stdout of the last and the stderr of each
    /// are piped unless they were set.
    ///
    /// # Errors
    /// As [`Command::output`]. All children are killed then.
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
        let killers: Vec<_> = children.iter().map(Child::killer).collect();
        all_at_once(
            &mut children,
            |child| child.communicate("", None),
            || killers.iter().for_each(Killer::kill),
        )
    }
}

/// Runs `work` on all items at the same time, as a child whose output is not read would block the others. When it fails
/// for one, `end_all` makes it end for the others, and the first failure is returned.
fn all_at_once<C: Send, T: Send>(
    items: &mut [C],
    work: impl Fn(&mut C) -> Result<T, Error> + Sync,
    end_all: impl Fn() + Sync,
) -> Result<Vec<T>, Error> {
    let work = &|item: &mut C| work(item).inspect_err(|_| end_all());
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for item in items {
            // The scope joins the threads that were spawned before.
            let worker = thread::Builder::new().spawn_scoped(scope, move || work(item));
            workers.push(worker.inspect_err(|_| end_all())?);
        }
        let results = workers.into_iter();
        results
            .map(|worker| worker.join().expect("it does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn when_one_fails_the_others_are_ended() {
        for failing in 0..3 {
            let (sender, ended) = mpsc::channel();
            let ended = std::sync::Mutex::new(ended);
            let mut numbers = [0, 1, 2];
            let result = all_at_once(
                &mut numbers,
                |number| match *number == failing {
                    true => Err(Error::Io(io::ErrorKind::Other.into())),
                    // Like a child that never ends by itself.
                    false => Ok(ended.lock().unwrap().recv().unwrap()),
                },
                || (0..2).for_each(|number| sender.send(number).unwrap()),
            );
            assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
        }
    }
}
