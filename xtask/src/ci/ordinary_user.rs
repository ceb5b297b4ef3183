//! The tests of processes a second time, as an ordinary user: limits and sandboxes behave differently.
//!
//! The user owns nothing and need not be able to read the checkout. What the tests need is copied to where it can be
//! read, and variables say where that is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::context::Context;
use super::guests::{is_root, submissions};
use super::memory;
use crate::command::{Run as _, artifacts, command};
use crate::guests;

/// The user and group "nobody".
const NOBODY: &str = "65534";

/// Programs that tests find beside themselves.
const PROGRAMS: &[&str] = &[
    "attacker",
    "children",
    "embed",
    "endings",
    "inherited",
    "late_init",
    "no_init",
    "tokio_attribute",
    "tokio_current_thread",
    "tokio_after_init",
];

/// Test programs that need compilers of other languages, or cargo and the checkout, which this user does not have.
const WITHOUT_COMPILERS: &[&str] = &["languages", "xtask"];

/// Unit tests of crates that ask the kernel for nothing that depends on the user: pure code, and harnesses that take bytes.
const SAME_FOR_ALL: &[&str] = &[
    "mpwasm_fuzzing",
    "mpwasm_guest",
    "mpwasm_objects",
    "mpwasm_report",
    "mpwasm_scheduler",
    "mpwasm_types",
];

/// Copies what the tests need, and runs each test program as that user.
pub fn check(context: &Context) -> Result<()> {
    if !is_root()? {
        context.not_checked("the tests of processes as another user, for which root is needed");
        return Ok(());
    }
    let tests = test_programs()?;
    let scratch = context.scratch.path();
    hand_over(context)?;
    for test in &tests {
        let copy = scratch
            .join("run/deps")
            .join(test.file_name().context("a test program has a name")?);
        fs::copy(test, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        run_as_nobody(context, &copy)?;
    }
    memory::show_file(&scratch.join("tmp/memory"))
}

/// Builds and copies all that the tests need, and lets everyone read it.
fn hand_over(context: &Context) -> Result<()> {
    let scratch = context.scratch.path();
    let release = context.repository.target.join("release");
    for folder in ["run/deps", "run/examples", "guests", "tmp", "judge/submissions"] {
        fs::create_dir_all(scratch.join(folder))?;
    }
    copy(
        [release.join("mpwasm"), release.join("mpwasm-host")],
        &scratch.join("run"),
    )?;
    copy(
        PROGRAMS.iter().map(|name| release.join("examples").join(name)),
        &scratch.join("run/examples"),
    )?;
    let guests = guests::rust(&context.repository)?;
    copy(submissions(&guests).cloned(), &scratch.join("judge/submissions"))?;
    copy(guests, &scratch.join("guests"))?;
    copy(
        [release.join("judge"), "guests/judge/problems".into()],
        &scratch.join("judge"),
    )?;
    command("chmod").args(["-R", "a+rX"]).arg(scratch).run()?;
    Ok(fs::set_permissions(
        scratch.join("tmp"),
        fs::Permissions::from_mode(0o777),
    )?)
}

/// Copies files and folders into a folder.
fn copy(from: impl IntoIterator<Item = PathBuf>, to: &Path) -> Result<()> {
    command("cp").arg("-r").args(from).arg(to).run()
}

/// Runs a test program as a user who owns nothing, with no variables but those that it needs.
fn run_as_nobody(context: &Context, test: &Path) -> Result<()> {
    let scratch = context.scratch.path();
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let mut command = std::process::Command::new("setpriv");
    command
        .args(ids)
        .arg("--clear-groups")
        .arg(test)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("RUST_TEST_THREADS", context.test_threads())
        .env("TMPDIR", scratch.join("tmp"))
        .env("MPWASM_TEST_BINARY", scratch.join("run/mpwasm"))
        .env("MPWASM_TEST_GUESTS", scratch.join("guests"))
        .env("MPWASM_TEST_JUDGE", scratch.join("judge"))
        .env("MPWASM_TEST_MEMORY", scratch.join("tmp/memory"))
        .env("MPWASM_TEST_RETRIES", scratch.join("tmp/retries"))
        .stdin(std::process::Stdio::null())
        .current_dir(scratch.join("tmp"))
        .run()
}

/// Builds all test programs, and the programs that they start; returns the files of the tests, in the order of their
/// names.
fn test_programs() -> Result<Vec<PathBuf>> {
    let mut tests: Vec<(String, PathBuf)> = artifacts(&["test", "--release", "--no-run"])?
        .into_iter()
        .filter(|artifact| artifact.profile.test && !is_left_out(&artifact.target.name))
        .filter_map(|artifact| Some((artifact.target.name, artifact.executable?.into())))
        .collect();
    ensure!(!tests.is_empty(), "cargo built no test program");
    tests.sort();
    Ok(tests.into_iter().map(|(_, path)| path).collect())
}

/// Whether a test program is not run as the ordinary user.
fn is_left_out(name: &str) -> bool {
    WITHOUT_COMPILERS.contains(&name) || SAME_FOR_ALL.contains(&name)
}
