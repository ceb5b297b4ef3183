//! `mpwasm exec`: runs one command like a native program.
//!
//! The command is a child of the library ([`mpwasm::command`]) with this process's streams, which the library copies. This file
//! adds signals, the detection of a closed stdout, and the exit code.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use mpwasm::command::{Command, ExitStatus, Killer, Stdio};
use mpwasm::{Cache, Guest, Kind, Pool, Settings, TaskError};
use mpwasm_types::duration;

use crate::options::instance::InstanceOptions;
use crate::options::sandbox::JailOptions;
use crate::process::exit::{EndSignal, Exit, ExitError, OrExit, error_line};
use crate::process::readers;
use crate::process::signals::{self, SignalRequest};
use crate::terminal::stderr_writer::StderrWriter;
use crate::terminal::stdio::BlockingFile;
use crate::trusted_places::{self, TrustedPlace};

/// Longest time that the command may take to end after a signal: 3 s. Then this process exits, which kills the command.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);

/// `mpwasm exec`.
#[derive(Debug, Args)]
#[command(override_usage = "mpwasm exec [OPTIONS] <GUEST> [ARG]...")]
pub struct ExecArgs {
    /// A .wasm or .wat file, and the command's arguments: all that follows, options too.
    #[arg(value_name = "GUEST [ARG]", trailing_var_arg = true, required = true)]
    pub command: Vec<OsString>,

    /// End the command after this time [default: never].
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub timeout: Option<Duration>,

    #[command(flatten)]
    pub instances: InstanceOptions,

    #[command(flatten)]
    pub sandbox: JailOptions,
}

impl ExecArgs {
    /// Returns the settings of the pool for this one command.
    pub fn settings(&self) -> Settings {
        self.sandbox.settings(self.instances.settings(Settings {
            size: 1,
            timeout: self.timeout.unwrap_or(NEVER),
            capture: false,
            max_output: u64::MAX,
            ..Settings::default()
        }))
    }
}

/// A timeout that never expires: 100 years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Runs the command until it ends. The process should then exit with the returned code, even if threads still run.
pub fn exec(args: &ExecArgs, stderr: &StderrWriter) -> Exit {
    let mut stderr = stderr.clone();
    let mut handler = None;
    let exit = exec_or_fail(args, &mut handler, &mut stderr).unwrap_or_else(|failure| {
        stderr.print_message(&error_line(&failure.error));
        // 1 to 3 could be exit codes of the command.
        match failure.exit {
            Exit::BadCommand => Exit::BadCommand,
            _ => Exit::ExecFailed,
        }
    });
    stderr.drain();
    // Until here, a signal ends the process within the timeout.
    drop(handler);
    exit
}

/// Sets `handler` to the result of [`listen`].
fn exec_or_fail(
    args: &ExecArgs,
    handler: &mut Option<mpsc::Sender<()>>,
    stderr: &mut StderrWriter,
) -> Result<Exit, ExitError> {
    let (path, arguments) = args.command.split_first().expect("clap requires a guest");
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
    *handler = Some(listen(&running).or_internal()?);
    let guest = load(args, Path::new(path))?;
    let mut child = Command::new(&guest)
        .args(arguments)
        .stdin(Stdio::Inherit)
        .spawn()
        .context("cannot start the command")
        .or_internal()?;
    running.set_killer(child.killer());
    watch(&running).or_internal()?;
    let status = child.wait();
    exit_of(status, running.cause(), stderr)
}

