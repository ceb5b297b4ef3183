//! Compiles a guest in a process of its own, with a time limit, unless the cache has it.

pub(crate) mod compiled_guest;
pub(crate) mod from_file;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use nix::poll::{PollFd, PollFlags};

use crate::cache::{Cache, FileIdentity, Key};
use crate::child_process;
use crate::child_process::{Diagnostics, TransientChild};
use crate::compile::compiled_guest::CompiledGuest;
use crate::error::Error;
use crate::init;
use crate::sync::Mutex;
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::{FromCompiler, ToCompiler, compiler_frame};
use mpwasm_sandbox::child::Executable;
use mpwasm_sandbox::jail;
use mpwasm_system::clock;
use mpwasm_system::limit_names::limit_behind;
use mpwasm_system::memory_file::sealed_memory;
use mpwasm_system::poll::poll_until;
use mpwasm_system::standard_descriptors;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::role::Role;
use mpwasm_types::settings::Settings;
use mpwasm_types::time::Time;

/// Largest file of a guest: 192 MiB. Compiling takes many times its size, and the parent, which holds the file while it
/// loads the guest, should stay below 256 MiB.
const MAX_GUEST_FILE: u64 = 192 << 20;
/// Time after which a compilation is announced on the terminal: about as long as a person waits before wondering why.
const COMPILE_NOTICE_DELAY: Duration = Duration::from_secs(1);

/// `tracing` target of the event, at level `INFO`, that reports a compilation that takes longer than a second.
pub const COMPILATION_TARGET: &str = "mpwasm::compilation";

/// Longest time to wait for the rest of a reply that had begun at the timeout: 1 s.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Result of a compilation: the compiled guest, or why it is refused.
enum CompileResult {
    Accepted(CompiledGuest),
    Refused(GuestInfo),
}

/// Compiles a guest and returns its contents and the reasons for which a pool would refuse it. Needs no pool and uses no cache.
///
/// ```no_run
/// # fn main() -> Result<(), mpwasm::Error> {
/// mpwasm::init();
/// let info = mpwasm::inspect("guest.wasm", &mpwasm::Settings::default())?;
/// for model in &info.models {
///     println!("model {:?}, with a callback: {}", model.name, model.callback.is_some());
/// }
/// println!("refused for: {:?}", info.refusals);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::InitMissing`], [`Error::InitLate`], [`Error::Read`], [`Error::NotWasm`], [`Error::Compile`], [`Error::Start`] or
/// [`Error::Io`].
pub fn inspect(path: impl AsRef<Path>, settings: &Settings) -> Result<GuestInfo, Error> {
    let path = path.as_ref();
    init::check_initialised(settings.jail)?;
    let bytes = read(path)?;
    let name = path.to_string_lossy();
    let engine = EngineSettings::from(settings);
    let result = run_compiler(&Executable::Own, settings, &engine, &name, &bytes, false)?;
    Ok(match result {
        CompileResult::Accepted(compiled) => compiled.info,
        CompileResult::Refused(info) => info,
    })
}

/// Reads a guest's file, at most [`MAX_GUEST_FILE`] bytes: a device may have no end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    File::open(path)
        .and_then(|file| read_file(&file))
        .map_err(|error| Error::Read {
            path: path.to_owned(),
            error,
        })
}

fn read_file(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = file.take(MAX_GUEST_FILE + 1).read_to_end(&mut bytes)?;
    if most as u64 > MAX_GUEST_FILE {
        let limit = MAX_GUEST_FILE >> 20;
        return Err(io::Error::other(format!(
            "it is larger than the {limit} MiB that a guest may have"
        )));
    }
    Ok(bytes)
}

/// Returns the compiled guest, from the cache or from a compiler.
pub(crate) fn compile(
    executable: &Executable,
    settings: &Settings,
    cache: Option<&Cache>,
    name: &str,
    bytes: &[u8],
) -> Result<CompiledGuest, Error> {
    compile_by(settings, |engine| {
        let (result, _) = look_up_or_compile(executable, settings, engine, cache, name, bytes)?;
        accepted(name, result)
    })
}

/// Returns the guest that `compile` returns for the settings of workers. A guest whose code in workers does not check for the
/// deadline is compiled a second time, with checks, if it has exports that run elsewhere.
fn compile_by(
    settings: &Settings,
    mut compile: impl FnMut(&EngineSettings) -> Result<CompiledGuest, Error>,
) -> Result<CompiledGuest, Error> {
    let engine = EngineSettings::from(settings);
    let mut compiled = compile(&engine)?;
    let outside = EngineSettings::outside_workers(settings);
    if engine != outside && compiled.info.runs_outside_workers() {
        compiled.checked_artifact = Some(compile(&outside)?.artifact);
    }
    Ok(compiled)
}

/// Returns the compiled guest, or the error of one that is refused.
fn accepted(name: &str, result: CompileResult) -> Result<CompiledGuest, Error> {
    match result {
        CompileResult::Refused(info) => Err(Error::Refused {
            name: name.to_owned(),
            reasons: info.refusals,
        }),
        CompileResult::Accepted(compiled) => Ok(compiled),
    }
}

