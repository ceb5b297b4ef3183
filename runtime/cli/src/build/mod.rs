//! `mpwasm build DIR`: builds a guest crate for `wasm32-wasip1` with cargo and finds its module.
//!
//! The build is the only code that mpwasm runs outside of the sandbox: cargo runs the build scripts and macros of the crate and
//! of its dependencies. A message on stderr says so each time. With `--no-build`, the caller does not call this.

mod flags;
pub mod trusted_places;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use cargo_metadata::{Artifact, Message, TargetKind};
use clap::Args;
use mpwasm::escape::{Untrusted, escape_bytes};

use crate::process::exit::{ExitError, OrExit};
use crate::terminal::stdio;

/// The Rust target of guests.
const TARGET: &str = "wasm32-wasip1";

/// Options of building a crate directory.
#[derive(Debug, Args)]
pub struct BuildOptions {
    /// Refuse to build: a crate's build scripts and macros run outside of every sandbox.
    #[arg(long)]
    pub no_build: bool,
}

impl BuildOptions {
    /// Returns the module of a guest: the file itself, or the result of building a crate directory.
    ///
    /// # Errors
    /// When the build fails, or is needed but not allowed.
    pub fn module(&self, guest: &Path) -> std::result::Result<PathBuf, ExitError> {
        if !guest.is_dir() {
            return Ok(guest.to_owned());
        }
        if self.no_build {
            let dir = Untrusted::from(guest);
            return Err(ExitError::usage(anyhow!(
                "{dir} is a crate directory, which --no-build forbids to build: run `mpwasm build {dir}` and name \
                 the .wasm that it prints"
            )));
        }
        build(guest).or_usage()
    }
}

/// Builds the crate in `dir` in cargo's release profile and returns the canonical path of its only module.
///
/// cargo's messages go to stderr, nothing goes to stdout. If the target is missing, rustup adds it.
///
/// # Errors
///
/// When `dir` is no crate, cargo or the target is missing, the build fails, or the crate has no module or several.
pub fn build(dir: &Path) -> Result<PathBuf> {
    let dir = crate_directory(dir)?;
    stdio::print_message(&format!(
        "building {} with cargo: build scripts and macros run outside of every sandbox",
        Untrusted::from(&dir)
    ));
    ensure_target(&dir)?;
    let messages = run_cargo(&dir)?;
    let module = only_module(&dir, &messages)?;
    fs::canonicalize(&module)
        .with_context(|| format!("cargo says that it built {}", Untrusted::from(&module)))
}

/// Returns the canonical path of a directory that has a crate.
///
/// # Errors
/// When it has none.
pub fn crate_directory(dir: &Path) -> Result<PathBuf> {
    let shown = Untrusted::from(&dir);
    let canonical = fs::canonicalize(dir).with_context(|| format!("{shown} cannot be built"))?;
    if !canonical.is_dir() {
        bail!("{shown} cannot be built: it is not a directory");
    }
    if !canonical.join("Cargo.toml").is_file() {
        bail!("{shown} cannot be built: there is no Cargo.toml in it");
    }
    let manifest = fs::read_to_string(canonical.join("Cargo.toml"))
        .with_context(|| format!("{shown} cannot be built: its Cargo.toml cannot be read"))?;
    if is_virtual(&manifest) {
        bail!("{shown} cannot be built: it is a workspace, name the directory of one of its crates");
    }
    Ok(canonical)
}

/// Returns whether a manifest is that of a workspace without a package. cargo would build the whole workspace for [`TARGET`],
/// which takes long and yields no single module.
fn is_virtual(manifest: &str) -> bool {
    let starts = |starts: &[&str]| {
        manifest.lines().any(|line| {
            let line: String = line.split_whitespace().collect();
            starts.iter().any(|start| line.starts_with(start))
        })
    };
    starts(&["[workspace]", "[workspace."]) && !starts(&["[package]", "[package.", "package.", "package="])
}

/// Returns the program that an environment variable names, as cargo does, or else its name for a search in the PATH.
pub fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| name.into())
}

/// Returns a command that runs in the crate's directory, so that its `rust-toolchain.toml` and `.cargo/config.toml` apply.
///
/// mpwasm may itself run under `cargo run` or `cargo test`, or in a shell or CI job that is set up for another build. Settings
/// for the host must not reach a build for another target, so these variables are removed:
///
/// - `RUSTFLAGS` and its variants, which name linkers, CPUs and instrumentation of the host. Flags for guests have a variable
///   of their own, which stays: `CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS`.
/// - `RUSTC_WORKSPACE_WRAPPER`, by which clippy and coverage tools wrap the compiler of the outer build. `RUSTC_WRAPPER`,
///   usually a compiler cache, stays.
///
/// All other variables stay. `CARGO` and `RUSTUP_TOOLCHAIN`, which an outer cargo sets together, choose the same toolchain. A
/// relative `CARGO_TARGET_DIR` is made absolute, as it is relative to the user's working directory. `--target` overrides
/// `CARGO_BUILD_TARGET`. cargo sets `CARGO_PKG_...` and `CARGO_MANIFEST_DIR` anew for every compiler.
pub fn command(program: OsString, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(variable);
    }
    for variable in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
        if let Some(target_dir) = env::var_os(variable).filter(|value| !value.is_empty())
            && let Ok(absolute) = std::path::absolute(target_dir)
        {
            command.env(variable, absolute);
        }
    }
    command
}

