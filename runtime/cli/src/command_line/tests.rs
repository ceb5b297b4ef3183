//! Tests of how command lines are read.

use std::path::PathBuf;
use std::time::Duration;

use mpwasm::{Access, DirGrant, Grants, Jail, Settings, User};

use super::*;
use crate::run::output::results::EarlierResults;

fn run(args: &[&str]) -> Result<RunArgs, ErrorKind> {
    let line = ["mpwasm", "run"].iter().chain(args).map(Into::into);
    match Cli::read(line).map_err(|error| error.kind())?.command {
        CliCommand::Run(args) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn without_options_the_settings_are_the_librarys_defaults() {
    assert_eq!(run(&["g.wasm"]).unwrap().settings(), Settings::default());
}

#[test]
fn all_that_follows_the_guest_of_exec_is_its_own() {
    let line = [
        "mpwasm",
        "exec",
        "--timeout",
        "5s",
        "g.wasm",
        "--timeout",
        "-v",
        "--",
        "x",
    ];
    match Cli::try_parse_from(line).unwrap().command {
        CliCommand::Exec(args) => {
            assert_eq!(args.settings().timeout, Duration::from_secs(5));
            assert_eq!(args.command, ["g.wasm", "--timeout", "-v", "--", "x"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_stands_before_exec_does_not_hide_it() {
    for before in [
        &[][..],
        &["-v"],
        &["--log-format", "json"],
        &["--log-format=json", "-vv"],
        &["--verbose", "--log-format", "json"],
    ] {
        let line = [&["mpwasm"], before, &["exec", "g.wasm", "a", ":::", "b"]].concat();
        match Cli::read(line.iter().map(Into::into)).unwrap().command {
            CliCommand::Exec(args) => assert_eq!(args.command, ["g.wasm", "a", ":::", "b"]),
            other => panic!("{other:?}"),
        }
    }
    let words = |words: &[&str]| is_exec(words.iter().map(Into::into));
    assert!(!words(&["mpwasm", "--log-format", "exec", "run"]));
    assert!(!words(&["mpwasm", "run", "exec"]) && !words(&["mpwasm", "--log-format"]));
}

#[test]
fn every_option_before_a_sub_command_with_a_value_has_a_long_name_only() {
    for option in Cli::command().get_arguments() {
        let takes = option.get_action().takes_values();
        assert!(
            !takes || option.get_short().is_none(),
            "is_exec knows no such option"
        );
    }
}

#[test]
fn every_limit_reaches_its_setting() {
    let line = "g --size 5 --isolation process --timeout 250ms --memory 1MiB --max-result 2MiB --max-output 3k \
                --max-args 4MiB --callback-timeout 5s --callback-memory 6MiB --fuel 7 --max-tasks 8 \
                --compile-timeout 9s --jail strict --user 9:10 --retries 2 --crash-limit 4 \
                --max-tasks-per-worker 11 --stack 13MiB --max-table 14 --max-files 15 --dir a::/b:ro --dir c --env K=V --tmp 12 \
                --interrupt kill --max-waiting 16";
    let args: Vec<&str> = line.split_whitespace().collect();
    let expected = Settings {
        size: 5,
        max_waiting: Some(16),
        isolation: mpwasm::Isolation::Process,
        timeout: Duration::from_millis(250),
        interrupt: mpwasm::Interrupt::Kill,
        memory: 1 << 20,
        max_result: 2 << 20,
        max_output: 3000,
        capture: true,
        max_args: 4 << 20,
        callback_timeout: Duration::from_secs(5),
        callback_memory: 6 << 20,
        fuel: Some(7),
        stack: 13 << 20,
        max_table: 14,
        max_files: Some(15),
        max_tasks: 8,
        jail: Jail::Strict,
        user: Some(User { uid: 9, gid: 10 }),
        compile_timeout: Duration::from_secs(9),
        retry: mpwasm::Retry::times(2).crash_limit(4),
        max_tasks_per_worker: Some(11),
        grants: Grants {
            dirs: vec![
                DirGrant::new("a", "/b", Access::ReadOnly).unwrap(),
                DirGrant::new("c", "c", Access::ReadWrite).unwrap(),
            ],
            env: [("K".to_owned(), "V".to_owned())].into(),
            tmp: Some(12),
        },
        confirm_outcomes: false,
    };
    assert_eq!(run(&args).unwrap().settings(), expected);
}

#[test]
fn tasks_come_from_one_place_only() {
    assert_eq!(
        run(&["g", "--tasks", "f", "--args", "[]"]).unwrap_err(),
        ErrorKind::ArgumentConflict
    );
    assert_eq!(
        run(&["g", "--tasks", "f", "--", "a"]).unwrap_err(),
        ErrorKind::ArgumentConflict
    );
    assert_eq!(
        run(&["g", "--args", "[]", "--", "a"]).unwrap_err(),
        ErrorKind::ArgumentConflict
    );
    assert_eq!(
        run(&["g", "--args", "[1]", "--args", "[2]"])
            .unwrap()
            .inputs
            .args
            .len(),
        2
    );
    for tasks in [&["--tasks", "f"][..], &["--args", "[]"]] {
        let line = [&["g"], tasks, &[":::", "a"]].concat();
        assert_eq!(run(&line).unwrap_err(), ErrorKind::ArgumentConflict);
    }
    assert_eq!(
        run(&["g", "-a", "f", "--tasks", "f"]).unwrap_err(),
        ErrorKind::ArgumentConflict
    );
    let inputs = |args: &[&str]| run(args).unwrap().inputs;
    assert_eq!(inputs(&["g", "--", "-a", "--size"]).words, ["-a", "--size"]);
    assert_eq!(inputs(&["g", "--tasks", "-"]).tasks, Some("-".into()));
    assert_eq!(
        inputs(&["g", "-a", "-", "--", "x"]).arg_file,
        [PathBuf::from("-")]
    );
    let listed = inputs(&["g", "--", "x", ":::", "--size", "b"]);
    assert_eq!(listed.words, ["x"]);
    assert_eq!(listed.listed[0].inputs, ["--size", "b"]);
}

#[test]
fn lists_of_inputs_are_combined_with_files_and_with_one_another() {
    let inputs = run(&["g", "-0", "-a", "f", "-a", "-", ":::", "a", ":::+", "b"])
        .unwrap()
        .inputs;
    assert_eq!(
        (inputs.arg_file.len(), inputs.listed.len(), inputs.null),
        (2, 2, true)
    );
    assert_eq!(run(&["g", ":::+", "a"]).unwrap_err(), ErrorKind::InvalidValue);
    run(&["g", "-a", "f", ":::+", "a"]).unwrap();
    let twice = ["g", "-a", "-", "-a", "-"];
    assert_eq!(run(&twice).unwrap_err(), ErrorKind::ArgumentConflict);
    let stdin = ["g", "--stdin", ":::", "a", ":::", "b"];
    assert_eq!(run(&stdin).unwrap_err(), ErrorKind::ArgumentConflict);
    assert_eq!(
        run(&["g", "-0", ":::", "a"]).unwrap_err(),
        ErrorKind::MissingRequiredArgument
    );
}

#[test]
fn inputs_that_look_like_options_are_found() {
    let found = |inputs: &[&str]| {
        let line = [&["g", "--", "--size", ":::"], inputs].concat();
        run(&line).unwrap().like_options
    };
    assert_eq!(found(&["a", "-5", "-", "--", "---", "-x", "--9", "-kv"]), [""; 0]);
    assert_eq!(
        found(&["-k", ":::", "--timeout=5s", "-v"]),
        ["-k", "--timeout=5s", "-v"]
    );
    assert_eq!(found(&["--a", "--b", "--c", "--d"]).len(), 3);
}

#[test]
fn a_stdin_per_input_needs_inputs() {
    for line in [&["g", "--stdin"][..], &["g", "--stdin", "--", "x"]] {
        assert_eq!(run(line).unwrap_err(), ErrorKind::MissingRequiredArgument);
    }
    for tasks in [["--tasks", "f"], ["--args", "[]"]] {
        let line = [&["g", "--stdin"], &tasks[..]].concat();
        assert_eq!(run(&line).unwrap_err(), ErrorKind::ArgumentConflict);
    }
    for line in [
        &["g", "--stdin", "-a", "f", "--", "x"][..],
        &["g", "--stdin", ":::", "a"],
    ] {
        assert!(run(line).unwrap().inputs.stdin);
    }
}

#[test]
fn wrong_values_are_usage_errors() {
    for wrong in [
        &["g", "--size", "0"][..],
        &["g", "--timeout", "0s"],
        &["g", "--timeout", "1"],
        &["g", "--total-timeout", "0ms"],
        &["g", "--callback-timeout", "0s"],
        &["g", "--compile-timeout", "0s"],
        &["g", "--max-tasks-per-worker", "0"],
        &["g", "--args", "{}"],
        &["g", "--args", "[1"],
        &["g", "--memory", "lots"],
        &["g", "--user", "no such user"],
        &["g", "--halt", "fail=1"],
        &["g", "--dir", "x::"],
        &["g", "--env", "A"],
        &["g", "--tmp", "some"],
    ] {
        assert_eq!(run(wrong).unwrap_err(), ErrorKind::ValueValidation, "{wrong:?}");
    }
    assert_eq!(
        run(&["g", "--isolation", "thread"]).unwrap_err(),
        ErrorKind::InvalidValue
    );
    assert_eq!(run(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(clap::Error::new(ErrorKind::ValueValidation).exit_code(), 2);
}

#[test]
fn a_run_goes_on_only_with_a_log() {
    for option in ["--resume", "--retry-failed"] {
        assert_eq!(
            run(&["g", option]).unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
    }
    let how = |args: &[&str]| run(args).unwrap().output.earlier();
    assert_eq!(how(&["g", "--results", "f"]), EarlierResults::Refuse);
    assert_eq!(how(&["g", "--results", "f", "--resume"]), EarlierResults::Resume);
    let both = ["g", "--results", "f", "--resume", "--retry-failed"];
    assert_eq!(how(&both), EarlierResults::RetryFailed);
}

#[test]
fn only_results_that_are_kept_are_overwritten() {
    assert_eq!(
        run(&["g", "--overwrite"]).unwrap_err(),
        ErrorKind::MissingRequiredArgument
    );
    for option in ["--results", "--results-dir"] {
        let output = run(&["g", option, "f", "--overwrite"]).unwrap().output;
        assert_eq!(output.earlier(), EarlierResults::Overwrite);
    }
    for how in ["--resume", "--retry-failed"] {
        let both = ["g", "--results", "f", "--results-dir", "d", "--overwrite", how];
        assert_eq!(run(&both).unwrap_err(), ErrorKind::ArgumentConflict);
    }
}
