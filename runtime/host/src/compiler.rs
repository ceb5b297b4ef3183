//! The compiler process: compiles one guest and exits.
//!
//! The guest is untrusted input, and the engine's guarantees do not cover bugs of its compiler. The process therefore has a
//! memory limit, a sandbox and a timeout in the parent, and holds no other guest or data. It runs no guest code. The parent
//! treats the artifact as data and decides whether it is loaded.
//!
//! A large guest is compiled by several threads. They start after [`jail::isolate`], whose layers threads inherit, and before
//! [`jail::lock_down`], which forbids starting threads. The guest's bytes are not used before that.

use std::fs::File;
use std::io::{Read, Seek};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use nix::poll::{PollFd, PollFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::ChildError;
use mpwasm_engine::{Compiled, compile};
use mpwasm_protocol::messages::{FromCompiler, ToCompiler};
use mpwasm_sandbox::child;
use mpwasm_sandbox::jail;
use mpwasm_system::poll::poll_until;
use mpwasm_system::process;
use mpwasm_system::process::exit_now;
use mpwasm_types::role::Role;
use mpwasm_types::time::Time;

/// Address space of the compiler. Cranelift needs some hundred times the size of a large function.
const COMPILER_MEMORY: u64 = 4 << 30;
/// Address space that each thread of the compiler adds: its stack, an arena of the allocator (64 MiB reserved, twice that while
/// it is created) and a function of usual size.
const COMPILER_THREAD_MEMORY: u64 = 256 << 20;
/// Stack of a compiler thread: the default of a process's first thread. Deeply nested code needs much of it.
pub const COMPILER_STACK: usize = 8 << 20;
/// Bytes of a guest's file per compiler thread. Compiling that much takes some hundred times as long as starting a thread.
const BYTES_PER_COMPILER_THREAD: u64 = 32 << 10;

/// Runs the compiler: receives a guest, compiles it and sends the artifact to the parent.
///
/// # Errors
/// When the guest can't be received, the sandbox can't be set up or the reply can't be sent.
pub fn main() -> Result<(), ChildError> {
    let mut parent = child::start_up()?;
    let ToCompiler {
        engine,
        timeout,
        jail,
    } = parent.receive()?;
    let mut guest = File::from(
        parent
            .take_descriptor()
            .ok_or(ChildError::NoDescriptor("the guest"))?,
    );
    let metadata = guest.metadata()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_AS)?;
    let memory_of = |threads: usize| COMPILER_MEMORY + threads as u64 * COMPILER_THREAD_MEMORY;
    // With a lower hard limit, further threads would take memory that the compilation needs.
    let threads = match threads_for(metadata.len()) {
        threads if memory_of(threads) <= hard => threads,
        _ => 0,
    };
    let memory = memory_of(threads).min(hard);
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    if let Some(plan) = &jail {
        // RLIMIT_CPU counts the CPU time of all threads together.
        let time = timeout.saturating_mul(u32::try_from(threads).unwrap_or(u32::MAX).max(1));
        jail::isolate(Role::Compiler, plan, [])?;
        jail::set_cpu_limit(time)?;
    }
    let watched = parent.as_fd().try_clone_to_owned()?;
    let up = Arc::new(Barrier::new(2));
    let watches = Arc::clone(&up);
    thread::spawn(move || {
        watches.wait();
        // The parent sends nothing more, so the socket becomes readable only when the parent closes it.
        let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
        let _ = poll_until(&mut fds, Time::NEVER);
        exit_now(0);
    });
    process::never_shrink_heaps();
    let threads = start(threads);
    let mut bytes = Vec::new();
    guest.rewind().and_then(|()| guest.read_to_end(&mut bytes))?;
    // The watching thread must have started, as `lock_down` forbids the system calls that it starts with.
    up.wait();
    if let Some(plan) = &jail {
        jail::lock_down(Role::Compiler, plan)?;
    }
    let compiled = compile(&bytes, &engine, threads.as_ref(), |info| {
        // If this send fails, so does that of the reply, which reports the error.
        let _ = parent.send(&FromCompiler::Checked(info));
    });
    let answer = match &compiled {
        Compiled::Accepted(artifact) => FromCompiler::Compiled(artifact),
        Compiled::Refused(info) => FromCompiler::Refused(info.clone()),
        Compiled::NotWasm(why) => FromCompiler::NotWasm(why),
    };
    Ok(parent.send(&answer)?)
}

/// Returns the number of threads that compile a guest of this size, in bytes: 0 if the main thread compiles it alone.
fn threads_for(guest: u64) -> usize {
    let most = usize::try_from(guest / BYTES_PER_COMPILER_THREAD).unwrap_or(usize::MAX);
    if most < 2 {
        return 0;
    }
    match thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        1 => 0,
        processors => processors.min(most),
    }
}

/// Starts `threads` threads and waits until they run. Returns `None` if `threads` is 0 or they can't be started. The main
/// thread then compiles alone.
fn start(threads: usize) -> Option<ThreadPool> {
    if threads == 0 {
        return None;
    }
    let (up, started) = mpsc::channel();
    let mut expected = 0;
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .spawn_handler(|worker| {
            let up = up.clone();
            let run = move || {
                // It can't fail: the receiver waits for every thread.
                let _ = up.send(());
                worker.run();
            };
            thread::Builder::new().stack_size(COMPILER_STACK).spawn(run)?;
            expected += 1;
            Ok(())
        })
        .build();
    for () in started.iter().take(expected) {}
    pool.ok()
}