/// Makes sure that the toolchain of `dir` can compile for [`TARGET`].
fn ensure_target(dir: &Path) -> Result<()> {
    let Some(sysroot) = sysroot(dir)? else {
        // The compiler does not print its sysroot. cargo reports what is wrong.
        return Ok(());
    };
    if has_target(&sysroot) {
        return Ok(());
    }
    stdio::print_message(&format!("adding the Rust target {TARGET} with rustup"));
    let added = command("rustup".into(), dir)
        .args(["target", "add", TARGET])
        .stdout(io::stderr())
        .status();
    match added {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "the Rust target {TARGET} is not installed, and neither is rustup, which could add it: install rustup, \
             or the package of your distribution that brings Rust's standard library for {TARGET}"
        ),
        Err(error) => bail!("the Rust target {TARGET} is not installed, and rustup does not start: {error}"),
        Ok(status) if !status.success() => bail!(
            "the Rust target {TARGET} is not installed, and rustup could not add it: when you are online, run \
             `rustup target add {TARGET}`"
        ),
        Ok(_) if !has_target(&sysroot) => bail!(
            "the Rust target {TARGET} is not installed in {}, which rustup does not manage: install it in the way \
             that this compiler was installed, or put rustup's compiler first in the PATH",
            Untrusted::from(&sysroot)
        ),
        Ok(_) => Ok(()),
    }
}

/// Returns the sysroot of the compiler that cargo uses for `dir`, if the compiler prints it.
pub fn sysroot(dir: &Path) -> Result<Option<PathBuf>> {
    let rustc = program("RUSTC", "rustc");
    let output = command(rustc.clone(), dir)
        .args(["--print", "sysroot"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| cannot_start(&rustc, &error))?;
    if !output.status.success() {
        return Ok(None);
    }
    let path = String::from_utf8(output.stdout).ok();
    Ok(path
        .map(|path| PathBuf::from(path.trim_end()))
        .filter(|path| path.is_dir()))
}

fn has_target(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

fn cannot_start(program: &OsString, error: &io::Error) -> anyhow::Error {
    let program = Untrusted::from(&program);
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "{program} is not installed, and a crate cannot be built without it: install Rust with rustup, or build \
             the guest elsewhere and name its .wasm file"
        ),
        _ => anyhow!("{program} does not start: {error}"),
    }
}

/// Returns the stderr of a tool whose messages contain `dir`.
///
/// It is inherited, so that the tool can draw on a terminal. If `dir` has control characters it is captured, to be escaped.
fn stderr_of_tool(dir: &Path) -> Stdio {
    match escape_bytes(dir.as_os_str().as_bytes()) {
        Cow::Borrowed(_) => Stdio::inherit(),
        Cow::Owned(_) => Stdio::piped(),
    }
}

