//! `mpwasm new NAME`: creates a guest crate that builds and runs without further files.
//!
//! Its files come from `template/`. The SDK is copied as a path dependency, as no registry has it: `template/sdk` links to the
//! sources in `guest-sdk/`, which are compiled into this binary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mpwasm::escape::Untrusted;

/// Placeholder of the crate's name in the template.
const NAME: &str = "{{name}}";

/// The files of the new crate. A template's name ends in `.in`, so that cargo does not take its directory for a crate.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    (
        ".cargo/config.toml",
        include_str!("template/cargo-config.toml.in"),
    ),
    (".gitignore", include_str!("template/gitignore.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
];

/// The folder of the SDK in the new crate, which the template's manifest names.
const SDK: &str = "mpwasm-guest";

const SDK_MANIFEST: &str = include_str!("template/sdk.toml.in");
const WORKSPACE_MANIFEST: &str = include_str!("template/workspace.toml.in");
/// Copied too, so that `cargo fmt` in the new crate does not change the SDK.
const RUSTFMT: &str = include_str!("template/rustfmt.toml.in");

macro_rules! sdk_sources {
    ($($file:literal),* $(,)?) => {
        [$(($file, include_str!(concat!("template/sdk/", $file)))),*]
    };
}

/// The SDK's sources: every file of `guest-sdk/src/`. A test checks that none is missing.
const SDK_SOURCES: [(&str, &str); 25] = sdk_sources![
    "call.rs",
    "context.rs",
    "error.rs",
    "export.rs",
    "fit.rs",
    "host.rs",
    "initialize.rs",
    "lib.rs",
    "model.rs",
    "native_host.rs",
    "objects/dict.rs",
    "objects/error.rs",
    "objects/list.rs",
    "objects/lock.rs",
    "objects/mod.rs",
    "objects/number.rs",
    "objects/pipe.rs",
    "objects/queue.rs",
    "objects/reference.rs",
    "objects/tests.rs",
    "objects/waiting.rs",
    "raw.rs",
    "task.rs",
    "task_error.rs",
    "testing.rs",
];

/// Creates the guest crate `name` in the directory `parent` and returns its directory.
///
/// # Errors
///
/// When `name` is no valid name, exists already, or a file can't be written. Files written until then are removed.
pub fn new(name: &str, parent: &Path) -> Result<PathBuf> {
    check_name(name)?;
    let dir = parent.join(name);
    let shown = Untrusted::from(&dir);
    // Not `create_dir_all`, which accepts a directory that exists.
    fs::create_dir(&dir).with_context(|| format!("{shown} cannot be made"))?;
    if let Err(error) = write_crate(name, &dir) {
        // The first error is reported, whether or not this succeeds.
        let _ = fs::remove_dir_all(&dir);
        return Err(error).with_context(|| format!("{shown} cannot be written"));
    }
    Ok(dir)
}

fn write_crate(name: &str, dir: &Path) -> Result<()> {
    for folder in ["src", ".cargo"] {
        fs::create_dir(dir.join(folder))?;
    }
    for (file, text) in TEMPLATE {
        fs::write(dir.join(file), text.replace(NAME, name))?;
    }
    let sdk = dir.join(SDK);
    fs::create_dir_all(sdk.join("src/objects"))?;
    fs::write(
        sdk.join("Cargo.toml"),
        standalone(SDK_MANIFEST, WORKSPACE_MANIFEST)?,
    )?;
    fs::write(sdk.join("rustfmt.toml"), RUSTFMT)?;
    for (file, text) in SDK_SOURCES {
        fs::write(sdk.join("src").join(file), text)?;
    }
    Ok(())
}

/// Refuses a name that cargo refuses for a package, or with which this crate would not build.
fn check_name(name: &str) -> Result<()> {
    let refuse = |why: &str| bail!("{name:?} cannot be the name of a guest crate: {why}");
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return refuse("it has to begin with an ASCII letter or `_`");
    }
    if !name
        .chars()
        .all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
    {
        return refuse("it may contain ASCII letters, digits, `_` and `-` only");
    }
    if name.len() > 64 {
        return refuse("it is longer than 64 characters");
    }
    if KEYWORDS.contains(&name) {
        return refuse("it is a keyword of Rust");
    }
    if TAKEN.contains(&name.replace('-', "_").as_str()) {
        return refuse("a crate or a directory of cargo has that name already");
    }
    Ok(())
}

/// Rust's keywords, including reserved ones.
const KEYWORDS: [&str; 53] = [
    "_", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "Self",
    "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Names of crates that the template's guest depends on, and of directories that cargo creates.
const TAKEN: [&str; 14] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "mpwasm_guest",
    "proc_macro",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "std",
    "test",
];

