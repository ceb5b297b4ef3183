//! The compiler flags of a build, where the user has given none.
//!
//! Guests are compiled with SIMD, which the engine has on every processor and which makes numeric code up to three times as
//! fast. cargo takes flags from one source only, so they are added only where neither the environment nor a configuration
//! file of cargo gives any.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable by which cargo takes flags for the target of guests.
const VARIABLE: &str = "CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS";
/// The flags of a build that has no others.
const FLAGS: &str = "-C target-feature=+simd128";

/// Adds the flags to the build of the crate in `dir`, unless the user gives flags for it.
pub fn add(command: &mut Command, dir: &Path) {
    let home = env::var_os("CARGO_HOME").filter(|value| !value.is_empty());
    let home = home
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    if !are_given(env::var_os(VARIABLE).as_deref(), dir, home.as_deref()) {
        command.env(VARIABLE, FLAGS);
    }
}

/// Returns whether there are flags in the variable with this value, which may be empty, or in a configuration file that
/// cargo reads in `dir`.
fn are_given(variable: Option<&OsStr>, dir: &Path, home: Option<&Path>) -> bool {
    let folders = dir.ancestors().map(|folder| folder.join(".cargo"));
    let mut files = folders
        .chain(home.map(Path::to_owned))
        .flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)));
    variable.is_some() || files.any(|file| fs::read_to_string(file).is_ok_and(|text| has_flags(&text)))
}

/// Returns whether a configuration file of cargo sets flags, for whatever target.
fn has_flags(text: &str) -> bool {
    text.lines()
        .any(|line| !line.trim_start().starts_with('#') && line.contains("rustflags"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_only_where_the_user_gives_none() {
        let root = tempfile::tempdir().unwrap();
        let (dir, home) = (root.path().join("a/b"), root.path().join("home"));
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let given = |variable: Option<&str>| are_given(variable.map(OsStr::new), &dir, Some(&home));
        assert!(!given(None));
        assert!(given(Some("-C opt-level=1")));
        assert!(given(Some("")), "the user wants none");
        write("a/.cargo/config.toml", "# rustflags = []\n[build]\njobs = 1\n");
        assert!(!given(None));
        for file in ["a/.cargo/config.toml", "a/b/.cargo/config", "home/config.toml"] {
            write(file, "[target.wasm32-wasip1]\n rustflags = []\n");
            assert!(given(None), "{file}");
            fs::remove_file(root.path().join(file)).unwrap();
        }
        assert!(!given(None));
    }
}
