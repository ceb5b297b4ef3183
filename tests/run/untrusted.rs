//! Untrusted text, above all names of files and directories, never controls a terminal, whichever command shows it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::completed::on_a_terminal;
use crate::support::mpwasm;

/// A name that would set a terminal's title, and reverse the text after it.
const NAME: &str = "a\u{1b}]0;title\u{7}\u{202e}b";
/// The escaped form of the name.
const SHOWN: &str = r"a\u{1b}]0;title\u{7}\u{202e}b";

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = mpwasm();
    command.current_dir(folder).args(args);
    command
}

/// Asserts that the command shows these words on a terminal, and nothing that controls it.
#[track_caller]
fn assert_shown(command: Command, words: &str) {
    let shown = format!("{command:?}");
    let (terminal, _) = on_a_terminal(true, command);
    assert!(terminal.contains(words), "{shown}: {terminal:?}");
    for harmful in ["\u{1b}]", "\u{7}", "\u{202e}"] {
        assert!(!terminal.contains(harmful), "{shown}: {terminal:?}");
    }
}

/// Asserts that the command shows the name on a terminal in its escaped form.
#[track_caller]
fn assert_escaped(command: Command) {
    assert_shown(command, SHOWN);
}

/// Returns a folder that contains a crate of that name, with a manifest that cargo does not accept.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let crate_folder = folder.path().join(NAME);
    fs::create_dir(&crate_folder).unwrap();
    fs::write(crate_folder.join("Cargo.toml"), "[package]\nname = 1\n").unwrap();
    fs::write(folder.path().join(format!("{NAME}.wasm")), "no module").unwrap();
    folder
}

#[test]
fn a_crate_that_is_built_is_named_escaped_by_us_and_by_cargo() {
    let folder = folder();
    assert_escaped(command(folder.path(), &["build", NAME]));
    assert_escaped(command(folder.path(), &["run", NAME]));
    assert_escaped(command(folder.path(), &["run", "--no-build", NAME]));
}

#[test]
fn a_path_that_is_the_answer_is_escaped_on_a_terminal_and_exact_in_a_pipe() {
    let folder = folder();
    let path = format!("{NAME}/new_guest");
    assert_escaped(command(folder.path(), &["new", &path]));
    let path = format!("{NAME}/other_guest");
    let (_, stdout) = on_a_terminal(false, command(folder.path(), &["new", &path]));
    assert_eq!(stdout, format!("{path}\n"));
}

#[test]
fn files_that_can_not_be_used_are_named_escaped() {
    let folder = folder();
    let module = format!("{NAME}.wasm");
    let missing = format!("missing/{NAME}");
    for args in [
        &["run", &module][..],
        &["run", &missing],
        &["run", &module, "--tasks", &missing],
        &["run", &module, "-a", &missing],
        &["run", &module, "--results", &missing],
        &["run", &module, "--results", &missing, "--resume"],
        &["run", &module, "--dir", &missing],
        &["exec", &module],
        &["exec", "--dir", &missing, &module],
        &["inspect", &module],
        &["inspect", &missing],
    ] {
        assert_escaped(command(folder.path(), args));
    }
    let mut cache = command(folder.path(), &["cache", "stats"]);
    cache.env("MPWASM_CACHE_DIR", folder.path().join(NAME));
    assert_escaped(cache);
}

#[test]
fn arguments_that_are_wrong_are_quoted_escaped() {
    let folder = folder();
    // A shell's pattern may expand to such names.
    for args in [
        &["run", "x.wasm", "--size", NAME][..],
        &["run", "x.wasm", "--halt", NAME],
        &["run", &format!("--{NAME}")],
        &["doctor", NAME],
        &[NAME],
    ] {
        // The argument parser removes complete escape sequences, and no other characters.
        assert_shown(command(folder.path(), args), r"a\u{202e}b");
    }
}

#[test]
fn log_lines_are_escaped_in_both_forms() {
    let folder = folder();
    let guest =
        r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;
    let path = format!("{NAME}/good.wat");
    fs::write(folder.path().join(&path), guest).unwrap();
    for form in ["text", "json"] {
        // The messages of `-v` about the compilation name the guest.
        let args = [
            "-v",
            "--log-format",
            form,
            "run",
            "--no-cache",
            &path,
            "--args",
            "[]",
        ];
        assert_shown(command(folder.path(), &args), "compiled in");
    }
}
