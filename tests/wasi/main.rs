//! Commands that check WASI preview 1 from within the guest: the project's own (`guests/wasi-calls`), and the public test
//! suite.
//!
//! `WASI_TESTSUITE` names a checkout of the suite with its compiled programs (branch `prod/testsuite-base`); these are
//! then run as well. `WASI_WASMTIME` names a `wasmtime` of the version that mpwasm embeds; each program must then end
//! there as it does here. Stderr names the parts that are not run.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use mpwasm_test_support as support;

mod specification;
mod suites;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use specification::{Ending, Program};
use support::mpwasm;

/// The calls of WASI preview 1 that the project's own commands make, so that all tests pass without the suite: all calls
/// except those that send signals, and those of sockets, which can't be granted.
const CALLS: &str = "args_get args_sizes_get clock_res_get clock_time_get environ_get environ_sizes_get fd_advise \
    fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get \
    fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir \
    fd_renumber fd_seek fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times \
    path_link path_open path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff \
    proc_exit random_get sched_yield sock_shutdown";

/// Prints a message that is shown even if the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns the WASI calls that a program imports.
fn calls(program: &Path) -> BTreeSet<String> {
    let output = mpwasm()
        .args(["inspect", "--json"])
        .arg(program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let imports = json["imports"].as_array().unwrap().iter();
    let names = imports.filter(|import| import[0] == "wasi_snapshot_preview1");
    names
        .map(|import| import[1].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the wasmtime to compare with.
fn wasmtime() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("WASI_WASMTIME").map(PathBuf::from) else {
        say("NOT RUN: the comparison with wasmtime, as WASI_WASMTIME names none");
        return None;
    };
    let output = Command::new(&path).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        version.split(' ').nth(1).map(str::trim),
        Some(mpwasm::ENGINE_VERSION)
    );
    Some(path)
}

fn by(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

/// Runs programs and prints their number. Panics when some do not end as they should.
fn run_all(name: &str, programs: &[Program]) {
    let wasmtime = wasmtime();
    let mut failures = Vec::new();
    for program in programs {
        let ended = Ending::of(by(mpwasm(), &["exec"]), program);
        if let Err(why) = program.specification.check(&ended) {
            failures.push(format!("{}: {why}", program.name));
        }
        if let Some(wasmtime) = &wasmtime {
            let there = Ending::of(by(Command::new(wasmtime), &["run", "-C", "cache=n"]), program);
            if (there.code, &there.stdout) != (ended.code, &ended.stdout) {
                failures.push(format!(
                    "{}: wasmtime has {there:#?}, mpwasm {ended:#?}",
                    program.name
                ));
            }
        }
    }
    say(&format!("{name}: {} programs ran", programs.len()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn programs_end_as_their_specifications_say() {
    run_all("own commands", &suites::own());
    let Some(checkout) = std::env::var_os("WASI_TESTSUITE") else {
        say("NOT RUN: the public test suite of WASI, as WASI_TESTSUITE names no checkout");
        return;
    };
    let suite = suites::public(Path::new(&checkout));
    for skipped in &suite.skipped {
        say(&format!("NOT RUN: {skipped}"));
    }
    assert!(
        !suite.programs.is_empty(),
        "there are no compiled programs in it: take its branch prod/testsuite-base"
    );
    run_all("public suite", &suite.programs);
    // Every call in it is checked even if the suite is not available.
    let own: BTreeSet<_> = CALLS.split_whitespace().map(str::to_owned).collect();
    for program in &suite.programs {
        let calls = calls(&program.file);
        assert!(calls.is_subset(&own), "{}: {calls:?}", program.name);
    }
}

#[test]
fn a_program_that_ends_otherwise_is_noticed() {
    let streams = suites::own().swap_remove(0);
    let mut ended = Ending::of(by(mpwasm(), &["exec"]), &streams);
    assert_eq!(streams.specification.check(&ended), Ok(()));
    ended.stdout.push('!');
    assert!(streams.specification.check(&ended).is_err());
    ended = Ending::of(by(mpwasm(), &["exec", "--memory", "64KiB"]), &streams);
    assert!(streams.specification.check(&ended).is_err(), "it can't start");
}

#[test]
fn the_own_commands_make_every_call() {
    let made: BTreeSet<_> = suites::own()
        .iter()
        .flat_map(|program| calls(&program.file))
        .collect();
    let expected: BTreeSet<_> = CALLS.split_whitespace().map(str::to_owned).collect();
    assert_eq!(made, expected);
}
