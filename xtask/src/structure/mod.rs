//! The step `structure`: which crates may use which, and how long files may be.

mod crates;
mod files;

use anyhow::{Result, bail};

use crate::repository::Repository;

/// Checks the crates and files of the product; the error names each fault.
pub fn check(repository: &Repository) -> Result<()> {
    let mut faults = crates::faults(&repository.metadata);
    faults.extend(files::faults(&repository.root)?);
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} faults of structure", faults.len());
}
