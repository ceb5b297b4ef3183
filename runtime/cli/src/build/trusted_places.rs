//! The files that the build of a guest crate reads and runs, outside of the sandbox.
//!
//! `cargo metadata` lists the local crates and the target directory. The files that cargo reads before that (its configuration
//! and its own files) and the compilers are found by cargo's rules.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::{command, crate_directory, program, sysroot};
use crate::process::exit::{ExitError, OrExit};
use crate::trusted_places::{self, TrustedPlace};
use mpwasm::DirGrant;
use mpwasm::escape::Untrusted;

/// Refuses to grant write access to directories that the build of this crate reads or runs.
///
/// # Errors
/// A usage error that names the directory and the place, or the crate's error.
pub fn check(dirs: &[DirGrant], krate: &Path) -> Result<(), ExitError> {
    if !dirs.iter().any(trusted_places::is_writable) {
        return Ok(());
    }
    let krate = crate_directory(krate).or_usage()?;
    trusted_places::check(dirs, places_without_cargo(&krate))?;
    // cargo reads the crate only after this check.
    trusted_places::check(dirs, places_from_cargo(&krate).or_usage()?)
}

/// Returns a constructor of places of one kind.
fn place(what: &'static str) -> impl Fn(PathBuf) -> TrustedPlace {
    move |path| TrustedPlace {
        what,
        path,
        way_out: "or build the crate before, with `mpwasm build`, and name the .wasm that it prints",
    }
}

/// Returns the places that are known before cargo runs.
fn places_without_cargo(krate: &Path) -> Vec<TrustedPlace> {
    let mut all = vec![place("the crate to be built")(krate.to_owned())];
    let configurations = krate.ancestors().map(|folder| folder.join(".cargo"));
    all.extend(configurations.map(place("the configuration of cargo")));
    let homes = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")].map(|(variable, folder)| {
        let named = env::var_os(variable).filter(|value| !value.is_empty());
        named
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(folder)))
    });
    all.extend(
        homes
            .into_iter()
            .flatten()
            .map(place("a folder of cargo's or rustup's own")),
    );
    let programs = [("CARGO", "cargo"), ("RUSTC", "rustc")].map(|(variable, name)| program(variable, name));
    let found = programs
        .into_iter()
        .filter_map(|program| match Path::new(&program).components().count() {
            1 => trusted_places::find_in_path(&program),
            _ => Some(program.into()),
        });
    all.extend(found.map(place("a program that builds the crate")));
    all
}

/// The relevant fields of the output of `cargo metadata`.
#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<CargoPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
    build_directory: Option<PathBuf>,
}

#[derive(Deserialize)]
struct CargoPackage {
    manifest_path: PathBuf,
    /// The registry or repository of a package that is not local.
    source: Option<String>,
}

/// Returns the places that `cargo metadata` names.
fn places_from_cargo(krate: &Path) -> Result<Vec<TrustedPlace>> {
    let shown = Untrusted::from(&krate);
    let output = command(program("CARGO", "cargo"), krate)
        .args(["metadata", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cargo cannot be asked what the build of {shown} reads"))?;
    if !output.status.success() {
        bail!("cargo does not say what the build of {shown} reads; its messages are above");
    }
    let metadata: CargoMetadata = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cargo does not say what the build of {shown} reads"))?;
    let local = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none());
    let folders: BTreeSet<_> = local
        .filter_map(|package| package.manifest_path.parent())
        .collect();
    let mut all: Vec<_> = folders
        .into_iter()
        .map(|folder| place("a crate that the build reads")(folder.to_owned()))
        .collect();
    let root = ["Cargo.toml", "Cargo.lock"].map(|file| metadata.workspace_root.join(file));
    all.extend(root.map(place("the workspace of the crate to be built")));
    let built = [Some(metadata.target_directory), metadata.build_directory];
    all.extend(
        built
            .into_iter()
            .flatten()
            .map(place("the folder that cargo builds into")),
    );
    all.extend(sysroot(krate).ok().flatten().map(place("the compiler's folder")));
    Ok(all)
}
