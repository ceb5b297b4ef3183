//! The lints that each library of `runtime/` turns on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The attribute by which clippy refuses the macros and methods of `runtime/clippy.toml`. They would show text of others
/// unescaped.
const ATTRIBUTE: &str =
    "#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]";

/// Names the libraries in `runtime/` below `root` that lack the attribute.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("runtime");
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    let mut faults = Vec::new();
    for entry in entries {
        let library = entry?.path().join("src/lib.rs");
        if !library.exists() {
            continue;
        }
        let text =
            fs::read_to_string(&library).with_context(|| format!("cannot read {}", library.display()))?;
        if !text.lines().any(|line| line == ATTRIBUTE) {
            let path = library.strip_prefix(root)?.display();
            faults.push(format!("{path} must turn on the lints: {ATTRIBUTE}"));
        }
    }
    faults.sort();
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_without_the_lints_is_a_fault() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [("with", ATTRIBUTE), ("without", "//! Shows text.\n")] {
            let folder = root.path().join("runtime").join(name).join("src");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("lib.rs"), text).unwrap();
        }
        let faults = faults(root.path()).unwrap();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("runtime/without/src/lib.rs "), "{faults:?}");
    }
}
