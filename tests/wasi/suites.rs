//! Finds the programs: the project's own, and those of the public suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::specification::{Program, Specification};
use crate::support::repository;

/// The suite's name for the target that mpwasm runs.
const PREVIEW_1: &str = "wasm32-wasip1";

/// The programs of a suite, and a line for each that can't be run.
#[derive(Debug, Default)]
pub struct Suite {
    pub programs: Vec<Program>,
    pub skipped: Vec<String>,
}

/// The project's own commands, with specifications in the suite's form.
const OWN: [(&str, &str); 4] = [
    (
        "wasi-streams",
        r#"{"args": ["a", "b \"c\""], "env": {"GREETING": "hi"}, "exit_code": 33,
            "stdout": "[\"a\", \"b \\\"c\\\"\"] Ok(\"hi\")\n1\n", "stderr": "to stderr\n"}"#,
    ),
    ("wasi-clocks", "{}"),
    ("wasi-files", r#"{"root": "empty"}"#),
    ("wasi-directories", r#"{"root": "empty"}"#),
];

/// Returns the project's own commands.
pub fn own() -> Vec<Program> {
    let commands = OWN.iter().map(|(name, specification)| Program {
        name: (*name).to_owned(),
        file: built().join(name).with_extension("wasm"),
        specification: serde_json::from_str(specification).unwrap(),
    });
    commands.collect()
}

/// Returns the folder of the project's own commands, which are built once.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Prebuilt for a user who can't build: see `.ci/run`.
        if let Some(built) = std::env::var_os("MPWASM_TEST_GUESTS") {
            return built.into();
        }
        let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/wasi");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--target",
                PREVIEW_1,
                "--target-dir",
                target,
            ])
            .arg("--manifest-path")
            .arg(repository().join("guests/wasi-calls/Cargo.toml"))
            .env_remove("RUSTFLAGS") // they are meant for native code
            .status()
            .unwrap();
        assert!(status.success());
        Path::new(target).join(PREVIEW_1).join("release")
    })
}

/// Returns the programs in a checkout of the public suite.
pub fn public(checkout: &Path) -> Suite {
    let mut suite = Suite::default();
    find(&checkout.join("tests"), &mut suite);
    suite.programs.sort_by(|one, other| one.name.cmp(&other.name));
    suite.skipped.sort();
    suite
}

/// Finds the programs in a folder and below.
fn find(folder: &Path, suite: &mut Suite) {
    let is_preview_1 = folder.ends_with(PREVIEW_1);
    let mut others = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            find(&file, suite);
        } else if file.extension().is_none_or(|ending| ending != "wasm") {
            // It is a specification, a source file, or a file that a program reads.
        } else if is_preview_1 {
            let name = file.display().to_string();
            match Specification::beside(&file) {
                Ok(specification) => suite.programs.push(Program {
                    name,
                    file,
                    specification,
                }),
                Err(why) => suite.skipped.push(format!("{name}: its specification: {why}")),
            }
        } else {
            others += 1;
        }
    }
    if others > 0 {
        let folder = folder.display();
        suite.skipped.push(format!(
            "{folder}: {others} programs, which are not for preview 1"
        ));
    }
}