/// Loads the guest: compiles it, or reads it from the user's cache.
fn load(args: &ExecArgs, path: &Path) -> Result<Guest, ExitError> {
    let mut builder = Pool::builder().settings(args.settings());
    let cache = Cache::of_user().filter(|_| !args.instances.no_cache);
    let trusted = TrustedPlace::executables().chain(cache.as_ref().map(TrustedPlace::cache));
    trusted_places::check(&args.instances.dir, trusted)?;
    if let Some(cache) = cache {
        builder = builder.cache(cache);
    }
    let guest = builder.load(path).map_err(|error| match error {
        // The setting is mpwasm's own.
        mpwasm::Error::BadSetting(_) => ExitError::internal(error),
        error => ExitError::of_guest(error),
    });
    let bad_command = |error| ExitError {
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

/// Handles signals: ends, pauses or resumes the command. Dropping the returned sender stops the timeout after a signal.
fn listen(running: &RunningCommand) -> anyhow::Result<mpsc::Sender<()>> {
    let (ended, waits) = mpsc::channel::<()>();
    let mut waits = Some(waits);
    let running = running.clone();
    signals::listen(move |request| {
        let signal = match request {
            SignalRequest::End(signal) => signal,
            // A single command has no status to show.
            SignalRequest::Status => return,
            SignalRequest::Stop => return running.with(Killer::pause),
            SignalRequest::Continue(_) => return running.with(Killer::resume),
        };
        let exit = move || process::exit(Exit::Interrupted(signal).code());
        // Before the command is started there is only a compiler, which ends with this process.
        match waits.take().filter(|_| running.kill(KillCause::Signal(signal))) {
            Some(waits) => drop(thread::spawn(move || {
                if waits.recv_timeout(KILL_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
                    exit();
                }
            })),
            None => exit(),
        }
    })
    .context("cannot listen for signals")?;
    Ok(ended)
}

/// Ends the command when the reader of stdout closes it, also while nothing is written.
fn watch(running: &RunningCommand) -> anyhow::Result<()> {
    let running = running.clone();
    let stdout = vec![(BlockingFile::stdout()?, ())];
    let on_closed = move |()| {
        running.kill(KillCause::Unread);
    };
    readers::watch(stdout, on_closed).context("cannot watch the reader of stdout")
}

/// Returns the exit code for the status of the command. Prints the error of a command that did not exit by itself.
fn exit_of(
    status: ExitStatus,
    cause: Option<KillCause>,
    stderr: &mut StderrWriter,
) -> Result<Exit, ExitError> {
    match (status, cause) {
        (ExitStatus::Exited(code), _) => Ok(Exit::Command(code)),
        (ExitStatus::Unwritten(_), Some(KillCause::Signal(signal))) => Ok(Exit::Interrupted(signal)),
        (ExitStatus::Unwritten(error), _) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Unread),
        (ExitStatus::Unwritten(error), _) => {
            let error = anyhow!("{error}").context("cannot write what the command prints");
            Err(ExitError::internal(error))
        }
        (ExitStatus::Failed(error), Some(cause)) if error.kind == Kind::Cancelled => Ok(match cause {
            KillCause::Signal(signal) => Exit::Interrupted(signal),
            KillCause::Unread => Exit::Unread,
        }),
        (ExitStatus::Failed(error), _) => Ok(print_failure(&error, stderr)),
    }
}

fn print_failure(error: &TaskError, stderr: &mut StderrWriter) -> Exit {
    let exit = match error.kind {
        Kind::Timeout => Exit::TimedOut,
        Kind::Trap | Kind::Memory | Kind::Fuel | Kind::Error => Exit::Trapped,
        _ => Exit::ExecFailed,
    };
    stderr.print_message(&format!("{}: {}", error.kind, error.message));
    if exit == Exit::Trapped {
        for frame in &error.backtrace {
            stderr.print_message(&format!("  at {frame}"));
        }
    }
    exit
}

/// Why the command was killed.
#[derive(Clone, Copy, Debug)]
enum KillCause {
    Signal(EndSignal),
    /// The reader of its stdout closed it.
    Unread,
}

/// The running command, shared by the threads that can kill it.
#[derive(Clone, Debug, Default)]
struct RunningCommand(Arc<Mutex<(Option<Killer>, Option<KillCause>)>>);

impl RunningCommand {
    /// Notes that the command has been started.
    fn set_killer(&self, killer: Killer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(killer);
    }

    /// Calls `act` for the command, if it has been started.
    fn with(&self, act: impl Fn(&Killer)) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.0.iter().for_each(act);
    }

    /// Kills the command and notes the first cause. Returns false if it has not been started.
    fn kill(&self, cause: KillCause) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(killer), first) = &mut *running else {
            return false;
        };
        first.get_or_insert(cause);
        killer.kill();
        true
    }

    /// Returns why the command was killed, if it was.
    fn cause(&self) -> Option<KillCause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