/// Converts the manifest of a workspace's member to one that stands alone.
///
/// Inherited values are written out. The workspace's lints are removed, as they are for the development of the SDK.
fn standalone(member: &str, workspace: &str) -> Result<String> {
    let mut manifest = String::with_capacity(member.len() + 128);
    let mut section = "";
    for line in member.lines() {
        if line.starts_with('[') {
            section = line.trim_end();
        }
        if section == "[lints]" {
            continue;
        }
        match line.split_once(".workspace = true") {
            Some((key, "")) if section == "[package]" => {
                let value = workspace_value(key, workspace)
                    .with_context(|| format!("the workspace's manifest does not set `{key}`"))?;
                manifest.push_str(&format!("{key} = {value}\n"));
            }
            _ => {
                manifest.push_str(line);
                manifest.push('\n');
            }
        }
    }
    Ok(manifest)
}

/// Returns the value of a key in `[workspace.package]`, as it is written.
fn workspace_value<'a>(key: &str, workspace: &'a str) -> Option<&'a str> {
    workspace
        .lines()
        .skip_while(|line| line.trim_end() != "[workspace.package]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_sdk_is_embedded() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/new/template/sdk");
        let names = |folder: &str| -> Vec<String> {
            fs::read_dir(sources.join(folder))
                .unwrap()
                .map(|entry| format!("{folder}{}", entry.unwrap().file_name().to_str().unwrap()))
                .collect()
        };
        let mut there: BTreeSet<_> = names("").into_iter().collect();
        assert!(there.remove("objects"), "the only folder");
        there.extend(names("objects/"));
        let embedded: BTreeSet<_> = SDK_SOURCES.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert_eq!(there, embedded, "SDK_SOURCES lists every file of guest-sdk/src");
        for (file, text) in SDK_SOURCES {
            // A file that the SDK includes from another folder would be missing in the new crate.
            assert!(!text.contains(concat!("include", "_")), "{file}");
        }
    }

    #[test]
    fn the_sdks_manifest_stands_alone() {
        let manifest = standalone(SDK_MANIFEST, WORKSPACE_MANIFEST).unwrap();
        assert!(!manifest.contains("workspace ="), "{manifest}");
        assert!(!manifest.contains(".workspace"), "{manifest}");
        assert!(!manifest.contains("path ="), "{manifest}");
        for key in [
            "name = \"mpwasm-guest\"",
            "version = \"",
            "edition = \"",
            "serde = ",
            "serde_json = ",
        ] {
            assert!(
                manifest.lines().any(|line| line.starts_with(key)),
                "{key} in {manifest}"
            );
        }
    }

    #[test]
    fn inherited_values_are_written_out() {
        let member = "[package]\nname = \"m\"\nedition.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\n";
        let workspace = "edition = \"no\"\n[workspace.package]\n edition = \"2024\" \n[x]\nversion = \"1\"\n";
        assert_eq!(
            standalone(member, workspace).unwrap(),
            "[package]\nname = \"m\"\nedition = \"2024\"\n\n[dependencies]\n"
        );
        assert!(standalone("[package]\nversion.workspace = true\n", workspace).is_err());
    }

    #[test]
    fn a_new_crate_has_its_name_and_everything_it_needs() {
        let parent = tempfile::tempdir().unwrap();
        let dir = new("my-guest", parent.path()).unwrap();
        assert_eq!(dir, parent.path().join("my-guest"));
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
        assert!(read("Cargo.toml").contains("name = \"my-guest\""));
        assert!(read("Cargo.toml").contains("{ path = \"mpwasm-guest\" }"));
        assert!(read("src/lib.rs").contains("mpwasm run my-guest"));
        assert_eq!(read(".gitignore"), "/target\n");
        assert!(read(".cargo/config.toml").contains("+simd128"));
        assert!(read("mpwasm-guest/src/model.rs").contains("pub trait Model"));
        for file in ["Cargo.toml", "src/lib.rs"] {
            assert!(!read(file).contains("{{"), "{file}");
        }
    }

    #[test]
    fn an_existing_file_is_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("taken"), "mine").unwrap();
        let error = format!("{:#}", new("taken", parent.path()).unwrap_err());
        assert!(error.contains("cannot be made"), "{error}");
        assert_eq!(fs::read_to_string(parent.path().join("taken")).unwrap(), "mine");
    }

    #[test]
    fn names_are_those_that_cargo_takes() {
        for name in ["a", "resize-2", "_x", "Guest", "a".repeat(64).as_str()] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "-a",
            "2a",
            "a b",
            "a/b",
            "..",
            "ä",
            "a\n",
            "fn",
            "Self",
            "_",
            "serde",
            "serde-json",
            "mpwasm-guest",
            "test",
            "build",
            "a".repeat(65).as_str(),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
