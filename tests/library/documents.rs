//! Checks that each test and file that a document names exists.

use std::path::{Path, PathBuf};

use crate::support::repository;

/// Test programs, whose names begin the names of their tests.
const PROGRAMS: [&str; 5] = ["faults", "hostile", "jail", "library", "run"];

/// Returns the names of tests in a document: the text between backticks that begins with a test program or a crate.
fn tests(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|name| {
            let first = name.split("::").next().unwrap_or_default();
            name.contains("::")
                && (PROGRAMS.contains(&first) || (sources(first).is_some() && name.contains("::tests::")))
        })
        .collect()
}

/// Returns the folder with the sources of a crate, by its name in Rust.
fn sources(name: &str) -> Option<PathBuf> {
    let folder = match name {
        "mpwasm" => "runtime/pool".to_owned(),
        "mpwasm_fuzzing" => "tests/fuzzing".to_owned(),
        _ => format!("runtime/{}", name.strip_prefix("mpwasm_")?),
    };
    Some(repository().join(folder).join("src")).filter(|sources| sources.is_dir())
}

/// Returns the file of a module. A module `tests` may stand in the file of the module above it.
fn module(folder: &Path, modules: &[&str]) -> Option<PathBuf> {
    let path = folder.join(modules.join("/"));
    let own = [path.with_extension("rs"), path.join("mod.rs")];
    own.into_iter()
        .find(|file| file.is_file())
        .or_else(|| match modules {
            ["tests"] => Some(folder.join("lib.rs")),
            [above @ .., "tests"] => module(folder, above),
            _ => None,
        })
}

/// Returns whether a test `first::module::name` exists, or one that begins with what stands before a `*`.
fn exists(test: &str) -> bool {
    let parts: Vec<_> = test.split("::").collect();
    let [first, ref modules @ .., name] = parts[..] else {
        return false;
    };
    let folder = sources(first).unwrap_or_else(|| repository().join("tests").join(first));
    if modules.is_empty() {
        return name == "*" && folder.is_dir();
    }
    let function = match name.strip_suffix('*') {
        Some("") => String::new(),
        Some(beginning) => format!("fn {beginning}"),
        None => format!("fn {name}("),
    };
    module(&folder, modules)
        .and_then(|file| std::fs::read_to_string(file).ok())
        .is_some_and(|source| source.contains(&function))
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (document, at_least) in [("docs/coming-from-python.md", 40), ("SECURITY.md", 10)] {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        let named = tests(&text);
        assert!(named.len() >= at_least, "{document}: {named:?}");
        let missing: Vec<_> = named.into_iter().filter(|test| !exists(test)).collect();
        assert!(
            missing.is_empty(),
            "{document} names tests that do not exist: {missing:#?}"
        );
    }
    assert!(exists("library::documents::every_*"));
    for nothing in [
        "library::documents::no_such_test",
        "library::nothing::*",
        "nothing::*",
        "mpwasm_engine::wasi::tests::no_such_test",
        "mpwasm_engine::nothing::tests::*",
    ] {
        assert!(!exists(nothing), "{nothing}");
    }
}

#[test]
fn every_stop_of_a_task_is_a_function_in_a_file() {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let stops = text.lines().filter(|line| {
        line.split_once(". `")
            .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    });
    let mut count = 0;
    for stop in stops {
        let quoted: Vec<_> = stop.split('`').skip(1).step_by(2).collect();
        let source = std::fs::read_to_string(repository().join(quoted[0])).unwrap_or_default();
        let function = quoted[1];
        assert!(
            source.contains(&format!("fn {function}(")) || source.contains(&format!("fn {function}<")),
            "{stop}"
        );
        count += 1;
    }
    assert!((5..=10).contains(&count), "{count}");
}

#[test]
fn every_file_that_a_document_names_exists() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "PERFORMANCE.md",
        "SECURITY.md",
        "SUPPORT.md",
        "fuzz/README.md",
    ];
    for document in documents {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let paths = quoted.filter(|text| {
            let folders = [
                "runtime/",
                "tests/",
                "guest-sdk/",
                "guests/",
                "fuzz/",
                "docs/",
                "benches/",
            ];
            folders.iter().any(|folder| text.starts_with(folder)) && !text.contains([' ', '*'])
        });
        let linked = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next());
        let linked = linked.filter(|link| !link.is_empty() && !link.contains("://"));
        let folder = repository().join(document).parent().unwrap().to_owned();
        let missing: Vec<_> = paths
            .filter(|path| !repository().join(path).exists())
            .chain(linked.filter(|link| !folder.join(link).exists()))
            .collect();
        assert!(
            missing.is_empty(),
            "{document} names files that do not exist: {missing:#?}"
        );
    }
}
