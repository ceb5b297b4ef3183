//! The arrows between the crates of `runtime/`, which go one way.

use serde_json::Value;

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
    (
        "mpwasm-host",
        &[
            "mpwasm-types",
            "mpwasm-system",
            "mpwasm-protocol",
            "mpwasm-sandbox",
            "mpwasm-engine",
            "mpwasm-scheduler",
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
const PURE: &[&str] = &["mpwasm-types", "mpwasm-scheduler", "mpwasm-report"];

/// Crates for I/O, which those that do none must not depend on.
const IO: &[&str] = &["libc", "rustix", "tokio"];

/// What is wrong with the dependencies of the crates of `runtime/`, which `cargo metadata` describes.
pub fn faults(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let in_runtime: Vec<_> = packages
        .iter()
        .filter(|package| text(&package["manifest_path"]).contains("/runtime/"))
        .map(|package| (text(&package["name"]), package))
        .collect();
    let mut faults = Vec::new();
    for (name, package) in &in_runtime {
        let Some((_, allowed)) = ARROWS.iter().find(|(of, _)| of == name) else {
            faults.push(format!(
                "{name}: xtask/src/structure/crates.rs does not say which crates it may depend on"
            ));
            continue;
        };
        for dependency in dependencies(package) {
            let is_ours = in_runtime.iter().any(|(ours, _)| *ours == dependency);
            if is_ours && !allowed.contains(&dependency) {
                faults.push(format!("{name} must not depend on {dependency}"));
            }
            if PURE.contains(name) && IO.contains(&dependency) {
                faults.push(format!("{name} does no I/O, and must not depend on {dependency}"));
            }
        }
    }
    for (name, _) in ARROWS {
        if !in_runtime.iter().any(|(ours, _)| ours == name) {
            faults.push(format!(
                "{name}: xtask/src/structure/crates.rs names it, but there is no such crate"
            ));
        }
    }
    faults
}

/// What a crate depends on when it is built. Its tests may depend on any crate.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The metadata of all crates of [`ARROWS`], of which one has this dependency.
    fn with(name: &str, dependency: Value) -> Value {
        let package = |of: &str| {
            let dependencies = if of == name {
                vec![dependency.clone()]
            } else {
                Vec::new()
            };
            json!({"name": of, "manifest_path": format!("/x/runtime/{of}/Cargo.toml"), "dependencies": dependencies})
        };
        json!({"packages": ARROWS.iter().map(|(of, _)| package(of)).collect::<Vec<_>>()})
    }

    #[test]
    fn an_arrow_against_the_order_is_a_fault() {
        let against = json!({"name": "mpwasm-sandbox", "kind": null});
        assert_eq!(
            faults(&with("mpwasm-engine", against)),
            ["mpwasm-engine must not depend on mpwasm-sandbox"]
        );
        let along = json!({"name": "mpwasm-system", "kind": null});
        assert_eq!(faults(&with("mpwasm-engine", along)), [""; 0]);
        let of_tests = json!({"name": "mpwasm-sandbox", "kind": "dev"});
        assert_eq!(faults(&with("mpwasm-engine", of_tests)), [""; 0]);
    }

    #[test]
    fn a_crate_without_io_has_no_dependency_for_io() {
        let libc = json!({"name": "libc", "kind": null});
        assert_eq!(faults(&with("mpwasm-scheduler", libc.clone())).len(), 1);
        assert_eq!(faults(&with("mpwasm-host", libc)), [""; 0]);
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
        let mut metadata = with("", json!(null));
        metadata["packages"][0]["name"] = "mpwasm-new".into();
        let faults = faults(&metadata);
        assert!(faults[0].starts_with("mpwasm-new: "), "{faults:?}");
        assert!(faults[1].starts_with("mpwasm-types: "), "{faults:?}");
    }
}
