//! `mpwasm exec`: one command, as if it were a program of this machine.
//!
//! It is a child of the library ([`mpwasm::command`]) with this process's streams, which the library copies. What is
//! left for here is what a program of a shell has besides: signals, a reader that goes away, and the exit code.

use std::io::ErrorKind;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mpwasm::command::{Command, ExitStatus, Killer, Stdio};
use mpwasm::{Cache, Guest, Kind, Pool, TaskError};

use crate::command_line::ExecArgs;
use crate::process::exit::{EndSignal, Exit, Failure, OrExit, one_line};
use crate::process::readers;
use crate::process::signals::{self, SignalRequest};
use crate::run::output::reporter::OutputKind;
use crate::terminal::stderr_writer::StderrWriter;
use crate::terminal::stdio::Descriptor;
use crate::trusted_places::{self, TrustedPlace};

/// How long the command may take to end after a signal: then this process ends all the same, and takes it along.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the command to its end. The process should exit with the returned code whatever threads are left.
pub fn exec(args: &ExecArgs, voice: &StderrWriter) -> Exit {
    let mut voice = voice.clone();
    let mut ended = None;
    let exit = exec_or_fail(args, &mut ended, &mut voice).unwrap_or_else(|failure| {
        voice.say(&one_line(&failure.error));
        // A command has codes of its own: 1 to 3 would be taken for them.
        match failure.exit {
            Exit::BadCommand => Exit::BadCommand,
            _ => Exit::ExecFailed,
        }
    });
    voice.finish();
    // Until here a signal ends all that is waited for.
    drop(ended);
    exit
}

/// `ended` becomes what [`listen`] returns.
fn exec_or_fail(
    args: &ExecArgs,
    ended: &mut Option<mpsc::Sender<()>>,
    voice: &mut StderrWriter,
) -> Result<Exit, Failure> {
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
    let running = RunningCommand::default();
    *ended = Some(listen(&running).or_internal()?);
    let guest = load(args, Path::new(path))?;
    let mut child = Command::new(&guest)
        .args(arguments)
        .stdin(Stdio::Inherit)
        .spawn()
        .context("cannot start the command")
        .or_internal()?;
    running.begins(child.killer());
    watch(&running).or_internal()?;
    let status = child.wait();
    exit_of(status, running.cause(), voice)
}

/// The guest, compiled or from the user's cache.
fn load(args: &ExecArgs, path: &Path) -> Result<Guest, Failure> {
    let mut builder = Pool::builder().settings(args.settings());
    let cache = Cache::of_user().filter(|_| !args.instances.no_cache);
    let trusted = TrustedPlace::executables().chain(cache.as_ref().map(TrustedPlace::cache));
    trusted_places::check(&args.instances.dir, trusted)?;
    if let Some(cache) = cache {
        builder = builder.cache(cache);
    }
    let guest = builder.load(path).map_err(|error| match error {
        // Not the guest's fault.
        mpwasm::Error::BadSetting(_) => Failure::internal(error),
        error => Failure::of_guest(error),
    });
    let bad_command = |error| Failure {
        exit: Exit::BadCommand,
        error,
    };
    match guest {
        Ok(guest) if guest.info().is_command => Ok(guest),
        Ok(guest) => Err(bad_command(anyhow::Error::from(mpwasm::Error::NoCommand {
            name: guest.name().to_owned(),
        }))),
        Err(failure) if failure.exit == Exit::Usage => Err(bad_command(failure.error)),
        Err(failure) => Err(failure),
    }
}

/// Ends the command on a signal. All is over, its last words too, when what this returns is dropped.
fn listen(running: &RunningCommand) -> anyhow::Result<mpsc::Sender<()>> {
    let (ended, waits) = mpsc::channel::<()>();
    let mut waits = Some(waits);
    let running = running.clone();
    signals::listen(move |wish| {
        let signal = match wish {
            SignalRequest::End(signal) => signal,
            // One command has no status worth the telling.
            SignalRequest::Status => return,
            SignalRequest::Stop => return running.with(Killer::pause),
            SignalRequest::Continue(_) => return running.with(Killer::resume),
        };
        let leave = move || process::exit(Exit::Interrupted(signal).code());
        // Before there is a command, there is nothing but a compiler, which ends with this process.
        match waits.take().filter(|_| running.end(KillCause::Signal(signal))) {
            Some(waits) => drop(thread::spawn(move || {
                if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                    leave();
                }
            })),
            None => leave(),
        }
    })
    .context("cannot listen for signals")?;
    Ok(ended)
}

/// Ends the command when nobody reads stdout any more, also while it writes nothing.
fn watch(running: &RunningCommand) -> anyhow::Result<()> {
    let running = running.clone();
    let stdout = vec![(Descriptor::stdout()?, OutputKind::Prints)];
    let unread = move |_| {
        running.end(KillCause::Unread);
    };
    readers::watch(stdout, unread).context("cannot watch the reader of stdout")
}

/// What the end of the command means. Says what a command can't say itself.
fn exit_of(status: ExitStatus, cause: Option<KillCause>, voice: &mut StderrWriter) -> Result<Exit, Failure> {
    match (status, cause) {
        (ExitStatus::Exited(code), _) => Ok(Exit::Command(code)),
        (ExitStatus::Unwritten(_), Some(KillCause::Signal(signal))) => Ok(Exit::Interrupted(signal)),
        (ExitStatus::Unwritten(error), _) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Unread),
        (ExitStatus::Unwritten(error), _) => {
            let error = anyhow!("{error}").context("cannot write what the command prints");
            Err(Failure::internal(error))
        }
        (ExitStatus::Failed(error), Some(cause)) if error.kind == Kind::Cancelled => Ok(match cause {
            KillCause::Signal(signal) => Exit::Interrupted(signal),
            KillCause::Unread => Exit::Unread,
        }),
        (ExitStatus::Failed(error), _) => Ok(failed(&error, voice)),
    }
}

fn failed(error: &TaskError, voice: &mut StderrWriter) -> Exit {
    let exit = match error.kind {
        Kind::Timeout => Exit::TimedOut,
        Kind::Trap | Kind::Memory | Kind::Fuel | Kind::Error => Exit::Trapped,
        _ => Exit::ExecFailed,
    };
    voice.say(&format!("{}: {}", error.kind, error.message));
    if exit == Exit::Trapped {
        for frame in &error.backtrace {
            voice.say(&format!("  at {frame}"));
        }
    }
    exit
}

/// Why the command was ended before its own end.
#[derive(Clone, Copy, Debug)]
enum KillCause {
    Signal(EndSignal),
    /// Nobody reads its stdout any more.
    Unread,
}

/// The command, as those see it who end it.
#[derive(Clone, Debug, Default)]
struct RunningCommand(Arc<Mutex<(Option<Killer>, Option<KillCause>)>>);

impl RunningCommand {
    /// There is a command now.
    fn begins(&self, killer: Killer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(killer);
    }

    /// Does something with the command, if there is one yet.
    fn with(&self, act: impl Fn(&Killer)) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.0.iter().for_each(act);
    }

    /// Ends the command, the first time for this cause. False when there is none yet.
    fn end(&self, cause: KillCause) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(killer), first) = &mut *running else {
            return false;
        };
        first.get_or_insert(cause);
        killer.kill();
        true
    }

    /// The first cause, if there was one.
    fn cause(&self) -> Option<KillCause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
