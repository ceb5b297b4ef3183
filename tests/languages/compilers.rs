//! The compilers of other languages. Zig also compiles C and C++, and includes a C library for WASI.
//!
//! `zig` is the one that `MPWASM_TEST_ZIG` names, of any version, or the one in the PATH, or one that pip installs into
//! `target/tools`. C is compiled by `zig cc`, or by the command in `MPWASM_TEST_CC`, such as `clang`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::completed::LIMIT;
use crate::support::{repository, run_within};

/// The version of Zig for which the guests are written. Each release changes the language.
const ZIG: &str = "0.15.2";

/// The build's folder for files that tests leave for the next run.
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

/// Returns the path of `zig`.
pub fn zig() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let named = std::env::var_os("MPWASM_TEST_ZIG").map(PathBuf::from);
        named.or_else(zig_in_path).unwrap_or_else(installed)
    })
}

/// Returns the command that compiles C.
pub fn cc() -> String {
    std::env::var("MPWASM_TEST_CC").unwrap_or_else(|_| format!("{} cc", zig().display()))
}

/// Puts the compilers' caches into the build's folder.
pub fn caches(command: &mut Command) -> &mut Command {
    let cache = Path::new(TMP).join("zig");
    command
        .env("ZIG_GLOBAL_CACHE_DIR", &cache)
        .env("ZIG_LOCAL_CACHE_DIR", &cache)
}

fn zig_in_path() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join("zig"));
    found.into_iter().find(|zig| version(zig).as_deref() == Ok(ZIG))
}

/// Lets pip install Zig, unless it did so for an earlier run.
fn installed() -> PathBuf {
    let tools = Path::new(TMP).parent().unwrap().join("tools");
    let folder = tools.join(format!("ziglang-{ZIG}"));
    let zig = folder.join("ziglang/zig");
    if !zig.exists() {
        fs::create_dir_all(&tools).unwrap();
        // It has another name until it is complete.
        let coming = tempfile::tempdir_in(&tools).unwrap();
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(coming.path())
            .arg(format!("ziglang=={ZIG}"))
            .status();
        assert!(
            status.as_ref().is_ok_and(|status| status.success()),
            "these tests need Zig {ZIG}: pip can't install it ({status:?}). Install Python 3 with pip, or Zig \
             itself, in the PATH or named by MPWASM_TEST_ZIG"
        );
        // Another run of the tests may have been faster.
        if let Err(error) = fs::rename(coming.path(), &folder) {
            assert!(zig.exists(), "{error}");
        }
    }
    zig
}

/// Runs a guest's `build.sh`. Returns the folder with `model.wasm` and `command.wasm`.
pub fn build(guest: &str) -> PathBuf {
    let folder = Path::new(TMP).join("languages").join(guest);
    fs::create_dir_all(&folder).unwrap();
    let script = repository().join("guests").join(guest).join("build.sh");
    let mut build = Command::new(script);
    build.arg(&folder).env("CC", cc()).env("ZIG", zig());
    // The first run compiles the C library as well.
    assert_compiled(&run_within(LIMIT * 6, caches(&mut build)));
    folder
}

/// Asserts that the compilers succeeded. The guests may not suit other compilers, so their versions are shown after their
/// output.
#[track_caller]
pub fn assert_compiled(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n{}",
        compilers(std::env::var("MPWASM_TEST_CC").ok())
    );
}

/// Describes the compilers. If another one is named for C, Zig is neither looked for nor installed for the description.
fn compilers(cc: Option<String>) -> String {
    if let Some(cc) = cc {
        return format!("C was compiled by `{cc}`");
    }
    let zig = zig();
    let found = version(zig).unwrap_or_else(|why| format!("unknown ({why})"));
    format!(
        "they were compiled by {}, version {found}; these guests are written for Zig {ZIG}",
        zig.display()
    )
}

/// Returns the version of a `zig`.
fn version(zig: &Path) -> Result<String, String> {
    let output = Command::new(zig)
        .arg("version")
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("`zig version` ended with {}", output.status)),
    }
}

/// A user who names another compiler, and sees a build fail, must see why.
#[test]
fn a_build_that_fails_says_why_and_which_compiler_was_found() {
    let failed = Command::new("sh")
        .args(["-c", "echo no >&2; exit 1"])
        .output()
        .unwrap();
    let told = std::panic::catch_unwind(|| assert_compiled(&failed)).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.starts_with("no\n"), "{told}");
    let found = version(zig()).unwrap();
    let by_zig = compilers(None);
    assert!(by_zig.contains(&format!("version {found};")), "{by_zig}");
    assert_eq!(compilers(Some("clang".to_owned())), "C was compiled by `clang`");
    let none = version(Path::new("/no zig")).unwrap_err();
    assert!(none.contains("No such file"), "{none}");
}
