//! Programs with a `main` of their own that embed the pool: one that calls `mpwasm::init()`, one that does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::support::{repository, run_within, until};

const LIMIT: Duration = Duration::from_secs(60);

/// An example program of this build. `cargo test` has built it, unless only this test binary was asked for.
fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this
        .ancestors()
        .nth(2)
        .expect("this is TARGET/PROFILE/deps/library-HASH");
    let path = target.join("examples").join(name);
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let library = built(&target.join("libmpwasm.rlib")).unwrap_or(SystemTime::UNIX_EPOCH);
    if built(&path).is_none_or(|example| example < library) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "mpwasm", "--example", name]);
        match target.file_name().and_then(|profile| profile.to_str()) {
            Some("debug") | None => {}
            Some(profile) => drop(cargo.args(["--profile", profile])),
        }
        cargo.arg("--target-dir").arg(target.parent().unwrap());
        assert!(cargo.current_dir(repository()).status().unwrap().success());
    }
    path
}

/// Runs a program to its end, soon after which no process of it may be left.
fn run(program: &Path, args: &[&str]) -> Output {
    // Under a name of its own: so that its processes can be told from those of another test.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("program");
    let status = Command::new("/bin/cp").arg(program).arg(&copy).status().unwrap();
    assert!(status.success());
    let output = run_within(LIMIT, Command::new(&copy).args(args).current_dir(repository()));
    let is_copy =
        |entry: &std::fs::DirEntry| std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == copy);
    // A copy that was killed may take a moment to end.
    until(|| {
        let mut all = std::fs::read_dir("/proc").unwrap().flatten();
        (!all.any(|entry| is_copy(&entry))).then_some(())
    });
    output
}

fn stdout(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[test]
fn a_program_that_calls_init_is_all_that_the_pool_needs() {
    let output = run(
        &example("embed"),
        &["runtime/examples/square.wat", "1", "12", "65536"],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stdout(&output), ["1: 1", "12: 144", "65536: 4294967296"]);
    assert!(output.stderr.is_empty(), "{output:?}");
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
    // Its copy finds out that it is one, and ends.
    let output = run(&example("no_init"), &["named"]);
    assert_eq!(stdout(&output), ["Start dispatcher"]);
}
