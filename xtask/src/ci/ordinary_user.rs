//! The tests of processes a second time, as an ordinary user: limits and sandboxes behave differently.
//!
//! The user owns nothing and need not be able to read the checkout. What the tests need is copied to where it can be
//! read, and variables say where that is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::guests::{build_submissions, is_root, submissions, wasm_files};
use super::{Context, memory};
use crate::command::{Run as _, cargo, command};

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

/// Guests that `mpwasm build` builds.
const GUESTS: &[&str] = &["demo", "fixture", "pusher", "files"];

/// Test programs about the compilers of other languages, which this user does not have.
const LEFT_OUT: &[&str] = &["languages"];

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
        run_as_nobody(scratch, &copy)?;
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
    copy(["fuzz/corpus".into()], scratch)?;
    copy(
        [release.join("mpwasm"), release.join("mpwasm-host")],
        &scratch.join("run"),
    )?;
    copy(
        PROGRAMS.iter().map(|name| release.join("examples").join(name)),
        &scratch.join("run/examples"),
    )?;
    for guest in GUESTS {
        let mut build = command(&release.join("mpwasm").to_string_lossy());
        let built = build
            .arg("build")
            .arg(Path::new("guests").join(guest))
            .stdout_of()?;
        copy([built.trim_end().into()], &scratch.join("guests"))?;
    }
    cargo(&[
        "build",
        "--release",
        "--target",
        "wasm32-wasip1",
        "-p",
        "wasi-calls",
    ])
    .run()?;
    copy(wasm_files(context, "wasi-")?, &scratch.join("guests"))?;
    build_submissions()?;
    copy(
        [release.join("judge"), "guests/judge/problems".into()],
        &scratch.join("judge"),
    )?;
    copy(submissions(context)?, &scratch.join("judge/submissions"))?;
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
fn run_as_nobody(scratch: &Path, test: &Path) -> Result<()> {
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let mut command = std::process::Command::new("setpriv");
    command
        .args(ids)
        .arg("--clear-groups")
        .arg(test)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", scratch.join("tmp"))
        .env("MPWASM_TEST_BINARY", scratch.join("run/mpwasm"))
        .env("MPWASM_TEST_GUESTS", scratch.join("guests"))
        .env("MPWASM_TEST_CORPUS", scratch.join("corpus"))
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
    let build = [
        "test",
        "--release",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ];
    let mut tests = executables(&cargo(&build).stdout_of()?)?;
    tests.retain(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
    ensure!(!tests.is_empty(), "cargo built no test program");
    tests.sort();
    Ok(tests.into_iter().map(|(_, path)| path).collect())
}

/// The names and files of the test programs in the messages of a build.
fn executables(messages: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut tests = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["profile"]["test"] == true
            && let (Some(name), Some(path)) =
                (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            tests.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    Ok(tests)
}

#[test]
fn test_programs_are_found_in_the_messages_of_a_build() {
    let messages = r#"{"reason":"compiler-artifact","target":{"name":"run"},"profile":{"test":true},"executable":"/t/run-1"}
{"reason":"compiler-artifact","target":{"name":"mpwasm"},"profile":{"test":false},"executable":"/t/mpwasm"}
{"reason":"compiler-artifact","target":{"name":"lib"},"profile":{"test":false},"executable":null}
{"reason":"build-finished","success":true}"#;
    assert_eq!(
        executables(messages).unwrap(),
        [("run".to_owned(), PathBuf::from("/t/run-1"))]
    );
}