/// Runs the build and returns the stdout of cargo.
fn run_cargo(dir: &Path) -> Result<Vec<u8>> {
    let cargo = program("CARGO", "cargo");
    let mut command = command(cargo.clone(), dir);
    flags::add(&mut command, dir);
    let output = command
        .args(["build", "--release", "--target", TARGET])
        // JSON messages go to stdout, and the compiler's diagnostics to stderr.
        .arg("--message-format=json-render-diagnostics")
        .stderr(stderr_of_tool(dir))
        .output()
        .map_err(|error| cannot_start(&cargo, &error))?;
    // Lines that are no JSON were printed by build scripts or macros.
    let printed = lines(&output.stdout).filter(|line| line.first() != Some(&b'{'));
    let mut stderr = io::stderr().lock();
    for line in printed.chain(lines(&output.stderr)) {
        // A failure to write to stderr is ignored.
        let _ = stderr.write_all(&[&escape_bytes(line), &b"\n"[..]].concat());
    }
    drop(stderr);
    if !output.status.success() {
        bail!(
            "cargo could not build {} ({}); its messages are above",
            Untrusted::from(&dir),
            output.status
        );
    }
    Ok(output.stdout)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// Returns the .wasm files of libraries and programs. Examples and tests are not built.
fn wasm_files(artifact: &Artifact) -> impl Iterator<Item = PathBuf> {
    let is_guest = artifact
        .target
        .kind
        .iter()
        .any(|kind| matches!(kind, TargetKind::CDyLib | TargetKind::Bin));
    artifact
        .filenames
        .iter()
        .filter(move |path| is_guest && path.extension() == Some("wasm"))
        .map(PathBuf::from)
}

/// Returns the only module of the package in `dir`, according to cargo's messages.
fn only_module(dir: &Path, messages: &[u8]) -> Result<PathBuf> {
    let manifest = dir.join("Cargo.toml");
    // Not a set: a library and a program of the same name have the same path, but are two modules.
    let mut modules = Vec::new();
    let mut elsewhere = BTreeSet::new();
    // What is no message was printed by build scripts or macros.
    for message in lines(messages).filter_map(|line| serde_json::from_slice(line).ok()) {
        let Message::CompilerArtifact(artifact) = message else {
            continue;
        };
        let package = artifact.manifest_path.as_std_path();
        // cargo's path may contain symbolic links.
        let is_package = package == manifest || fs::canonicalize(package).is_ok_and(|path| path == manifest);
        for module in wasm_files(&artifact) {
            if is_package {
                modules.push(module);
            } else if let Some(package) = package.parent() {
                elsewhere.insert(package.to_owned());
            }
        }
    }
    let shown = Untrusted::from(&dir);
    let mut found = modules.iter();
    match (found.next(), found.next()) {
        (Some(module), None) => Ok(module.clone()),
        (Some(_), Some(_)) => bail!(
            "{shown} makes several modules, name the one to use: {}",
            listed(&modules)
        ),
        (None, _) if !elsewhere.is_empty() => {
            bail!(
                "{shown} makes no module itself, name the crate to use: {}",
                listed(&elsewhere)
            )
        }
        (None, _) => bail!(
            "{shown} makes no module: a guest needs `crate-type = [\"cdylib\"]` under [lib] in its Cargo.toml, or a \
             main.rs"
        ),
    }
}

fn listed<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let paths: Vec<String> = paths
        .into_iter()
        .map(|path| Untrusted::from(&path).to_string())
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn artifact(manifest: &str, kind: &str, files: &[&str]) -> String {
        let target = json!({"kind": [kind], "crate_types": [kind], "name": "x", "src_path": "/g/src/lib.rs",
                            "edition": "2024", "doc": true, "doctest": false, "test": true});
        let profile = json!({"opt_level": "3", "debuginfo": 0, "debug_assertions": false, "overflow_checks": false,
                             "test": false});
        json!({"reason": "compiler-artifact", "package_id": "x 0.1.0", "manifest_path": manifest, "target": target,
               "profile": profile, "features": [], "filenames": files, "executable": null, "fresh": true})
        .to_string()
    }

    fn module(messages: &[String]) -> Result<PathBuf> {
        only_module(Path::new("/g"), messages.join("\n").as_bytes())
    }

    #[test]
    fn finds_the_module_of_the_package_among_those_of_others() {
        let messages = [
            artifact("/g/dep/Cargo.toml", "cdylib", &["/t/dep.wasm"]),
            artifact("/g/Cargo.toml", "custom-build", &["/t/build-script-build"]),
            "a line that a macro printed".to_owned(),
            artifact("/g/Cargo.toml", "cdylib", &["/t/libg.rlib", "/t/g.wasm"]),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        assert_eq!(module(&messages).unwrap(), Path::new("/t/g.wasm"));
    }

    #[test]
    fn several_modules_are_listed() {
        let messages = [
            artifact("/g/Cargo.toml", "cdylib", &["/t/g.wasm"]),
            artifact("/g/Cargo.toml", "bin", &["/t/tool.wasm"]),
        ];
        let error = module(&messages).unwrap_err().to_string();
        assert!(error.ends_with(": /t/g.wasm, /t/tool.wasm"), "{error}");
    }

    #[test]
    fn a_workspace_is_not_built() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("Cargo.toml"),
            "[workspace]\nmembers = []\n[workspace.package]\n",
        )
        .unwrap();
        let error = build(dir.path()).unwrap_err().to_string();
        assert!(error.contains("it is a workspace"), "{error}");
        assert!(!is_virtual("[workspace]\n[package] # both\nname = \"a\""));
        assert!(!is_virtual("[workspace]\n[ package ]\nname = \"a\""));
        assert!(!is_virtual("what is no manifest is left to cargo"));
    }

    #[test]
    fn a_crate_whose_workspace_builds_others_lists_them() {
        let messages = [
            artifact("/g/b/Cargo.toml", "cdylib", &["/t/b.wasm"]),
            artifact("/g/a/Cargo.toml", "cdylib", &["/t/a.wasm"]),
        ];
        let error = module(&messages).unwrap_err().to_string();
        assert!(error.ends_with("name the crate to use: /g/a, /g/b"), "{error}");
    }

    #[test]
    fn a_plain_library_is_refused_with_the_missing_crate_type() {
        let messages = [artifact("/g/Cargo.toml", "lib", &["/t/libg.rlib"])];
        assert!(module(&messages).unwrap_err().to_string().contains("cdylib"));
    }

    #[test]
    fn a_directory_without_a_crate_is_refused_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| format!("{:#}", build(path).unwrap_err());
        assert!(refusal(dir.path()).ends_with("there is no Cargo.toml in it"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&file).ends_with("it is not a directory"));
        assert!(refusal(&dir.path().join("nothing")).contains("cannot be built: No such file"));
    }

    #[test]
    fn flags_for_the_host_do_not_reach_the_build() {
        let command = command("cargo".into(), Path::new("/"));
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        assert!(
            removed.contains(&"RUSTFLAGS".as_ref()) && removed.contains(&"CARGO_ENCODED_RUSTFLAGS".as_ref())
        );
    }
}
