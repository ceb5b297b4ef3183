//! Resource limits: mpwasm raises soft limits that are too low, and reports hard limits that are.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{LIMIT, run, stderr, trapping_command};
use crate::support::{binary, copy_for_others, fixture, like_mpwasm, run_within};

/// The user and group "nobody".
const NOBODY: u32 = 65534;

/// Returns a function that lowers a hard limit.
fn hard(resource: Resource, most: u64) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || Ok(setrlimit(resource, most, most)?)
}

/// Returns a function that lowers a soft limit, which may be raised again.
fn soft(resource: Resource, most: u64) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || Ok(setrlimit(resource, most, getrlimit(resource)?.1)?)
}

/// Asserts that a run and a command fail, with mpwasm's own exit codes and a message that contains `words`.
fn assert_named(limit: impl Fn() -> io::Result<()> + Copy + Send + Sync + 'static, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    for (args, code) in [
        (&["run", "--args", "[]", &fixture("noop")][..], 3),
        (&["exec", guest.to_str().unwrap()][..], 125),
    ] {
        let output = run(limit, args);
        let text = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {:?} {text}",
            output.status
        );
        assert!(text.contains(words), "{args:?}: {text}");
    }
}

#[test]
fn a_limit_of_the_size_of_files_that_is_too_low_for_a_guest_is_named() {
    let most = 8 << 10;
    assert_named(
        move || Ok(setrlimit(Resource::RLIMIT_FSIZE, most, most)?),
        "the limit of the size of files (ulimit -f) is 8192 bytes",
    );
}

#[test]
fn records_that_grow_past_the_limit_of_the_size_of_files_end_the_run_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("noop.wat");
    fs::write(
        &guest,
        r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#,
    )
    .unwrap();
    let tasks = folder.path().join("tasks");
    fs::write(&tasks, "[]\n".repeat(5000)).unwrap();
    let results = folder.path().join("results");
    let most = 512 << 10;
    let paths = [&results, &tasks, &guest].map(|path| path.to_str().unwrap());
    let args = ["run", "--results", paths[0], "--tasks", paths[1], paths[2]];
    let output = run(hard(Resource::RLIMIT_FSIZE, most), &args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{:?} {text}", output.status);
    assert!(
        text.contains("cannot write records, the run was ended: File too large"),
        "{text}"
    );
    assert!(text.contains("(ulimit -f) is 524288 bytes"), "{text}");
    assert_eq!(fs::metadata(&results).unwrap().len(), most);
}

#[test]
fn a_limit_of_address_space_is_named() {
    let most = 3_u64 << 30;
    assert_named(
        move || Ok(setrlimit(Resource::RLIMIT_AS, most, most)?),
        "the limit of address space (ulimit -v) is 3221225472 bytes",
    );
}

#[test]
fn a_soft_limit_of_address_space_is_raised() {
    let args = ["run", "--results", "-", "--args", "[]", &fixture("noop")];
    let output = run(soft(Resource::RLIMIT_AS, 3 << 30), &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_soft_limit_of_open_files_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let args = [
        "run",
        "--results",
        "-",
        "--size",
        "8",
        "--args",
        "[]",
        &fixture("noop"),
    ];
    for args in [&args[..], &["exec", guest.to_str().unwrap()]] {
        let output = run(soft(Resource::RLIMIT_NOFILE, 10), args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn a_limit_of_open_files_is_named() {
    let most = 10;
    assert_named(
        move || Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?),
        "the limit of open files (ulimit -n) is 10",
    );
}

/// The kernel does not enforce this limit for root, which starts mpwasm as another user here.
#[test]
fn a_limit_of_processes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let guest = trapping_command(folder.path());
    let program = copy_for_others(&binary(), folder.path());
    let limit = || Ok(setrlimit(Resource::RLIMIT_NPROC, 1, 1)?);
    for (args, code) in [("run", 3), ("exec", 125)] {
        let mut command = like_mpwasm(&program);
        command.arg(args).arg(&guest);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        // SAFETY: a system call, which is safe between fork and exec. It is made once the process has the other user.
        unsafe { command.pre_exec(limit) };
        let output = run_within(LIMIT, &mut command);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{:?} {text}", output.status);
        let words = "the limit of processes and threads of this user (ulimit -u) is 1";
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_soft_limit_of_the_stack_is_raised_and_a_hard_one_is_named() {
    let args = ["run", "--results", "-", "--args", "[]", &fixture("noop")];
    let output = run(soft(Resource::RLIMIT_STACK, 256 << 10), &args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{:?} {}",
        output.status,
        stderr(&output)
    );
    let most = 256 << 10;
    assert_named(
        move || Ok(setrlimit(Resource::RLIMIT_STACK, most, most)?),
        "the limit of the stack (ulimit -s) is 262144 bytes",
    );
}
