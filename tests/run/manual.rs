//! The version, the manual, and shell completions.

use crate::completed::to_the_end;
use crate::support::mpwasm;

fn stdout_of(args: &[&str]) -> String {
    let ended = to_the_end(mpwasm().args(args));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
    ended.stdout
}

#[test]
fn the_version_names_the_engines() {
    let version = stdout_of(&["--version"]);
    let own = env!("CARGO_PKG_VERSION");
    let engine = version.strip_prefix(&format!("mpwasm {own} (wasmtime ")).unwrap();
    assert!(
        engine.trim_end().ends_with(')') && engine.contains('.'),
        "{version}"
    );
}

#[test]
fn shells_complete_what_the_help_names() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout_of(&["completions", shell]);
        assert!(
            script.contains("keep-order") && script.contains("doctor"),
            "{shell}"
        );
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = stdout_of(&["man"]);
    assert!(page.contains(".TH") && page.contains("inspect"), "{page}");
    let page = stdout_of(&["man", "run"]);
    assert!(
        page.contains("keep\\-order") && page.contains(".TH mpwasm-run"),
        "{page}"
    );
    let ended = to_the_end(mpwasm().args(["man", "nothing"]));
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("no sub-command nothing"),
        "{}",
        ended.stderr
    );
}
