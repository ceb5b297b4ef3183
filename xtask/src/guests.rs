//! `cargo xtask guests`: builds the guests of this repository into `target/guests`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::command::{Run as _, artifacts, command};
use crate::repository::Repository;

/// Crates of `guests/` with guests and commands, for `wasm32-wasip1`.
const CRATES: &[&str] = &[
    "demo",
    "fixture",
    "pusher",
    "files",
    "programs",
    "sharing",
    "wasi-calls",
    "submissions",
];

/// Folders of `guests/` with a `build.sh`, and how their compiler is asked for its version.
const SCRIPTS: &[(&str, &[&str])] = &[
    // The linker and the C library are packages of their own. All are there if this program can be linked.
    (
        "c-wordcount",
        &[
            "sh",
            "-c",
            "echo 'int main(void){return 0;}' | clang --target=wasm32-wasi -x c - -o /dev/null",
        ],
    ),
    ("zig-wordcount", &["zig", "version"]),
];

/// Builds all guests whose compilers are there, and shows their files.
pub fn build(repository: &Repository) -> Result<()> {
    let folder = repository.target.join("guests");
    fs::create_dir_all(&folder)?;
    for file in rust(repository)? {
        let copy = folder.join(file.file_name().context("a guest has a name")?);
        fs::copy(&file, &copy)?;
        println!("{}", copy.display());
    }
    for (name, compiler) in SCRIPTS {
        if !command(compiler[0]).args(&compiler[1..]).succeeds() {
            println!("NOT BUILT: guests/{name}, whose build.sh says which compiler it needs");
            continue;
        }
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let script = repository.root.join("guests").join(name).join("build.sh");
        command(&script.to_string_lossy()).arg(&folder).run()?;
        for file in wasm_files(&folder)? {
            println!("{}", file.display());
        }
    }
    Ok(())
}

/// Builds the guests in Rust, and returns their files in the order of their names.
pub fn rust(repository: &Repository) -> Result<Vec<PathBuf>> {
    let manifest = repository.root.join("Cargo.toml").to_string_lossy().into_owned();
    let mut args = vec![
        "build",
        "--release",
        "--target",
        "wasm32-wasip1",
        "--manifest-path",
        &manifest,
    ];
    args.extend(CRATES.iter().flat_map(|name| ["-p", name]));
    let files = artifacts(&args)?
        .into_iter()
        .flat_map(|artifact| artifact.filenames);
    let mut guests: Vec<PathBuf> = files.map(PathBuf::from).filter(|file| is_wasm(file)).collect();
    guests.sort();
    Ok(guests)
}

/// The WebAssembly files in a folder, in the order of their names.
fn wasm_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if is_wasm(&path) {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "there is no guest in {}", folder.display());
    Ok(files)
}

fn is_wasm(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm")
}

#[test]
fn guests_are_the_wasm_files_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    assert!(wasm_files(folder.path()).is_err());
    for name in ["b.wasm", "a.wasm", "a.d", "deps"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let names: Vec<_> = wasm_files(folder.path())
        .unwrap()
        .into_iter()
        .map(|file| file.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a.wasm", "b.wasm"]);
}
