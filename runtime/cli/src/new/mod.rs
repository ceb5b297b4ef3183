//! `mpwasm new NAME`: writes a guest crate that builds and runs at once, wherever it is put.
//!
//! The crate is made from the files in `template/`. The SDK, which no registry has, comes along as a path
//! dependency: its sources are those of `guest-sdk/`, as they were when this binary was built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mpwasm::escape::Untrusted;

/// What stands for the crate's name in the template.
const NAME: &str = "{{name}}";

/// The files of the new crate. A template ends in `.in`, lest cargo takes its directory for a crate.
const TEMPLATE: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    (".gitignore", include_str!("template/gitignore.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
];

/// Where the SDK goes in the new crate; the template's manifest names it.
const SDK: &str = "mpwasm-guest";

const SDK_MANIFEST: &str = include_str!("template/sdk.toml.in");
const WORKSPACE_MANIFEST: &str = include_str!("template/workspace.toml.in");
/// Goes along, so that `cargo fmt` in the new crate leaves the SDK as it is.
const RUSTFMT: &str = include_str!("template/rustfmt.toml.in");

macro_rules! sdk_sources {
    ($($file:literal),* $(,)?) => {
        [$(($file, include_str!(concat!("template/sdk/", $file)))),*]
    };
}

/// The SDK's sources: every file of `guest-sdk/src/`, which a test makes sure of.
const SDK_SOURCES: [(&str, &str); 11] = sdk_sources![
    "call.rs",
    "context.rs",
    "error.rs",
    "export.rs",
    "fit.rs",
    "host.rs",
    "lib.rs",
    "raw.rs",
    "task.rs",
    "task_error.rs",
    "testing.rs",
];

/// Writes the guest crate `name` into the directory `parent`; the crate's directory.
///
/// # Errors
///
/// `name` is no name that cargo takes, there is something of that name already, or it cannot be written. What
/// was written until then is removed.
pub fn new(name: &str, parent: &Path) -> Result<PathBuf> {
    check_name(name)?;
    let dir = parent.join(name);
    let shown = Untrusted::from(&dir);
    // Not `create_dir_all`: that it is not there yet must hold at the moment when it is made.
    fs::create_dir(&dir).with_context(|| format!("{shown} cannot be made"))?;
    if let Err(error) = write_crate(name, &dir) {
        // Whether this works or not, the error that counts is the first one.
        let _ = fs::remove_dir_all(&dir);
        return Err(error).with_context(|| format!("{shown} cannot be written"));
    }
    Ok(dir)
}

fn write_crate(name: &str, dir: &Path) -> Result<()> {
    fs::create_dir(dir.join("src"))?;
    for (file, text) in TEMPLATE {
        fs::write(dir.join(file), text.replace(NAME, name))?;
    }
    let sdk = dir.join(SDK);
    fs::create_dir_all(sdk.join("src"))?;
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

/// Refuses what cargo would refuse as the name of a package, or what would not build as this one.
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

/// Rust's keywords, reserved ones included, so far as they are lower-case ASCII.
const KEYWORDS: [&str; 53] = [
    "_", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "Self",
    "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

/// Crates that every guest of the template sees under these names, and directories that cargo makes.
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

/// The manifest of a workspace's member as that of a crate for itself: what it inherits is spelled out, and the
/// workspace's lints, which are for those who work on the SDK, are left out.
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

/// The value of a key, as it is written, in `[workspace.package]`.
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
    fn the_sdk_comes_along_whole() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/new/template/sdk");
        let there: BTreeSet<_> = fs::read_dir(sources)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded: BTreeSet<_> = SDK_SOURCES.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert_eq!(there, embedded, "SDK_SOURCES lists every file of guest-sdk/src");
        for (file, text) in SDK_SOURCES {
            // A file that the SDK includes from elsewhere would be missing in the new crate.
            assert!(!text.contains(concat!("include", "_")), "{file}");
        }
    }

    #[test]
    fn the_sdks_manifest_stands_for_itself() {
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
    fn what_is_inherited_is_spelled_out() {
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
        assert!(read("mpwasm-guest/src/lib.rs").contains("pub trait Model"));
        for file in ["Cargo.toml", "src/lib.rs"] {
            assert!(!read(file).contains("{{"), "{file}");
        }
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
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
