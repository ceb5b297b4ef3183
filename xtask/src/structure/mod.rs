//! The step `structure`: which crates and files may use which, how long files may be, that types have names of
//! their own, which lints are on, and that dependencies are built once.

mod circles;
mod crates;
mod features;
mod files;
mod lints;
mod names;
mod sources;
mod tokens;

use anyhow::{Result, bail};

use crate::repository::Repository;

/// Checks the crates and files of the product; the error names each fault.
pub fn check(repository: &Repository) -> Result<()> {
    let mut faults = crates::faults(&repository.metadata);
    faults.extend(circles::find(&repository.root, &repository.source_folders())?);
    faults.extend(files::faults(&repository.root)?);
    faults.extend(names::faults(&repository.root)?);
    faults.extend(lints::faults(&repository.root)?);
    faults.extend(features::faults()?);
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} faults of structure", faults.len());
}
