//! The arrows between the crates of `runtime/`, which go one way.

use cargo_metadata::{Dependency, DependencyKind, Metadata};

/// Each crate of `runtime/`, and those of them that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("mpwasm-types", &[]),
    ("mpwasm-system", &["mpwasm-types"]),
    ("mpwasm-protocol", &["mpwasm-types", "mpwasm-system"]),
    (
        "mpwasm-sandbox",
        &["mpwasm-types", "mpwasm-system", "mpwasm-protocol"],
    ),
    ("mpwasm-engine", &["mpwasm-types", "mpwasm-system"]),
    ("mpwasm-scheduler", &["mpwasm-types"]),
    ("mpwasm-objects", &["mpwasm-types"]),
    (
        "mpwasm-host",
        &[
            "mpwasm-types",
            "mpwasm-system",
            "mpwasm-protocol",
            "mpwasm-sandbox",
            "mpwasm-engine",
            "mpwasm-scheduler",
            "mpwasm-objects",
        ],
    ),
    (
        "mpwasm",
        &[
            "mpwasm-types",
            "mpwasm-system",
            "mpwasm-protocol",
            "mpwasm-sandbox",
            "mpwasm-engine",
            "mpwasm-scheduler",
            "mpwasm-host",
        ],
    ),
    ("mpwasm-report", &["mpwasm-types"]),
    (
        "mpwasm-cli",
        &[
            "mpwasm-types",
            "mpwasm-system",
            "mpwasm-protocol",
            "mpwasm-sandbox",
            "mpwasm-engine",
            "mpwasm-scheduler",
            "mpwasm-host",
            "mpwasm",
            "mpwasm-report",
        ],
    ),
];

/// Crates that do no I/O.
const PURE: &[&str] = &[
    "mpwasm-types",
    "mpwasm-scheduler",
    "mpwasm-objects",
    "mpwasm-report",
];

/// Crates for I/O, which those that do none must not depend on.
const IO: &[&str] = &["libc", "rustix", "tokio"];

/// A crate of `runtime/`.
struct Crate {
    name: String,
    /// What it depends on when it is built. Its tests may depend on any crate.
    dependencies: Vec<String>,
}

/// What is wrong with the dependencies of the crates of `runtime/`.
pub fn faults(metadata: &Metadata) -> Vec<String> {
    let is_built = |dependency: &&Dependency| dependency.kind != DependencyKind::Development;
    let in_runtime: Vec<Crate> = metadata
        .packages
        .iter()
        .filter(|package| {
            package
                .manifest_path
                .starts_with(metadata.workspace_root.join("runtime"))
        })
        .map(|package| Crate {
            name: package.name.to_string(),
            dependencies: package
                .dependencies
                .iter()
                .filter(is_built)
                .map(|dependency| dependency.name.clone())
                .collect(),
        })
        .collect();
    faults_of(&in_runtime)
}

fn faults_of(crates: &[Crate]) -> Vec<String> {
    let mut faults = Vec::new();
    let exists = |wanted: &str| crates.iter().any(|one| one.name == wanted);
    for Crate { name, dependencies } in crates {
        let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| of == name) else {
            faults.push(format!(
                "{name}: xtask/src/structure/crates.rs does not say which crates it may depend on"
            ));
            continue;
        };
        for dependency in dependencies.iter().map(String::as_str) {
            if exists(dependency) && !allowed.contains(&dependency) {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
            if PURE.contains(&&**name) && IO.contains(&dependency) {
                faults.push(format!("{name} does no I/O, and must not depend on {dependency}"));
            }
        }
    }
    for (name, _) in ARROWS {
        if !exists(name) {
            faults.push(format!(
                "{name}: xtask/src/structure/crates.rs names it, but there is no such crate"
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    /// All crates of [`ARROWS`], of which one has this dependency.
    fn with(name: &str, dependency: &str) -> Vec<Crate> {
        let one = |of: &str| Crate {
            name: of.to_owned(),
            dependencies: (of == name).then(|| dependency.to_owned()).into_iter().collect(),
        };
        ARROWS.iter().map(|(of, _)| one(of)).collect()
    }

    #[test]
    fn an_arrow_against_the_order_is_a_fault() {
        assert_eq!(
            faults_of(&with("mpwasm-engine", "mpwasm-sandbox")),
            ["mpwasm-engine must not depend on mpwasm-sandbox"]
        );
        assert_eq!(faults_of(&with("mpwasm-engine", "mpwasm-system")), [""; 0]);
    }

    #[test]
    fn a_crate_without_io_has_no_dependency_for_io() {
        assert_eq!(faults_of(&with("mpwasm-scheduler", "libc")).len(), 1);
        assert_eq!(faults_of(&with("mpwasm-host", "libc")), [""; 0]);
    }

    #[test]
    fn crates_are_found_without_the_dependencies_of_their_tests() {
        let repository = Repository::find().unwrap();
        assert_eq!(faults(&repository.metadata), [""; 0]);
    }

    #[test]
    fn the_hash_of_a_build_covers_all_crates_of_a_child() {
        let build = include_str!("../../../runtime/protocol/build.rs");
        let host = ARROWS.iter().find(|(name, _)| *name == "mpwasm-host");
        let (host, below) = host.unwrap();
        for name in below.iter().chain([host]) {
            let folder = name.trim_start_matches("mpwasm-");
            assert!(
                build.contains(&format!("    \"{folder}\",\n")),
                "{name} is missing in runtime/protocol/build.rs"
            );
        }
    }

    #[test]
    fn a_crate_that_is_not_listed_is_a_fault() {
        let mut crates = with("", "");
        "mpwasm-new".clone_into(&mut crates[0].name);
        let faults = faults_of(&crates);
        assert!(faults[0].starts_with("mpwasm-new: "), "{faults:?}");
        assert!(faults[1].starts_with("mpwasm-types: "), "{faults:?}");
    }
}
