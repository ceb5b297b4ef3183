//! `--jail`, `--user` and `mpwasm doctor`.

use std::time::Duration;

use crate::support::{fixture, mpwasm, run_within, without_landlock};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_doctor_names_each_layer_and_tries_them() {
    let output = run_within(LIMIT, mpwasm().arg("doctor"));
    let text = String::from_utf8(output.stdout).unwrap();
    for layer in [
        "seccomp",
        "no new privileges",
        "Landlock",
        "Landlock scopes",
        "namespaces",
        "memory limit",
        "another user",
    ] {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(&format!("{layer:18} ")));
        let line = line.unwrap_or_else(|| panic!("no {layer} in {text}"));
        assert!(line.contains(" active ") || line.contains(" missing "), "{line}");
    }
    let mandatory = text.lines().filter(|line| line.ends_with(", mandatory"));
    let is_well = mandatory.clone().all(|line| line.contains(" active "));
    assert_eq!(mandatory.count(), 3);
    assert!(text.contains("A task ran behind them"), "{text}");
    assert_eq!(output.status.code(), Some(i32::from(!is_well)), "{text}");
}

#[test]
fn a_run_and_an_exec_say_alike_what_the_machine_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("command.wat");
    std::fs::write(&tool, include_str!("../support/command.wat")).unwrap();
    let tool = tool.to_str().unwrap();
    let expected =
        "mpwasm: warning: the jail has holes: this machine lacks Landlock; `mpwasm doctor` says more";
    for args in [["run", tool], ["exec", tool]] {
        let mut command = mpwasm();
        without_landlock(&mut command);
        let output = run_within(LIMIT, command.args(args));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.lines().next(), Some(expected), "{args:?}: {text}");
        assert_eq!(text.matches("warning").count(), 1, "{args:?}: {text}");
    }
    let mut command = mpwasm();
    without_landlock(&mut command);
    let output = run_within(LIMIT, command.args(["exec", "--jail", "strict", tool]));
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn an_unknown_jail_is_a_usage_error() {
    let output = run_within(
        LIMIT,
        mpwasm().args(["run", "--jail", "none", "--args", "[]", &fixture("noop")]),
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_user_that_does_not_exist_is_a_usage_error() {
    let output = run_within(
        LIMIT,
        mpwasm().args(["run", "--user", "no such user", &fixture("noop")]),
    );
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("there is no such user"), "{text}");
}

#[test]
fn only_root_can_name_another_user_and_it_is_another() {
    let user = match nix::unistd::geteuid().is_root() {
        true => "0:0",
        false => "65533:65533",
    };
    let output = run_within(
        LIMIT,
        mpwasm().args(["run", "--user", user, "--args", "[]", &fixture("noop")]),
    );
    assert_ne!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("root"), "{text}");
}
