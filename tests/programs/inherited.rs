//! Embeds the pool, and changes its own process as programs do that were not written for a pool. The first argument is
//! the guest of the library's tests, the second names the change. It exits with 0 when the pool does what it promises.

use std::fs;

use mpwasm::command::Command;
use mpwasm::{CancellationToken, Error, Guest, Kind, Pool, Reporter};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

fn main() {
    mpwasm::init();
    let args: Vec<String> = std::env::args().collect();
    let [_, guest, way] = &args[..] else {
        panic!("usage: inherited GUEST WAY");
    };
    match way.as_str() {
        "fork" => forks(guest),
        "fork of a command" => forks_a_command(),
        "closed descriptors" => (1..8).for_each(|which| closes(guest, which)),
        "blocked signals" => blocks(guest),
        "default SIGPIPE" => loses_its_dispatcher(guest),
        "small files" => limits_files(guest),
        other => panic!("{other:?} is no way"),
    }
}

fn start(guest: &str) -> Result<(Pool, Guest), Error> {
    struct Deaf;
    impl Reporter for Deaf {}
    let pool = Pool::builder().size(2).reporter(Deaf).start()?;
    let guest = pool.load(guest)?;
    Ok((pool, guest))
}

fn model(guest: &Guest, name: &str) -> mpwasm::Task {
    guest.model(name).expect("it has this model").task(())
}

/// Forks. This program shows which parts of the library a fork must not use.
fn forked() -> ForkResult {
    // SAFETY: the fork allocates, which glibc permits, and takes no lock that another thread may have held.
    unsafe { fork() }.expect("a fork")
}

/// Ends a fork, with exit code 0 if `work` does not panic.
fn end_with(work: impl FnOnce()) -> ! {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: _exit takes any code.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

/// Waits for a fork. Returns whether it succeeded.
fn ended_well(fork: Pid) -> bool {
    waitpid(fork, None) == Ok(WaitStatus::Exited(fork, 0))
}

/// Forks. The fork uses its copies of the pool's handles and drops them, and the pool continues.
fn forks(path: &str) {
    let (pool, guest) = start(path).expect("a pool");
    let token = CancellationToken::new();
    let running = pool
        .submit(model(&guest, "spin").token(&token))
        .expect("it is open");
    let quick = guest.model("logged").expect("it has this model");
    let mut results = pool
        .map(&quick, 0..1000)
        .expect("it is the pool's")
        .buffer_size(10);
    assert!(results.next().is_some_and(|outcome| outcome.result.is_ok()));
    let lost = |outcome: mpwasm::Outcome| {
        let error = outcome.result.expect_err("it is a fork");
        assert!(
            error.kind == Kind::Cancelled && error.message.contains("fork"),
            "{error:?}"
        );
    };
    let uses = || {
        assert!(matches!(pool.push(model(&guest, "spin")), Err(Error::Forked)));
        assert!(matches!(pool.submit(model(&guest, "spin")), Err(Error::Forked)));
        assert!(matches!(pool.load(path), Err(Error::Forked)));
        assert!(matches!(pool.status(), Err(Error::Forked)));
        assert!(matches!(pool.join(), Err(Error::Forked)));
        assert!(matches!(pool.map(&quick, 0..1), Err(Error::Forked)));
        lost(running.try_get().expect("it is told at once"));
        assert_eq!(mpwasm::wait_any(std::slice::from_ref(&running), None), Some(0));
        token.cancel();
        pool.cancel(running.id());
        pool.close();
        pool.interrupt();
        pool.terminate();
        lost(results.next().expect("it says so"));
        assert!(results.next().is_none());
        let (own, guest) = start(path).expect("a pool of its own");
        let handle = own.submit(model(&guest, "logged")).expect("it is open");
        assert!(handle.wait().result.is_ok());
        own.stop().expect("it ends well");
    };
    match forked() {
        ForkResult::Child => end_with(uses),
        ForkResult::Parent { child } => assert!(ended_well(child)),
    }
    match forked() {
        ForkResult::Child => end_with(move || {
            lost(running.wait());
            drop((results, guest));
            drop(pool);
        }),
        ForkResult::Parent { child } => assert!(ended_well(child)),
    }
    assert!(!running.is_ready(), "it goes on");
    assert!(results.all(|outcome| outcome.result.is_ok()));
    running.cancel();
    assert!(running.wait().result.is_err());
    pool.stop().expect("it ends well");
}

/// As [`forks`], for a command. The handles that the fork dropped are used here afterwards.
fn forks_a_command() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    let guest = Pool::builder()
        .load_bytes("reads.wat", text.as_bytes())
        .expect("it is a command");
    let mut child = Command::new(&guest)
        .stdin(mpwasm::command::Stdio::Piped)
        .spawn()
        .expect("it starts");
    match forked() {
        ForkResult::Child => end_with(move || {
            assert!(matches!(child.communicate("x", None), Err(Error::Forked)));
            child.kill();
            child.killer().kill();
            assert!(!child.wait().success());
            drop(child);
        }),
        ForkResult::Parent { child } => assert!(ended_well(child)),
    }
    assert!(child.try_wait().is_none(), "it goes on");
    assert!(child.communicate("x", None).expect("it is ours").status.success());
}