/// Returns a guest of the cache as the result of its compilation: refused if it is above the limits of these settings.
fn check_limits(compiled: CompiledGuest, engine: &EngineSettings) -> CompileResult {
    let info = add_limit_refusals(compiled.info.clone(), engine);
    match info.refusals.is_empty() {
        true => CompileResult::Accepted(compiled),
        false => CompileResult::Refused(info),
    }
}

/// Looks a guest up in the cache, or compiles and stores it. Refused guests are not stored: refusing is fast, and the reasons may
/// change. Also returns the entry that was read, with the identity that its file had.
fn look_up_or_compile(
    executable: &Executable,
    settings: &Settings,
    engine: &EngineSettings,
    cache: Option<&Cache>,
    name: &str,
    bytes: &[u8],
) -> Result<(CompileResult, Option<(Key, FileIdentity)>), Error> {
    let compile = |is_kept| -> Result<CompileResult, Error> {
        let started = clock::now();
        let result = run_compiler(executable, settings, engine, name, bytes, is_kept)?;
        let took = clock::now().since(started);
        tracing::debug!("{}: compiled in {} ms", escape(name), took.as_millis());
        Ok(result)
    };
    let Some(cache) = cache else {
        return Ok((compile(false)?, None));
    };
    let key = match Key::of(executable, engine, bytes) {
        Ok(key) => key,
        Err(why) => {
            tracing::debug!("{}: the cache is not used: {why}", escape(name));
            return Ok((compile(false)?, None));
        }
    };
    if let Some((compiled, checked)) = cache.load(&key) {
        tracing::debug!("{}: taken from the cache", escape(name));
        let entry = checked.map(|checked| (key, checked));
        return Ok((check_limits(compiled, engine), entry));
    }
    let result = compile(true)?;
    if let CompileResult::Accepted(compiled) = &result {
        cache.store(&key, compiled);
    }
    Ok((result, None))
}

/// Compiles a guest in a compiler process. `is_kept` says whether the result will be cached.
fn run_compiler(
    executable: &Executable,
    settings: &Settings,
    engine: &EngineSettings,
    name: &str,
    bytes: &[u8],
    is_kept: bool,
) -> Result<CompileResult, Error> {
    let failed = |why: CompilerFailure| Error::Compile {
        name: name.to_owned(),
        why: why.to_string(),
    };
    let mut compiler = Compiler::start(executable, settings, engine, name, bytes, is_kept)?;
    let mut checked = None;
    loop {
        compiler.wait().map_err(failed)?;
        let unreadable = |error| failed(CompilerFailure::Unreadable(error));
        let frame = compiler.channel.inbox().next_message().map_err(unreadable)?;
        match decode(frame.unwrap_or_default()).map_err(unreadable)? {
            FromCompiler::NotWasm(why) => {
                return Err(Error::NotWasm {
                    name: name.to_owned(),
                    why: why.to_owned(),
                });
            }
            FromCompiler::Refused(info) => {
                return Ok(CompileResult::Refused(add_limit_refusals(info, engine)));
            }
            FromCompiler::Checked(info) => {
                let info = add_limit_refusals(info, engine);
                if !info.refusals.is_empty() {
                    return Ok(CompileResult::Refused(info));
                }
                compiler.checked = Some(clock::now());
                checked = Some(info);
            }
            FromCompiler::Compiled(artifact) => {
                let info = checked.ok_or_else(|| failed(CompilerFailure::Unchecked))?;
                let artifact = sealed_memory(c"mpwasm-artifact", artifact)?;
                CompileTimes::note(clock::now().since(compiler.started));
                return Ok(CompileResult::Accepted(CompiledGuest {
                    info,
                    artifact,
                    checked_artifact: None,
                }));
            }
        }
    }
}

/// Adds the limits that the guest exceeds to the reasons why it is refused.
fn add_limit_refusals(mut info: GuestInfo, limits: &EngineSettings) -> GuestInfo {
    info.refusals.extend(info.initial.above(limits));
    info
}

/// Why a compiler has not compiled.
#[derive(Debug, thiserror::Error)]
enum CompilerFailure {
    #[error(
        "the compiler ended without an answer ({end}); perhaps it needs more memory than it may have{limit}"
    )]
    Ended {
        /// How it ended.
        end: String,
        /// The limit of memory that may be the cause, after a separator; empty if none is set.
        limit: String,
    },
    #[error("{0}")]
    TooSlow(String),
    #[error("the compiler's answer can't be read: {0}")]
    Unreadable(FrameError),
    #[error("the compiler did not say what it compiled")]
    Unchecked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A running compiler process.
struct Compiler<'a> {
    process: TransientChild,
    channel: Channel,
    diagnostics: Diagnostics,
    /// The guest's name, and the size of its file in bytes.
    guest: (&'a str, usize),
    timeout: Duration,
    started: Time,
    /// When the guest passed the checks.
    checked: Option<Time>,
    /// Whether a slow compilation is still to be announced.
    is_to_be_announced: bool,
    /// Whether the result will be stored in the cache.
    is_kept: bool,
}

