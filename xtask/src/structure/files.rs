//! The length of product files, and that each is compiled once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Longest product file, in lines.
const LONGEST: usize = 500;

/// Folders with product code.
const PRODUCT: &[&str] = &["runtime", "guest-sdk", "guests", "examples", "xtask"];

/// Files that are longer, and how long each may be at most. A file that is no longer too long must go from this list.
const EXCEPTIONS: &[(&str, usize)] = &[];

/// A Rust source file of the product.
struct Source {
    /// Relative to the repository.
    path: String,
    lines: usize,
    /// Whether it includes another file by `#[path]`.
    has_path_attribute: bool,
}

/// What is wrong with the product files below `root`.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    for folder in PRODUCT {
        collect(root, &root.join(folder), &mut sources)?;
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(faults_of(&sources, EXCEPTIONS))
}

fn faults_of(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source {
        path,
        lines,
        has_path_attribute,
    } in sources
    {
        let exception = exceptions.iter().find(|(name, _)| name == path);
        let most = exception.map_or(LONGEST, |(_, most)| *most);
        if *lines > most {
            faults.push(format!("{path} has {lines} lines, more than {most}"));
        } else if *lines <= LONGEST && exception.is_some() {
            faults.push(format!(
                "{path} has {lines} lines: remove it from the exceptions in xtask/src/structure/files.rs"
            ));
        }
        if *has_path_attribute {
            faults.push(format!(
                "{path} includes another file by #[path]: use a crate or a module"
            ));
        }
    }
    for (path, _) in exceptions {
        if !sources.iter().any(|source| source.path == *path) {
            faults.push(format!(
                "{path} is gone: remove it from the exceptions in xtask/src/structure/files.rs"
            ));
        }
    }
    faults
}

/// Adds the Rust files below `folder`, but for tests and what was built.
fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !["tests", "target"].contains(&&*name) {
                collect(root, &path, sources)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            sources.push(Source {
                path: path.strip_prefix(root)?.to_string_lossy().into_owned(),
                lines: text.lines().count(),
                has_path_attribute: text.lines().any(|line| line.trim_start().starts_with("#[path")),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source {
            path: path.to_owned(),
            lines,
            has_path_attribute: false,
        }
    }

    #[test]
    fn a_long_file_is_a_fault_unless_it_is_an_exception_and_has_not_grown() {
        let sources = [
            source("short.rs", LONGEST),
            source("long.rs", 501),
            source("old.rs", 600),
            source("grown.rs", 601),
        ];
        let faults = faults_of(&sources, &[("old.rs", 600), ("grown.rs", 600)]);
        assert_eq!(
            faults,
            [
                "long.rs has 501 lines, more than 500",
                "grown.rs has 601 lines, more than 600"
            ]
        );
    }

    #[test]
    fn an_exception_that_is_not_needed_any_more_is_a_fault() {
        let faults = faults_of(
            &[source("shrunk.rs", 400)],
            &[("shrunk.rs", 600), ("gone.rs", 600)],
        );
        assert!(
            faults[0].starts_with("shrunk.rs has 400 lines: remove it"),
            "{faults:?}"
        );
        assert!(faults[1].starts_with("gone.rs is gone: remove it"), "{faults:?}");
    }

    #[test]
    fn a_file_that_includes_another_is_a_fault() {
        let includes = Source {
            has_path_attribute: true,
            ..source("a.rs", 1)
        };
        assert_eq!(faults_of(&[includes], &[]).len(), 1);
    }
}