/// Closes standard descriptors. No descriptor of the pool may get their numbers.
fn closes(guest: &str, which: u8) {
    let work = || {
        for descriptor in (0..3).filter(|descriptor| which >> descriptor & 1 == 1) {
            // SAFETY: the descriptor is this program's own, which does not use it again.
            unsafe { libc::close(descriptor) };
        }
        let (pool, guest) = start(guest).expect("a pool");
        for descriptor in (0..3).filter(|descriptor| which >> descriptor & 1 == 1) {
            let place = fs::read_link(format!("/proc/self/fd/{descriptor}")).expect("it is taken");
            assert_eq!(place.to_str(), Some("/dev/null"));
        }
        println!("lost");
        let handle = pool.submit(model(&guest, "logged")).expect("it is open");
        assert!(handle.wait().result.is_ok());
        pool.stop().expect("it ends well");
    };
    match forked() {
        ForkResult::Child => end_with(work),
        ForkResult::Parent { child } => assert!(ended_well(child), "with {which:03b} closed"),
    }
}

/// Blocks all signals. A trap is still reported as a trap.
fn blocks(guest: &str) {
    SigSet::all().thread_block().expect("they can be blocked");
    let (pool, guest) = start(guest).expect("a pool");
    let handle = pool.submit(model(&guest, "lost")).expect("it is open");
    let error = handle.wait().result.expect_err("it traps");
    assert_eq!(error.kind, Kind::Trap, "{error:?}");
    assert!(
        SigSet::thread_get_mask().is_ok_and(|mask| mask.contains(Signal::SIGTERM)),
        "it is the program's"
    );
}

/// Gives SIGPIPE its default action, and kills the dispatcher while tasks are pushed.
fn loses_its_dispatcher(guest: &str) {
    // SAFETY: the default action runs no code of this process.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.expect("it can be set");
    for _ in 0..20 {
        let (pool, guest) = start(guest).expect("a pool");
        std::thread::scope(|scope| {
            let pushes = scope.spawn(|| while pool.push(model(&guest, "logged")).is_ok() {});
            kill(Pid::from_raw(pool.dispatcher_pid() as i32), Signal::SIGKILL).expect("it is there");
            pushes.join().expect("it does not panic");
        });
        assert!(matches!(pool.join(), Err(Error::DispatcherDied(_))));
    }
}

/// Forbids files to grow. Loading a guest returns an error that says so.
fn limits_files(guest: &str) {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("there is one");
    setrlimit(Resource::RLIMIT_FSIZE, 4096, hard).expect("it can be lowered");
    let error = start(guest).expect_err("the guest is larger");
    assert!(error.to_string().contains("(ulimit -f) is 4096 bytes"), "{error}");
}
