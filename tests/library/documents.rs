//! What the documents claim: each test that they name is there.

use crate::support::repository;

/// The names of tests in a document: what stands between backticks and begins with the name of a test binary.
fn tests(text: &str) -> Vec<&str> {
    let binaries = ["faults::", "hostile::", "jail::", "library::", "run::"];
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|name| binaries.iter().any(|binary| name.starts_with(binary)))
        .collect()
}

/// Whether there is a test `binary::module::name`, or one that begins so before a `*`. Modules can be in modules.
fn exists(test: &str) -> bool {
    let parts: Vec<_> = test.split("::").collect();
    let tests = repository().join("tests");
    match parts[..] {
        [binary, "*"] => tests.join(binary).is_dir(),
        [ref modules @ .., name] if modules.len() >= 2 => {
            let source = tests.join(modules.join("/")).with_extension("rs");
            let function = match name.strip_suffix('*') {
                Some("") => String::new(),
                Some(beginning) => format!("fn {beginning}"),
                None => format!("fn {name}("),
            };
            std::fs::read_to_string(source).is_ok_and(|source| source.contains(&function))
        }
        _ => false,
    }
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (document, at_least) in [("docs/coming-from-python.md", 40), ("SECURITY.md", 10)] {
        let text = std::fs::read_to_string(repository().join(document)).unwrap();
        let named = tests(&text);
        assert!(named.len() >= at_least, "{document}: {named:?}");
        for test in named {
            assert!(exists(test), "{document} names {test}, which is not there");
        }
    }
    assert!(exists("library::documents::every_*"));
    for nothing in [
        "library::documents::no_such_test",
        "library::nothing::*",
        "nothing::*",
    ] {
        assert!(!exists(nothing), "{nothing}");
    }
}
