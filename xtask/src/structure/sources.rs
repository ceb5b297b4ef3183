//! The source files of the product.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A Rust source file of the product.
#[derive(Debug)]
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    pub text: String,
}

/// Returns the Rust files in these folders below `root`, by their paths. Tests and what was built are left out, and links: what
/// they lead to is in the repository itself.
pub fn of_product(root: &Path, folders: &[&str]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), &mut sources)?;
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if entry.file_type()?.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !["tests", "target"].contains(&&*name) {
                collect(root, &path, sources)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sources.push(Source {
                path: path.strip_prefix(root)?.to_string_lossy().into_owned(),
                text,
            });
        }
    }
    Ok(())
}

#[test]
fn tests_links_and_what_was_built_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    for path in [
        "b/src/a.rs",
        "a/src/b.rs",
        "a/src/tests.rs",
        "a/tests/c.rs",
        "a/target/d.rs",
        "a/e.txt",
        "c/f.rs",
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    std::os::unix::fs::symlink("../e.txt", root.path().join("a/src/link.rs")).unwrap();
    let sources = of_product(root.path(), &["a", "b"]).unwrap();
    let paths: Vec<_> = sources.iter().map(|source| &*source.path).collect();
    assert_eq!(paths, ["a/src/b.rs", "b/src/a.rs"]);
}
