//! Running other programs: their output goes where ours goes, and a failure names the command line.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::{Artifact, Message};

/// Variables that `cargo run` sets for this program, and that a program started from a shell does not have.
const SET_BY_CARGO_RUN: &[&str] = &[
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "LD_LIBRARY_PATH",
];

/// A command without the variables that `cargo run` has set for this program.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let is_set_by_cargo = name.to_str().is_some_and(|name| {
            SET_BY_CARGO_RUN.contains(&name)
                || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_BIN_")
        });
        if is_set_by_cargo {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo ARGS...`.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = command("cargo");
    command.args(args);
    command
}

/// Runs a build, `cargo ARGS...`, and returns what it made, whether that was there before or not.
pub fn artifacts(args: &[&str]) -> Result<Vec<Artifact>> {
    let messages = cargo(args)
        .args(["--message-format", "json-render-diagnostics"])
        .stdout_of()?;
    artifacts_in(&messages)
}

fn artifacts_in(messages: &str) -> Result<Vec<Artifact>> {
    let mut artifacts = Vec::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message? {
            artifacts.push(artifact);
        }
    }
    Ok(artifacts)
}

/// Ways to run a command to its end.
pub trait Run {
    /// Shows the command line and runs it; an exit code other than 0 is an error.
    fn run(&mut self) -> Result<()>;

    /// As [`run`](Self::run), and returns what the command wrote to stdout.
    fn stdout_of(&mut self) -> Result<String>;

    /// Whether the command can be started and exits with 0. Its output is discarded.
    fn succeeds(&mut self) -> bool;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let line = show(self);
        eprintln!("$ {line}");
        let status = self.status().with_context(|| format!("cannot start `{line}`"))?;
        if !status.success() {
            bail!("`{line}` ended with {status}");
        }
        Ok(())
    }

    fn stdout_of(&mut self) -> Result<String> {
        let line = show(self);
        eprintln!("$ {line}");
        let output = self
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{line}`"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            eprint!("{text}");
            bail!("`{line}` ended with {}", output.status);
        }
        Ok(text)
    }

    fn succeeds(&mut self) -> bool {
        let quiet = self
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }
}

/// The command as a line for a shell, without quoting: variables, program, arguments.
pub fn show(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        // PATH is long, and does not matter to somebody who repeats the command.
        if let Some(value) = value
            && name != "PATH"
        {
            let _ = write!(line, "{}={:?} ", name.to_string_lossy(), value.to_string_lossy());
        }
    }
    line += &command.get_program().to_string_lossy();
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_found_in_the_messages_of_a_build() {
        let artifact = r#"{"reason":"compiler-artifact","package_id":"run 0.1.0","manifest_path":"/r/Cargo.toml",
            "target":{"kind":["test"],"crate_types":["bin"],"name":"run","src_path":"/r/main.rs","edition":"2024",
            "doc":false,"doctest":false,"test":true},"profile":{"opt_level":"3","debuginfo":0,"debug_assertions":false,
            "overflow_checks":false,"test":true},"features":[],"filenames":["/t/run-1"],"executable":"/t/run-1",
            "fresh":true}"#;
        let messages = format!(
            "{}\nprinted by a macro\n{}\n",
            artifact.replace('\n', ""),
            r#"{"reason":"build-finished","success":true}"#
        );
        let artifacts = artifacts_in(&messages).unwrap();
        assert_eq!(artifacts.len(), 1);
        assert_eq!(artifacts[0].executable.as_ref().unwrap(), "/t/run-1");
    }

    #[test]
    fn a_failure_names_the_command_line() {
        let error = command("false").arg("x").env("A", "b").run().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`A=\"b\" false x` ended with exit status: 1"),
            "{error}"
        );
        let error = command("/nowhere").run().unwrap_err();
        assert_eq!(error.to_string(), "cannot start `/nowhere`");
    }
}
