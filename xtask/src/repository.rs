//! The checkout that the tasks work on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, show};

/// Where things are in the checkout, as cargo says.
#[derive(Debug)]
pub struct Repository {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// The target folder.
    pub target: PathBuf,
    /// What `cargo metadata --no-deps` says.
    pub metadata: Value,
}

impl Repository {
    /// Asks cargo about the workspace of the working directory.
    pub fn find() -> Result<Self> {
        let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
        let line = show(&command);
        let output = command
            .output()
            .with_context(|| format!("cannot start `{line}`"))?;
        anyhow::ensure!(
            output.status.success(),
            "`{line}` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let path = |field: &str| {
            let path = metadata[field].as_str().map(PathBuf::from);
            path.with_context(|| format!("`{line}` does not say {field}"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            metadata,
        })
    }

    /// The folders with the root of a library or a program, each with its modules.
    pub fn source_folders(&self) -> BTreeSet<PathBuf> {
        let packages = self.metadata["packages"].as_array();
        let targets = packages
            .into_iter()
            .flatten()
            .filter_map(|package| package["targets"].as_array());
        let roots = targets.flatten().filter_map(|target| target["src_path"].as_str());
        roots
            .map(PathBuf::from)
            .filter(|root| root.ends_with("lib.rs") || root.ends_with("main.rs"))
            .filter_map(|root| root.parent().map(PathBuf::from))
            .collect()
    }
}
