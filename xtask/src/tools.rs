//! Subcommands of cargo that a machine may not have. They are installed into the target folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{Run as _, cargo};

/// A subcommand of cargo, from the PATH or from `target/tools`.
#[derive(Debug)]
pub struct CargoTool {
    subcommand: &'static str,
    path: OsString,
}

impl CargoTool {
    /// Finds `cargo SUBCOMMAND`, or installs this version of the crate `cargo-SUBCOMMAND`.
    pub fn find_or_install(target: &Path, subcommand: &'static str, version: &str) -> Result<Self> {
        let tools = target.join("tools");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = [tools.join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path))
            .collect();
        let tool = Self {
            subcommand,
            path: std::env::join_paths(folders)?,
        };
        if !tool.command(&["--version"]).succeeds() {
            // Without optimization, as it runs for seconds and is optimized for minutes.
            cargo(&["install", "--locked", "--debug", "--version", version])
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .arg(format!("cargo-{subcommand}"))
                .arg("--root")
                .arg(&tools)
                .run()?;
        }
        Ok(tool)
    }

    /// `cargo SUBCOMMAND ARGS...`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = cargo(&[self.subcommand]);
        command.args(args).env("PATH", &self.path);
        command
    }

    /// Makes the command find the subcommand too.
    pub fn provide_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("PATH", &self.path)
    }
}
