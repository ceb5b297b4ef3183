//! What is to be published: the archive of each crate, the order of their publication, and their public APIs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, Package};

use super::context::Context;
use crate::command::{Run as _, cargo, command};
use crate::tools::CargoTool;

/// The crates whose APIs keep what they promise until a version says otherwise (SUPPORT.md). `cargo semver-checks` sees each crate
/// by itself. So `mpwasm-types` is one of them: most of the types that the library re-exports are there.
const STABLE: &[&str] = &["mpwasm", "mpwasm-types", "mpwasm-guest"];

/// Compiles each crate from its archive, rehearses their publication, and compares the APIs with those of the last release.
pub fn check(context: &Context) -> Result<()> {
    archives(context)?;
    publication(context)?;
    compatibility(context)
}

/// Makes the archive of each crate that is published, and compiles what is in them.
///
/// cargo can do both itself, but it makes all dependencies anew for each crate. Here the crates are members of one
/// workspace, whose dependencies are those that the step `clippy` has compiled.
fn archives(context: &Context) -> Result<()> {
    let metadata = &context.repository.metadata;
    let target = &context.repository.target;
    let folder = target.join("package/archives");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let packages: Vec<&Package> = published(metadata).collect();
    let names = packages.iter().flat_map(|package| ["-p", &**package.name]);
    cargo(&[
        "package",
        "--no-verify",
        "--exclude-lockfile",
        "--allow-dirty",
        "--quiet",
    ])
    .args(names)
    .run()?;
    for package in &packages {
        // The files get the time of now. Those in an archive are old, and cargo would take them for unchanged.
        command("tar")
            .args(["--touch", "-xzf"])
            .arg(target.join("package").join(archive_name(package) + ".crate"))
            .arg("-C")
            .arg(&folder)
            .run()?;
    }
    fs::write(folder.join("Cargo.toml"), workspace(&packages))?;
    fs::copy(
        metadata.workspace_root.join("Cargo.lock"),
        folder.join("Cargo.lock"),
    )?;
    let check = |args: &[&str]| {
        cargo(&["check", "--release", "--quiet", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .args(args)
            .run()
    };
    check(&["--workspace"])?;
    check(&["-p", "mpwasm-guest", "--target", "wasm32-wasip1"])
}

/// The packages that are published.
fn published(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let is_published = |package: &&Package| {
        package
            .publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    };
    metadata.packages.iter().filter(is_published)
}

/// The name of a package's archive without its ending, which is the name of the folder in it.
fn archive_name(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
}

/// The manifest of a workspace of unpacked archives, which use each other in place of those in the registry.
fn workspace(packages: &[&Package]) -> String {
    let mut members = String::new();
    let mut patches = String::new();
    for package in packages {
        let folder = archive_name(package);
        members += &format!("{folder:?}, ");
        patches += &format!("{} = {{ path = {folder:?} }}\n", package.name);
    }
    format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[patch.crates-io]\n{patches}")
}

/// Rehearses the publication, for which the registry must be within reach.
fn publication(context: &Context) -> Result<()> {
    if !command("timeout")
        .args(["60", "cargo", "info", "--quiet", "anyhow"])
        .succeeds()
    {
        context.not_checked("`cargo publish --dry-run`, as the registry cannot be reached from here");
        return Ok(());
    }
    cargo(&[
        "publish",
        "--workspace",
        "--dry-run",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ])
    .run()
}

/// Compares the stable APIs with those of the last release.
fn compatibility(context: &Context) -> Result<()> {
    let Some(release) = last_release(&context.repository.root)? else {
        context.not_checked("`cargo semver-checks`, as nothing was released yet: there is no tag v*");
        return Ok(());
    };
    let tool = CargoTool::find_or_install(&context.repository.target, "semver-checks", "^0.51")?;
    let packages = STABLE.iter().flat_map(|name| ["--package", name]);
    tool.command(&["--baseline-rev", &release]).args(packages).run()
}

/// The tag of the highest version among the ancestors of the checkout.
fn last_release(root: &Path) -> Result<Option<String>> {
    let tags = command("git")
        .arg("-C")
        .arg(root)
        .args([
            "tag",
            "--list",
            "v[0-9]*",
            "--merged",
            "HEAD",
            "--sort=-version:refname",
        ])
        .stdout_of()
        .context("the tags of releases cannot be listed")?;
    Ok(tags.lines().next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Repository;

    #[test]
    fn tests_and_guests_are_not_published() {
        let repository = Repository::find().unwrap();
        let names: Vec<_> = published(&repository.metadata)
            .map(|package| &**package.name)
            .collect();
        assert!(
            names.contains(&"mpwasm") && names.contains(&"mpwasm-guest"),
            "{names:?}"
        );
        assert!(!names.contains(&"xtask") && !names.contains(&"demo"), "{names:?}");
        for stable in STABLE {
            assert!(names.contains(stable), "{stable}");
        }
    }

    #[test]
    fn unpacked_archives_use_each_other() {
        let repository = Repository::find().unwrap();
        let types = published(&repository.metadata).find(|package| *package.name == "mpwasm-types");
        let types = types.unwrap();
        let folder = format!("mpwasm-types-{}", types.version);
        assert_eq!(
            workspace(&[types]),
            format!(
                "[workspace]\nresolver = \"3\"\nmembers = [\"{folder}\", ]\n\n[patch.crates-io]\nmpwasm-types = {{ path = \
                 \"{folder}\" }}\n"
            )
        );
    }

    #[test]
    fn the_last_release_is_the_highest_version() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let names = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
            command("git")
                .arg("-C")
                .arg(folder.path())
                .args(names)
                .args(args)
                .run()
                .unwrap();
        };
        git(&["init", "--quiet"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "A"]);
        assert_eq!(last_release(folder.path()).unwrap(), None);
        for tag in ["v0.9.0", "v0.10.0", "vision"] {
            git(&["tag", tag]);
        }
        assert_eq!(last_release(folder.path()).unwrap(), Some("v0.10.0".to_owned()));
    }
}
