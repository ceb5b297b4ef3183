//! `--jail`, `--user` and `mpwasm doctor`.

use std::process::{Command, Output};
use std::time::Duration;

use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::support::{fixture, mpwasm, refusing, refusing_some, run_within, without_landlock};

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

/// Returns the output of a run with `--tmp`, and what the doctor says about it.
fn scratch(prepare: impl Fn(&mut Command)) -> (Output, String) {
    let ran = |args: &[&str]| {
        let mut command = mpwasm();
        prepare(&mut command);
        run_within(LIMIT, command.args(args))
    };
    let doctor = String::from_utf8(ran(&["doctor"]).stdout).unwrap();
    let said = doctor.lines().find(|line| line.contains("scratch directory"));
    let said = said.unwrap_or_else(|| panic!("{doctor}")).to_owned();
    (
        ran(&["run", "--tmp", "64KiB", "--args", "[]", &fixture("noop")]),
        said,
    )
}

#[test]
fn the_doctor_says_whether_a_task_can_have_a_scratch_directory() {
    let (ended, said) = scratch(|_| ());
    match ended.status.code() {
        Some(0) => assert_eq!(said, "A task had a scratch directory: `--tmp` works here."),
        code => {
            let text = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(code, Some(2), "{text}");
            assert!(text.contains("scratch directories can't be made here"), "{text}");
            assert!(said.starts_with("No task can have a scratch directory"), "{said}");
        }
    }
}

#[test]
fn where_nothing_can_be_mounted_a_scratch_directory_is_a_usage_error_and_the_doctor_says_so() {
    let (ended, said) = scratch(|command| refusing(command, libc::SYS_fsopen, libc::EPERM));
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{text}");
    let why = "scratch directories can't be made here (that takes root, or a machine with user namespaces)";
    assert!(text.contains(why), "{text}");
    assert!(
        said.starts_with("No task can have") && said.contains(why),
        "{said}"
    );
}

#[test]
fn a_scratch_directory_that_fails_for_another_reason_is_reported_without_a_hint() {
    let (ended, said) = scratch(|command| refusing(command, libc::SYS_fsopen, libc::ENOMEM));
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{text}");
    let why = "scratch directories can't be made here: Out of memory";
    assert!(text.contains(why) && said.contains(why), "{text}{said}");
}

/// It is unknown then whether it can be granted, so this is no usage error.
#[test]
fn what_can_not_be_tried_is_no_usage_error() {
    let no_copy = |command: &mut Command| {
        // Only such a fork uses clone without flags.
        let none = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0).unwrap();
        let rules = vec![SeccompRule::new(vec![none]).unwrap()];
        refusing_some(command, libc::SYS_clone, rules, libc::EAGAIN);
    };
    let (ended, said) = scratch(no_copy);
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{text}");
    let why = "a copy of this process can't be made: Resource temporarily unavailable";
    assert!(text.contains(why), "{text}");
    assert!(
        said.starts_with("It could not be tried") && said.contains(why),
        "{said}"
    );
}

#[test]
fn a_run_and_an_exec_say_alike_what_the_machine_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("command.wat");
    std::fs::write(&tool, crate::support::COMMAND).unwrap();
    let tool = tool.to_str().unwrap();
    let expected =
        "mpwasm: warning: the jail is incomplete: this machine lacks Landlock; `mpwasm doctor` says more";
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
fn without_a_jail_nobody_believes_to_have_another_user() {
    let options = ["--jail", "off", "--user", "65533:65533", "--args", "[]"];
    let output = run_within(LIMIT, mpwasm().arg("run").args(options).arg(fixture("noop")));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    let why = match nix::unistd::geteuid().is_root() {
        true => "another user is part of the jail, which is off",
        false => "only root",
    };
    assert!(text.contains(why), "{text}");
}

/// To the kernel this number means "unchanged", so the processes would continue as root.
#[test]
fn a_number_that_changes_nobody_is_a_usage_error() {
    for user in ["4294967295:65533", "65533:4294967295"] {
        let output = run_within(
            LIMIT,
            mpwasm().args(["run", "--user", user, "--args", "[]", &fixture("noop")]),
        );
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let why = match nix::unistd::geteuid().is_root() {
            true => "4294967295 is the number of no user and no group",
            false => "only root",
        };
        assert!(text.contains(why), "{text}");
    }
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
