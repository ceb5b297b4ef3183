//! Programs with a `main` of their own that embed the pool, with and without `mpwasm::init()`.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::common::{builder, pool_and_guest, status};
use crate::support::{binary, repository, run_within, until};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns an example program of this build. `cargo test` has built it, unless only this test binary was requested; then
/// it is built here.
pub fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this
        .ancestors()
        .nth(2)
        .expect("this is TARGET/PROFILE/deps/library-HASH");
    let path = target.join("examples").join(name);
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let library = built(&target.join("libmpwasm.rlib")).unwrap_or(SystemTime::UNIX_EPOCH);
    if built(&path).is_none_or(|example| example < library) {
        // The example of the documentation is the library's; programs for tests belong to the package of the tests.
        let package = if name == "embed" { "mpwasm" } else { "mpwasm-cli" };
        build(target, &["--package", package, "--example", name]);
    }
    path
}

/// Returns the binary `mpwasm-host` of this build, beside the binary under test. `cargo test` has built it, unless only
/// the tests of another package were requested; then it is built here.
fn host() -> PathBuf {
    let binary = binary();
    let path = binary.with_file_name("mpwasm-host");
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let is_stale = built(&path) < built(&binary);
    if is_stale && std::env::var_os("MPWASM_TEST_BINARY").is_none() {
        let package = ["--package", "mpwasm-host", "--bin", "mpwasm-host"];
        build(binary.parent().unwrap(), &package);
    }
    path
}

/// Builds into the folder `target`, which is TARGET/PROFILE.
fn build(target: &Path, what: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(what);
    match target.file_name().and_then(|profile| profile.to_str()) {
        Some("debug") | None => {}
        Some(profile) => drop(cargo.args(["--profile", profile])),
    }
    cargo.arg("--target-dir").arg(target.parent().unwrap());
    assert!(cargo.current_dir(repository()).status().unwrap().success());
}

/// A copy of a program under a unique name, so that its processes differ from those of another test.
struct Program {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Program {
    fn copy(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let status = Command::new("/bin/cp").arg(program).arg(&path).status().unwrap();
        assert!(status.success());
        Self { path, _dir: dir }
    }

    /// Runs it to its end. All its processes must be gone soon after.
    fn run(&self, args: &[&str]) -> Output {
        let output = run_within(
            LIMIT,
            Command::new(&self.path).args(args).current_dir(repository()),
        );
        let is_ours = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.path)
        };
        // A killed process may take a moment to end.
        until(|| {
            let mut all = std::fs::read_dir("/proc").unwrap().flatten();
            (!all.any(|entry| is_ours(&entry))).then_some(())
        });
        output
    }
}

fn run(program: &Path, args: &[&str]) -> Output {
    Program::copy(program).run(args)
}

fn stdout(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[test]
fn a_program_that_calls_init_is_all_that_the_pool_needs() {
    let output = run(&example("embed"), &["examples/square.wat", "1", "12", "65536"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), ["1: 1", "12: 144", "65536: 4294967296"]);
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_program_may_name_the_host_binary_for_its_pools_processes() {
    let (pool, guest) = pool_and_guest(builder().executable(host()));
    let tasks = [1, 2, 3].map(|number| pool.submit(guest.task([number])).unwrap());
    for task in tasks {
        assert_eq!(status(&task), "ok");
    }
    pool.stop().unwrap();
}

/// Ends a pool under load, as often as `MPWASM_ENDINGS` says; 36 times by default.
#[test]
fn a_program_may_end_under_load_at_any_moment_and_in_any_way() {
    const WAYS: [&str; 9] = [
        "drop",
        "stop",
        "shutdown",
        "terminate",
        "panic",
        "panic elsewhere",
        "return",
        "exit",
        "abort",
    ];
    let count = std::env::var("MPWASM_ENDINGS").map_or(36, |count| count.parse().unwrap());
    let program = Program::copy(&example("endings"));
    for (number, way) in (0..count).zip(WAYS.iter().cycle()) {
        // Early after the start, or later.
        let moment = rand::random_range(0..if number % 2 == 0 { 2_000 } else { 100_000 });
        let output = program.run(&["tests/library/guest.wat", way, &u32::to_string(&moment)]);
        let told = format!("{way} after {moment} us: {output:?}");
        match *way {
            "panic" => assert_eq!(output.status.code(), Some(101), "{told}"),
            "abort" => assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{told}"),
            _ => assert!(output.status.success(), "{told}"),
        }
    }
}

#[test]
fn what_goes_wrong_with_the_guest_is_an_error_of_the_program() {
    let output = run(&example("embed"), &["/nowhere/guest.wasm", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/nowhere/guest.wasm"),
        "{output:?}"
    );
}

#[test]
fn a_program_without_init_is_told_so() {
    let output = run(&example("no_init"), &[]);
    assert_eq!(stdout(&output), ["InitMissing"]);
}

#[test]
fn a_program_without_init_that_names_itself_is_no_fork_bomb() {
    // Its copy detects that it is one, and exits.
    let output = run(&example("no_init"), &["named"]);
    assert_eq!(stdout(&output), ["Start dispatcher"]);
}

#[test]
fn a_program_that_has_a_thread_before_init_has_no_pool_behind_a_jail() {
    let refused = run(&example("late_init"), &[]);
    let told = String::from_utf8_lossy(&refused.stdout);
    assert!(
        told.contains("mpwasm::init() was called when the program had 2 threads"),
        "{refused:?}"
    );
    let output = run(&example("late_init"), &["off"]);
    assert_eq!(stdout(&output), ["ok"], "{output:?}");
}

#[test]
fn a_program_whose_tokio_runtime_starts_before_init_is_told_so_and_not_that_the_compiler_failed() {
    for program in ["tokio_attribute", "tokio_current_thread"] {
        let output = run(&example(program), &[]);
        let told = String::from_utf8_lossy(&output.stdout);
        let expected = "mpwasm::init() was called when the program ran a Tokio runtime";
        assert!(told.starts_with(expected), "{program}: {output:?}");
    }
}

#[test]
fn a_program_may_run_the_pool_on_a_tokio_runtime() {
    for way in ["tokio_main", "after_init"] {
        let output = run(&example("tokio_after_init"), &[way]);
        assert_eq!(stdout(&output), ["ok"], "{way}: {output:?}");
    }
}

/// Runs the program that changes its own process in this way, and checks that the pool copes.
fn does(what: &str) {
    let output = run(&example("inherited"), &["tests/library/guest.wat", what]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_fork_can_not_use_the_pool_and_does_not_end_it_with_its_copy() {
    does("fork");
}

#[test]
fn a_fork_can_not_use_a_command_and_does_not_end_it_with_its_copy() {
    does("fork of a command");
}

#[test]
fn no_descriptor_of_the_pool_is_taken_for_a_standard_one_that_is_closed() {
    does("closed descriptors");
}

#[test]
fn a_trap_is_a_trap_in_a_program_that_blocks_all_signals() {
    does("blocked signals");
}

#[test]
fn a_program_that_sigpipe_would_end_outlives_its_dispatcher() {
    does("default SIGPIPE");
}

#[test]
fn a_limit_of_the_size_of_files_is_an_error_of_the_program() {
    does("small files");
}
