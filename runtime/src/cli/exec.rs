//! `mpwasm exec`: one command, as if it were a program of this machine.
//!
//! It runs in a pool of one worker, behind the same walls as any task. The worker has none of this process's descriptors:
//! a thread here copies stdin into a pipe, which holds what the command has not read yet, and what the command writes
//! comes back as prints, which are written at once and as they are; a terminal gets them inert.

use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::mem;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mpwasm::inert::inert_bytes;
use mpwasm::{Cache, Kind, LogLevel, LogLine, Outcome, Output, Pool, Reporter, Stream};

use super::exit::{Exit, Failure, OrExit, Signal};
use super::options::ExecArgs;
use super::readers;
use super::reporter::Place;
use super::signals::{self, Wish};
use super::stdio::{self, Descriptor, Lenient};

/// Bytes of stdin that are copied at once.
const PIECE: usize = 16 << 10;

/// How long the pool may take to end after a signal: then this process ends all the same, and takes it along.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the command to its end. The process should exit with the returned code whatever threads are left.
pub fn exec(args: &ExecArgs, least_log: LogLevel) -> Result<Exit, Failure> {
    let cut_short = CutShort::default();
    let result = exec_or_fail(args, least_log, &cut_short);
    let result = cut_short.take().map_or(result, Cause::exit);
    result.map_err(|failure| Failure {
        // A command has codes of its own: 1 to 3 would be taken for them.
        exit: match failure.exit {
            Exit::BadCommand => Exit::BadCommand,
            _ => Exit::ExecFailed,
        },
        ..failure
    })
}

fn exec_or_fail(args: &ExecArgs, least_log: LogLevel, cut_short: &CutShort) -> Result<Exit, Failure> {
    let (path, arguments) = args.command.split_first().expect("clap wants a guest");
    let arguments = arguments
        .iter()
        .map(|argument| {
            argument
                .to_str()
                .ok_or_else(|| anyhow!("an argument is not UTF-8"))
        })
        .collect::<anyhow::Result<Vec<_>>>()
        .or_usage()?;
    let (stdin, for_command) = io::pipe().or_internal()?;
    let (stdout, stderr) = (
        Descriptor::stdout().or_internal()?,
        Descriptor::stderr().or_internal()?,
    );
    let (on_stdout, on_stderr) = (stdout.is_terminal(), stderr.is_terminal());
    let reporter = Streams {
        stdout: Screen::new(stdout, on_stdout),
        stderr: Screen::new(Lenient(stderr), on_stderr),
        least_log,
        cut_short: cut_short.clone(),
    };
    let mut builder = Pool::builder()
        .settings(args.settings())
        .stdin(stdin)
        .reporter(reporter);
    if let Some(cache) = Cache::of_user().filter(|_| !args.instances.no_cache) {
        builder = builder.cache(cache);
    }
    let pool = Arc::new(builder.start().context("cannot start the pool").or_internal()?);
    let ended = listen(&pool, cut_short).or_internal()?;

    let path = Path::new(path);
    let guest = match pool.load(path) {
        Ok(guest) if guest.info().is_command => guest,
        Ok(_) => {
            let error = anyhow!("{} is no command: it exports no `_start`", path.display());
            return Err(bad_command(error));
        }
        Err(error) => {
            return Err(match Failure::of_guest(error) {
                failure if failure.exit == Exit::Usage => bad_command(failure.error),
                failure => failure,
            });
        }
    };
    let task = pool.submit(guest.task(arguments)).or_internal()?;
    let source = Descriptor::stdin().or_internal()?;
    spawn("stdin", move || copy(source, for_command)).or_internal()?;

    let outcome = task.wait();
    cut_short.end();
    pool.close();
    let end = pool.join();
    drop(ended);
    if cut_short.is_set() {
        return Ok(Exit::ExecFailed); // whoever set it knows better
    }
    end.or_internal()?;
    Ok(exit_of(&outcome))
}

fn bad_command(error: anyhow::Error) -> Failure {
    let exit = Exit::BadCommand;
    Failure { exit, error }
}

