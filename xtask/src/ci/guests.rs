//! Guests of other compilers, and the example that judges programs.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::checks::install_packages;
use super::context::Context;
use crate::command::{Run as _, command};
use crate::guests;

/// What Debian's clang needs for WebAssembly.
const CLANG: &[&str] = &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];

/// The tests of C guests with Debian's clang, where it can be had. The step `tests` compiles them with Zig's.
pub fn c_guests(context: &Context) -> Result<()> {
    if !is_root()? || !command("apt-get").arg("--version").succeeds() {
        context.not_checked("C guests with Debian's clang; that of Zig has compiled them");
        return Ok(());
    }
    if !command("dpkg").arg("-s").args(CLANG).succeeds() {
        install_packages(CLANG)?;
    }
    let tests = [
        "test",
        "--release",
        "--test",
        "languages",
        "--",
        "wordcount::c_",
        "header::",
    ];
    context
        .cargo_with_own_cache(&tests)
        .env("MPWASM_TEST_CC", "clang")
        .run()
}

/// The submissions of `guests/judge` and their verdicts (`guests/judge/README.md`).
pub fn judge(context: &Context) -> Result<()> {
    let guests = guests::rust(&context.repository)?;
    // By the name of the program. With `-p` its dependencies had other features, and all of them were built again.
    let judge = [
        "run",
        "--release",
        "--bin",
        "judge",
        "--",
        "guests/judge/problems/change",
    ];
    let table = context
        .cargo_with_own_cache(&judge)
        .args(submissions(&guests))
        .stdout_of()?;
    print!("{table}");
    let accepted = table.lines().filter(|line| line.ends_with(" accepted")).count();
    ensure!(accepted == 3, "{accepted} submissions were accepted, not 3");
    Ok(())
}

/// The submissions among the guests.
pub fn submissions(guests: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    guests.iter().filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("change-")
    })
}

/// Whether this process runs as root.
pub fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}
