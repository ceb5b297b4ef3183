//! How a program is started and must end, in the suite's format, as defined in its `doc/specification.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::support::run_within;

/// A specification, in the older of the format's two forms, which all programs for preview 1 have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Specification {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// The directory that is granted as `/`, next to the program.
    root: Option<String>,
    exit_code: i32,
    stdout: Option<String>,
    stderr: Option<String>,
}

/// A program and its specification.
#[derive(Debug)]
pub struct Program {
    pub name: String,
    pub file: PathBuf,
    pub specification: Specification,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ending {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Specification {
    /// Reads the specification beside a program; the default one if there is none.
    ///
    /// # Errors
    /// When it has another form, or asks for something that is not supported here.
    pub fn beside(program: &Path) -> Result<Self, String> {
        match fs::read(program.with_extension("json")) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| error.to_string()),
            Err(_) => Ok(Self::default()),
        }
    }

    /// # Errors
    /// When the program ended in another way than it should.
    pub fn check(&self, ended: &Ending) -> Result<(), String> {
        let is =
            |expected: &Option<String>, stream: &String| expected.as_ref().is_none_or(|text| text == stream);
        let right = ended.code == Some(self.exit_code)
            && is(&self.stdout, &ended.stdout)
            && is(&self.stderr, &ended.stderr);
        match right {
            true => Ok(()),
            false => Err(format!("{ended:#?} is not {self:#?}")),
        }
    }
}

impl Ending {
    /// Runs a program with a command such as `mpwasm exec` or `wasmtime run`: both have the options that are needed. Its
    /// directory is a fresh copy.
    pub fn of(mut command: Command, program: &Program) -> Self {
        let specification = &program.specification;
        for (name, value) in &specification.env {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        let root = tempfile::tempdir().unwrap();
        if let Some(name) = &specification.root {
            // The directories of the project's own commands are empty and don't exist.
            let original = program.file.with_file_name(name);
            if original.exists() {
                copy(&original, root.path());
            }
            command.arg("--dir").arg(format!("{}::/", root.path().display()));
        }
        command.arg(&program.file).args(&specification.args);
        let output = run_within(Duration::from_secs(100), &mut command);
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}