/// Ends the pool on a signal, and when nobody reads stdout any more. The command is over when what this returns is dropped.
fn listen(pool: &Arc<Pool>, cut_short: &CutShort) -> anyhow::Result<mpsc::Sender<()>> {
    let (ended, waits) = mpsc::channel::<()>();
    let (killed, cause) = (Arc::clone(pool), cut_short.clone());
    let mut waits = Some(waits);
    signals::listen(move |wish| {
        // One command has no status worth the telling.
        let Wish::End(signal) = wish else { return };
        cause.set(Cause::Signal(signal));
        killed.terminate();
        let leave = move || process::exit(Exit::Interrupted(signal).code());
        match waits.take() {
            // Should the reader of stdout not read, the pool can't end: this process ends all the same.
            Some(waits) => drop(thread::spawn(move || {
                if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    leave();
                }
            })),
            None => leave(),
        }
    })
    .context("cannot listen for signals")?;
    let (killed, cause) = (Arc::clone(pool), cut_short.clone());
    let stdout = vec![(Descriptor::stdout()?, Place::Prints)];
    readers::watch(stdout, move |_| {
        cause.set(Cause::Unread);
        killed.terminate();
    })
    .context("cannot watch the reader of stdout")?;
    Ok(ended)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

/// Copies stdin until it ends, or until the pool does. A full pipe waits for the command to read.
fn copy(mut source: Descriptor, mut pipe: PipeWriter) {
    let mut piece = vec![0; PIECE];
    loop {
        match source.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What can't be read any more has ended, for the command.
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if pipe.write_all(&piece[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

/// What the end of the command means. Says what a command can't say itself.
fn exit_of(outcome: &Outcome) -> Exit {
    let error = match &outcome.result {
        Ok(_) => return Exit::Command(0),
        Err(error) => error,
    };
    let exit = match (error.kind, error.code) {
        (Kind::Exit, Some(code)) => return Exit::Command(code),
        (Kind::Timeout, _) => Exit::TimedOut,
        (Kind::Trap | Kind::Memory | Kind::Fuel | Kind::Error, _) => Exit::Trapped,
        _ => Exit::ExecFailed,
    };
    stdio::say(&format!("{}: {}", error.kind, error.message));
    if exit == Exit::Trapped {
        for frame in &error.backtrace {
            stdio::say(&format!("  at {frame}"));
        }
    }
    exit
}

/// Why the command was ended before its own end.
#[derive(Debug)]
enum Cause {
    Signal(Signal),
    /// Nobody reads its stdout any more.
    Unread,
    /// What it wrote to stdout can't be written.
    Unwritten(io::Error),
}

impl Cause {
    fn exit(self) -> Result<Exit, Failure> {
        match self {
            Self::Signal(signal) => Ok(Exit::Interrupted(signal)),
            Self::Unread => Ok(Exit::Unread),
            Self::Unwritten(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Unread),
            Self::Unwritten(error) => {
                let error = anyhow::Error::new(error).context("cannot write what the command prints");
                Err(Failure::internal(error))
            }
        }
    }
}

/// How far the command is, as its exit code sees it.
#[derive(Debug, Default)]
enum Course {
    #[default]
    Runs,
    /// It was ended: the first cause.
    CutShort(Cause),
    /// It came to its own end.
    Ended,
}

/// The first cause, if there was one before the command's own end.
#[derive(Clone, Debug, Default)]
struct CutShort(Arc<Mutex<Course>>);

impl CutShort {
    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes after the command's own end changes nothing, but that what it wrote is lost.
    fn set(&self, cause: Cause) {
        let mut course = self.course();
        match (&*course, &cause) {
            (Course::Runs, _) | (Course::Ended, Cause::Unwritten(_)) => *course = Course::CutShort(cause),
            (Course::CutShort(_), _) | (Course::Ended, Cause::Signal(_) | Cause::Unread) => {}
        }
    }

    /// The command has ended.
    fn end(&self) {
        let mut course = self.course();
        if let Course::Runs = *course {
            *course = Course::Ended;
        }
    }

    fn is_set(&self) -> bool {
        matches!(*self.course(), Course::CutShort(_))
    }

    fn take(&self) -> Option<Cause> {
        match mem::replace(&mut *self.course(), Course::Ended) {
            Course::CutShort(cause) => Some(cause),
            Course::Runs | Course::Ended => None,
        }
    }
}

/// Both streams of the command.
struct Streams {
    stdout: Screen<Descriptor>,
    stderr: Screen<Lenient<Descriptor>>,
    least_log: LogLevel,
    cut_short: CutShort,
}

impl Reporter for Streams {
    fn outcome(&mut self, _: &Outcome) -> io::Result<()> {
        self.stderr.finish()?;
        self.stdout.finish()
    }

    fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        match output.stream {
            Stream::Stderr => self.stderr.write(output.bytes),
            Stream::Stdout => self.stdout.write(output.bytes).inspect_err(|error| {
                let error = error
                    .raw_os_error()
                    .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                self.cut_short.set(Cause::Unwritten(error));
            }),
        }
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        if line.level <= self.least_log {
            line.trace();
        }
        Ok(())
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        stdio::say(&format!("warning: {text}"));
        Ok(())
    }
}

/// A stream that is written as it comes. What reaches a terminal is inert.
struct Screen<W> {
    writer: W,
    terminal: bool,
    /// The beginning of a character whose rest has not come.
    torn: Vec<u8>,
}

impl<W: Write> Screen<W> {
    fn new(writer: W, terminal: bool) -> Self {
        Self {
            writer,
            terminal,
            torn: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.terminal {
            return self.writer.write_all(bytes);
        }
        let mut text = mem::take(&mut self.torn);
        text.extend_from_slice(bytes);
        self.torn = text.split_off(text.len() - torn(&text));
        self.writer.write_all(&inert_bytes(&text))
    }

    /// Nothing more comes.
    fn finish(&mut self) -> io::Result<()> {
        let torn = mem::take(&mut self.torn);
        self.writer.write_all(&inert_bytes(&torn))
    }
}

/// How many bytes at the end may become a character.
fn torn(text: &[u8]) -> usize {
    let last = text.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(terminal: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let mut screen = Screen::new(Vec::new(), terminal);
        for piece in pieces {
            screen.write(piece).unwrap();
        }
        screen.finish().unwrap();
        screen.writer
    }

    /// How the command was cut short by these, the second of which came after its end.
    fn cut_short(before: Option<Cause>, after: Cause) -> Option<Cause> {
        let cut_short = CutShort::default();
        before.into_iter().for_each(|cause| cut_short.set(cause));
        cut_short.end();
        cut_short.set(after);
        let is_set = cut_short.is_set();
        let cause = cut_short.take();
        assert_eq!(is_set, cause.is_some());
        cause
    }

    #[test]
    fn after_its_end_a_command_is_cut_short_only_by_the_loss_of_what_it_wrote() {
        let unwritten = || Cause::Unwritten(ErrorKind::StorageFull.into());
        assert!(cut_short(None, Cause::Unread).is_none());
        assert!(cut_short(None, Cause::Signal(Signal::Interrupt)).is_none());
        assert!(matches!(cut_short(None, unwritten()), Some(Cause::Unwritten(_))));
        assert!(matches!(
            cut_short(Some(Cause::Signal(Signal::Interrupt)), unwritten()),
            Some(Cause::Signal(_))
        ));
    }

    #[test]
    fn a_pipe_gets_every_byte_and_a_terminal_what_can_not_harm_it() {
        let bytes = b"\x1b[2J\xff\r\nx".as_slice();
        assert_eq!(shown(false, &[bytes]), bytes);
        assert_eq!(shown(true, &[bytes]), b"\\u{1b}[2J\\xff\\r\nx");
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        assert_eq!(
            shown(true, &[b"a\xe2\x82", b"\xac", b"\xe2"]),
            "a€\\xe2".as_bytes()
        );
        assert_eq!(shown(true, &[b"\xff", b"\xc3", b"(\xc3"]), b"\\xff\\xc3(\\xc3");
    }
}
