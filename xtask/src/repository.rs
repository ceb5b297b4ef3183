//! The checkout that the tasks work on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use cargo_metadata::{Metadata, MetadataCommand};

/// Where things are in the checkout, as cargo says.
#[derive(Debug)]
pub struct Repository {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// The target folder.
    pub target: PathBuf,
    /// What `cargo metadata --no-deps` says.
    pub metadata: Metadata,
}

impl Repository {
    /// Asks cargo about the workspace of the working directory.
    pub fn find() -> Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec()?;
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            metadata,
        })
    }

    /// The folders with the root of a library or a program, each with its modules.
    pub fn source_folders(&self) -> BTreeSet<PathBuf> {
        let targets = self.metadata.packages.iter().flat_map(|package| &package.targets);
        targets
            .map(|target| &target.src_path)
            .filter(|root| root.ends_with("lib.rs") || root.ends_with("main.rs"))
            .filter_map(|root| root.parent().map(PathBuf::from))
            .collect()
    }
}