impl<'a> Compiler<'a> {
    fn start(
        executable: &Executable,
        settings: &Settings,
        engine: &EngineSettings,
        name: &'a str,
        bytes: &[u8],
        is_kept: bool,
    ) -> Result<Self, Error> {
        standard_descriptors::fill();
        let (diagnostics, diagnostics_writer) = Diagnostics::new()?;
        let most = compiler_frame(bytes.len());
        let (process, channel) = child_process::start(executable, Role::Compiler, &diagnostics_writer, most)?;
        let process = TransientChild::new(process, Role::Compiler);
        drop(diagnostics_writer);
        let guest = sealed_memory(c"mpwasm-guest", bytes)?;
        let message = ToCompiler {
            engine: engine.clone(),
            timeout: settings.compile_timeout,
            jail: jail::available_options(settings.jail, settings.user),
        };
        channel
            .send_with(&message, &[guest.as_fd()])
            .map_err(|error| Error::Compile {
                name: name.to_owned(),
                why: error.to_string(),
            })?;
        Ok(Self {
            process,
            channel,
            diagnostics,
            guest: (name, bytes.len()),
            timeout: settings.compile_timeout,
            started: clock::now(),
            checked: None,
            is_to_be_announced: true,
            is_kept,
        })
    }

    /// Waits until the channel's inbox has a message.
    ///
    /// # Errors
    /// When none will come.
    fn wait(&mut self) -> Result<(), CompilerFailure> {
        let mut until = self.started + self.timeout;
        let mut is_last = false;
        let announce = self.started + COMPILE_NOTICE_DELAY;
        while !self.channel.inbox().has_frame() {
            let wake = match self.is_to_be_announced {
                true => until.min(announce),
                false => until,
            };
            match receive_until(&mut self.channel, wake)? {
                Filled::Closed => {
                    let end = self.diagnostics.describe(&mut self.process);
                    let limit =
                        limit_behind(libc::ENOMEM).map_or_else(String::new, |limit| format!("; {limit}"));
                    return Err(CompilerFailure::Ended { end, limit });
                }
                // It may have arrived while this process was stopped and the compiler was not.
                Filled::Some if self.channel.inbox().has_frame() => {}
                Filled::Some if !is_last && clock::now() >= until => {
                    is_last = true;
                    until = clock::now() + REST_TIMEOUT;
                }
                _ if clock::now() >= until => return Err(CompilerFailure::TooSlow(self.too_slow())),
                _ if self.is_to_be_announced && clock::now() >= announce => self.announce(),
                _ => {}
            }
        }
        Ok(())
    }

    fn announce(&mut self) {
        self.is_to_be_announced = false;
        let (name, bytes) = self.guest;
        let kept = if self.is_kept {
            "; it goes into the cache for the next time"
        } else {
            ""
        };
        tracing::info!(
            target: COMPILATION_TARGET,
            "compiling {} ({}) takes a while{kept}",
            escape(name),
            ByteSize(bytes as u64)
        );
    }

    /// Describes a compilation that exceeded its timeout.
    fn too_slow(&self) -> String {
        let timeout = humantime::format_duration(self.timeout);
        let reached = self.checked.map_or_else(
            || "its checks had not ended".to_owned(),
            |at| {
                format!(
                    "it had passed its checks after {}",
                    rounded(at.since(self.started))
                )
            },
        );
        let size = ByteSize(self.guest.1 as u64);
        let others = CompileTimes::of_others().map_or_else(String::new, |others| format!("; {others}"));
        format!(
            "it takes longer than {timeout}, which --compile-timeout (in Rust Builder::compile_timeout) changes: of {size}, \
             {reached}{others}"
        )
    }
}

/// Durations of this program's finished compilations.
#[derive(Clone, Copy, Debug)]
struct CompileTimes {
    count: u64,
    shortest: Duration,
    longest: Duration,
}

static COMPILE_TIMES: Mutex<Option<CompileTimes>> = Mutex::new(None);

impl CompileTimes {
    fn note(time: Duration) {
        let mut took = COMPILE_TIMES.lock();
        let before = took.unwrap_or(Self {
            count: 0,
            shortest: time,
            longest: time,
        });
        *took = Some(Self {
            count: before.count + 1,
            shortest: before.shortest.min(time),
            longest: before.longest.max(time),
        });
    }

    fn of_others() -> Option<Self> {
        *COMPILE_TIMES.lock()
    }
}

impl fmt::Display for CompileTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shortest, longest) = (rounded(self.shortest), rounded(self.longest));
        match self.count {
            1 => write!(f, "1 other guest took {longest}"),
            count => write!(f, "{count} other guests took {shortest} to {longest}"),
        }
    }
}

/// Formats a duration, to the millisecond.
fn rounded(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

fn receive_until(channel: &mut Channel, until: Time) -> io::Result<Filled> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    poll_until(&mut fds, until)?;
    channel.fill()
}
