//! Compiling a guest: the parent's side. The compiler is a process of its own, with a time limit here; what the cache
//! has is not compiled again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags};

use super::CompiledGuest;
use super::cache::{Cache, Key};
use super::child::{self, LastWords, OneJob};
use crate::error::Error;
use crate::guest::{EngineSettings, GuestInfo};
use crate::inert::inert;
use crate::jail::Plan;
use crate::limit_names::limit_behind;
use crate::process::{self, Executable, Role, poll_until, sealed_memory};
use crate::settings::{MAX_GUEST_FILE, Settings};
use crate::standard_descriptors;
use crate::time::Time;
use crate::wire::channel::{Channel, Filled};
use crate::wire::frame::decode;
use crate::wire::messages::{FromCompiler, ToCompiler, compiler_frame};

/// What the compiler says of a guest.
enum Verdict {
    Accepted(CompiledGuest),
    Refused(GuestInfo),
}

/// Compiles a guest and says what is in it, and what would be refused and why. Needs no pool, and uses no cache.
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
    process::check_initialised(settings.jail)?;
    let bytes = read(path)?;
    let verdict = run_compiler(&Executable::Own, settings, &path.to_string_lossy(), &bytes)?;
    Ok(match verdict {
        Verdict::Accepted(compiled) => compiled.info,
        Verdict::Refused(info) => info,
    })
}

/// Reads a guest's file, but not to its end wherever that is: a device has none, and this process must not die of one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let begin = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = File::open(path)?
            .take(MAX_GUEST_FILE + 1)
            .read_to_end(&mut bytes)?;
        if most as u64 > MAX_GUEST_FILE {
            let limit = MAX_GUEST_FILE >> 20;
            return Err(io::Error::other(format!(
                "it is larger than the {limit} MiB that a guest may have"
            )));
        }
        Ok(bytes)
    };
    begin().map_err(|error| Error::Read {
        path: path.to_owned(),
        error,
    })
}

/// Compiles a guest that is to run, unless the cache has it.
pub(super) fn compile(
    executable: &Executable,
    settings: &Settings,
    cache: Option<&Cache>,
    name: &str,
    bytes: &[u8],
) -> Result<CompiledGuest, Error> {
    match look_up_or_compile(executable, settings, cache, name, bytes)? {
        Verdict::Refused(info) => Err(Error::Refused {
            name: name.to_owned(),
            reasons: info.refusals,
        }),
        Verdict::Accepted(compiled) => Ok(compiled),
    }
}

/// Only what the compiler accepted is kept: to refuse a guest takes no time worth saving, and the reasons may change.
fn look_up_or_compile(
    executable: &Executable,
    settings: &Settings,
    cache: Option<&Cache>,
    name: &str,
    bytes: &[u8],
) -> Result<Verdict, Error> {
    let compile = || {
        let started = Time::now();
        let verdict = run_compiler(executable, settings, name, bytes)?;
        let took = Time::now().since(started);
        tracing::debug!("{}: compiled in {} ms", inert(name), took.as_millis());
        Ok(verdict)
    };
    let Some(cache) = cache else {
        return compile();
    };
    let key = match Key::of(executable, &EngineSettings::from(settings), bytes) {
        Ok(key) => key,
        Err(why) => {
            tracing::debug!("{}: the cache is not used: {why}", inert(name));
            return compile();
        }
    };
    if let Some(compiled) = cache.load(&key) {
        tracing::debug!("{}: taken from the cache", inert(name));
        return Ok(Verdict::Accepted(compiled));
    }
    let verdict = compile()?;
    if let Verdict::Accepted(compiled) = &verdict {
        cache.store(&key, compiled);
    }
    Ok(verdict)
}

fn run_compiler(
    executable: &Executable,
    settings: &Settings,
    name: &str,
    bytes: &[u8],
) -> Result<Verdict, Error> {
    let failed = |why: String| Error::Compile {
        name: name.to_owned(),
        why,
    };
    standard_descriptors::fill();
    let (words, diagnostics) = LastWords::new()?;
    let (process, mut channel) = child::start(
        executable,
        Role::Compiler,
        &diagnostics,
        compiler_frame(bytes.len()),
    )?;
    let mut compiler = OneJob::new(process, Role::Compiler);
    drop(diagnostics);
    let guest = sealed_memory(c"mpwasm-guest", bytes)?;
    let message = ToCompiler {
        engine: EngineSettings::from(settings),
        timeout: settings.compile_timeout,
        jail: Plan::new(settings.jail, settings.user),
    };
    channel
        .send_with(&message, &[guest.as_fd()])
        .map_err(|error| failed(error.to_string()))?;
    let until = Time::now() + settings.compile_timeout;
    while !channel.inbox().has_frame() {
        match receive_until(&mut channel, until) {
            Ok(Filled::Closed) => {
                let end = words.describe(&mut compiler);
                let limit = limit_behind(libc::ENOMEM).map_or_else(String::new, |limit| format!("; {limit}"));
                return Err(failed(format!(
                    "the compiler ended without an answer ({end}); perhaps it needs more memory than it may have{limit}"
                )));
            }
            Ok(_) if Time::now() >= until => {
                let timeout = humantime::format_duration(settings.compile_timeout);
                return Err(failed(format!("it takes longer than {timeout}")));
            }
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    let unreadable = |error| failed(format!("the compiler's answer can't be read: {error}"));
    let frame = channel.inbox().next().map_err(unreadable)?.unwrap_or_default();
    match decode(frame).map_err(unreadable)? {
        FromCompiler::NotWasm(why) => Err(Error::NotWasm {
            name: name.to_owned(),
            why: why.to_owned(),
        }),
        FromCompiler::Refused(info) => Ok(Verdict::Refused(info)),
        FromCompiler::Accepted { info, artifact } => {
            let artifact = sealed_memory(c"mpwasm-artifact", artifact)?;
            Ok(Verdict::Accepted(CompiledGuest { info, artifact }))
        }
    }
}

fn receive_until(channel: &mut Channel, until: Time) -> io::Result<Filled> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    poll_until(&mut fds, until)?;
    channel.fill()
}
