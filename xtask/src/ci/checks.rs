//! Steps that are a few commands.

use std::fs;
use std::io::ErrorKind;

use anyhow::Result;

use super::context::Context;
use super::memory;
use crate::command::{Run as _, cargo, command};
use crate::tools::CargoTool;

/// Guests for WebAssembly alone. The clippy of the host leaves them out, and that of the guests takes them.
const WASM_GUESTS: &[&str] = &[
    "demo",
    "fixture",
    "pusher",
    "programs",
    "files",
    "sharing",
    "wasi-calls",
];

/// Formatting. The lock file of `fuzz/`, which is a workspace of its own, must follow ours.
pub fn format(_: &Context) -> Result<()> {
    cargo(&["fmt", "--check"]).run()?;
    cargo(&["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]).run()?;
    let metadata = [
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--manifest-path",
        "fuzz/Cargo.toml",
    ];
    cargo(&metadata).stdout_of().map(drop)
}

/// `cargo deny`, which is installed into the target folder if this machine has none.
pub fn dependencies(context: &Context) -> Result<()> {
    let deny = CargoTool::find_or_install(&context.repository.target, "deny", "^0.20")?;
    deny.command(&["check", "licenses", "bans", "sources"]).run()?;
    // The advisories are in a Git repository, which a machine with access to registries only cannot fetch.
    let mut fetch = command("timeout");
    fetch.args(["120", "cargo", "deny", "fetch", "db"]);
    match deny.provide_to(&mut fetch).run() {
        Ok(()) => deny.command(&["check", "advisories"]).run(),
        Err(_) => {
            context.not_checked("advisories, as their database cannot be fetched from here");
            Ok(())
        }
    }
}

/// Lints, for this machine and for WebAssembly. The most lines of a function are in `clippy.toml`.
pub fn clippy(_: &Context) -> Result<()> {
    let warnings = ["--", "-D", "warnings", "-D", "clippy::too_many_lines"];
    let excluded = WASM_GUESTS.iter().flat_map(|guest| ["--exclude", guest]);
    cargo(&["clippy", "--release", "--workspace"])
        .args(excluded)
        .arg("--all-targets")
        .args(warnings)
        .run()?;
    let guests = WASM_GUESTS.iter().flat_map(|guest| ["-p", guest]);
    cargo(&[
        "clippy",
        "--release",
        "--target",
        "wasm32-wasip1",
        "-p",
        "mpwasm-guest",
    ])
    .args(guests)
    .args(warnings)
    .run()
}

/// The documentation of each crate, without warnings.
pub fn documentation(_: &Context) -> Result<()> {
    cargo(&["doc", "--no-deps", "--release"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// All tests. Those of the hostile corpus append to the file that the next step shows.
pub fn tests(context: &Context) -> Result<()> {
    let memory = memory::file(context);
    if let Err(error) = fs::remove_file(&memory)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    cargo(&["test", "--release"])
        .env("MPWASM_TEST_MEMORY", memory)
        .env("MPWASM_TEST_RETRIES", context.retries())
        .env("RUST_TEST_THREADS", context.test_threads())
        .run()
}

/// Bounds on the number of system calls of a task.
pub fn counts(context: &Context) -> Result<()> {
    if !command("strace").arg("-V").succeeds() {
        install_packages(&["strace"])?;
    }
    context
        .cargo_with_own_cache(&["bench", "--bench", "counts"])
        .run()
}

/// Each benchmark once, to see that it runs.
pub fn benchmarks(context: &Context) -> Result<()> {
    context
        .cargo_with_own_cache(&["bench", "--bench", "parts", "--", "--test"])
        .run()?;
    context
        .cargo_with_own_cache(&["bench", "--bench", "pool", "--", "--rounds", "1"])
        .run()
}

/// Installs packages of Debian.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    command("apt-get").arg("update").run()?;
    command("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .run()
}
