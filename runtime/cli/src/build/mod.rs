//! `mpwasm build DIR`: builds a guest crate for `wasm32-wasip1` with cargo and finds the module it made.
//!
//! This is the one thing that mpwasm does outside of every wall: cargo runs the build scripts and macros of the
//! crate and of all that it depends on. A line on stderr says so each time; refusing it (`--no-build`) is the
//! caller's part, as is printing the path.

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
use mpwasm::escape::{Untrusted, escape_bytes};
use serde::Deserialize;

use crate::terminal::stdio;

/// What guests are built for.
const TARGET: &str = "wasm32-wasip1";

/// Builds the crate in `dir` in cargo's release profile; the canonical path of its only module.
///
/// cargo's messages go to stderr, nothing goes to stdout. The target is added with rustup when it is missing.
///
/// # Errors
///
/// `dir` is no crate, cargo or the target is not there, the build fails, or the crate makes no module or several.
pub fn build(dir: &Path) -> Result<PathBuf> {
    let dir = crate_directory(dir)?;
    stdio::say(&format!(
        "building {} with cargo: build scripts and macros run outside of every wall",
        Untrusted::from(&dir)
    ));
    ensure_target(&dir)?;
    let messages = run_cargo(&dir)?;
    let module = the_module(&dir, &messages)?;
    fs::canonicalize(&module)
        .with_context(|| format!("cargo says that it built {}", Untrusted::from(&module)))
}

/// The canonical path of a directory that holds a crate.
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

/// Whether a manifest is that of a workspace without a package. cargo would build the whole workspace for
/// [`TARGET`], which takes long and makes nothing that could be meant.
fn is_virtual(manifest: &str) -> bool {
    let starts = |starts: &[&str]| {
        manifest.lines().any(|line| {
            let line: String = line.split_whitespace().collect();
            starts.iter().any(|start| line.starts_with(start))
        })
    };
    starts(&["[workspace]", "[workspace."]) && !starts(&["[package]", "[package.", "package.", "package="])
}

/// The program that the variable names, as cargo would have it, or else the one in the PATH.
pub fn program(variable: &str, name: &str) -> OsString {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| name.into())
}

/// A command that runs in the crate's directory, where its `rust-toolchain.toml` and `.cargo/config.toml` count.
///
/// mpwasm may itself run under `cargo run` or `cargo test`, and in shells and CI jobs that are set up for another
/// build. What they say about *how to build for the host* must not reach a build for another target:
///
/// - `RUSTFLAGS` and its relatives name linkers, CPUs and instrumentation of the host. Flags that are meant for
///   guests have a variable of their own, which stays: `CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS`.
/// - `RUSTC_WORKSPACE_WRAPPER` is how clippy and coverage tools get between cargo and the compiler, for the
///   outer build. `RUSTC_WRAPPER`, a compiler cache as a rule, stays.
///
/// All else stays. `CARGO` and `RUSTUP_TOOLCHAIN`, which an outer cargo sets together, choose the same toolchain as
/// out there; `CARGO_TARGET_DIR` moves the output, which is found all the same, but when it is relative it has
/// to go on meaning the directory that the user is in; `CARGO_BUILD_TARGET` gives way to our `--target`; what
/// cargo tells about the outer package (`CARGO_PKG_...`, `CARGO_MANIFEST_DIR`) is overwritten for every compiler.
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
        // There is a compiler, but it does not say where it lives: let cargo find out.
        return Ok(());
    };
    if has_target(&sysroot) {
        return Ok(());
    }
    stdio::say(&format!("adding the Rust target {TARGET} with rustup"));
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

/// Where the compiler that cargo would use for `dir` keeps its libraries.
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

/// Returns where the stderr of a tool goes that names `dir` in its messages: to ours as it is, so that it can draw on a
/// terminal, unless that name would act on the terminal. Then it is kept, to be escaped.
fn stderr_of_tool(dir: &Path) -> Stdio {
    match escape_bytes(dir.as_os_str().as_bytes()) {
        Cow::Borrowed(_) => Stdio::inherit(),
        Cow::Owned(_) => Stdio::piped(),
    }
}

/// Runs the build; what cargo wrote to its stdout.
fn run_cargo(dir: &Path) -> Result<Vec<u8>> {
    let cargo = program("CARGO", "cargo");
    let output = command(cargo.clone(), dir)
        .args(["build", "--release", "--target", TARGET])
        // Messages for us on stdout, and those of the compiler as people know them on stderr.
        .arg("--message-format=json-render-diagnostics")
        .stderr(stderr_of_tool(dir))
        .output()
        .map_err(|error| cannot_start(&cargo, &error))?;
    // What is no message of cargo was printed by something that the build ran.
    let printed = lines(&output.stdout).filter(|line| line.first() != Some(&b'{'));
    let mut stderr = io::stderr().lock();
    for line in printed.chain(lines(&output.stderr)) {
        // A stderr that cannot be written is no error.
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

/// What matters of a line that cargo writes to stdout.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: CargoTarget,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct CargoTarget {
    kind: Vec<String>,
}

impl CargoMessage {
    /// The modules that a guest could be. Examples and the like are not built, so are not asked for.
    fn modules(self) -> impl Iterator<Item = PathBuf> {
        let is_guest = self.reason == "compiler-artifact"
            && self
                .target
                .kind
                .iter()
                .any(|kind| kind == "cdylib" || kind == "bin");
        self.filenames
            .into_iter()
            .filter(move |path| is_guest && path.extension().is_some_and(|extension| extension == "wasm"))
    }
}

/// The only module that the package in `dir` makes, according to cargo's messages.
fn the_module(dir: &Path, messages: &[u8]) -> Result<PathBuf> {
    let manifest = dir.join("Cargo.toml");
    // Not a set: a library and a program of one name overwrite each other's module, and count as two.
    let mut modules = Vec::new();
    let mut elsewhere = BTreeSet::new();
    for message in lines(messages).filter_map(|line| serde_json::from_slice::<CargoMessage>(line).ok()) {
        let package = message.manifest_path.clone();
        // cargo writes the path that it went by, which may contain symbolic links.
        let is_ours = package == manifest || fs::canonicalize(&package).is_ok_and(|path| path == manifest);
        for module in message.modules() {
            if is_ours {
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
        json!({"reason": "compiler-artifact", "manifest_path": manifest, "target": {"kind": [kind], "name": "x"},
               "filenames": files, "executable": null, "fresh": true})
        .to_string()
    }

    fn module(messages: &[String]) -> Result<PathBuf> {
        the_module(Path::new("/g"), messages.join("\n").as_bytes())
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
    fn a_plain_library_is_told_what_it_lacks() {
        let messages = [artifact("/g/Cargo.toml", "lib", &["/t/libg.rlib"])];
        assert!(module(&messages).unwrap_err().to_string().contains("cdylib"));
    }

    #[test]
    fn what_is_no_crate_is_refused_before_anything_runs() {
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
