//! The length of product files, and that each is compiled once.

use std::path::Path;

use anyhow::Result;

use super::sources::{self, Source};

/// Longest product file, in lines.
const LONGEST: usize = 500;

/// Folders with product code.
const PRODUCT: &[&str] = &["runtime", "guest-sdk", "guests", "examples", "xtask"];

/// Files that are longer, and how long each may be at most. A file that is no longer too long must go from this list.
const EXCEPTIONS: &[(&str, usize)] = &[];

/// What is wrong with the product files below `root`.
pub fn faults(root: &Path) -> Result<Vec<String>> {
    let sources = sources::of_product(root, PRODUCT)?;
    Ok(faults_of(&sources, EXCEPTIONS))
}

fn faults_of(sources: &[Source], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source { path, text } in sources {
        let lines = text.lines().count();
        let exception = exceptions.iter().find(|(name, _)| name == path);
        let most = exception.map_or(LONGEST, |(_, most)| *most);
        if lines > most {
            faults.push(format!("{path} has {lines} lines, more than {most}"));
        } else if lines <= LONGEST && exception.is_some() {
            faults.push(format!(
                "{path} has {lines} lines: remove it from the exceptions in xtask/src/structure/files.rs"
            ));
        }
        if text.lines().any(|line| line.trim_start().starts_with("#[path")) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source {
            path: path.to_owned(),
            text: "\n".repeat(lines),
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
            text: "#[path = \"b.rs\"]\nmod b;\n".to_owned(),
            ..source("a.rs", 0)
        };
        assert_eq!(faults_of(&[includes], &[]).len(), 1);
    }
}
