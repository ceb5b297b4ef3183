//! Usage errors and invalid guests, and the other commands besides `run`: `inspect`, `build`, `new`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::completed::{CompletedRun, GuestFile, TasksFile, fixture, run, to_the_end, within};
use crate::support::{self, guest, mpwasm, repository};

/// Runs `mpwasm ARGS...` and asserts that it exits with 2, says one of these words on stderr, and nothing on stdout.
fn assert_refused(args: &[&str], words: &str) {
    let ended = to_the_end(mpwasm().args(args));
    assert_eq!(ended.code, Some(2), "{args:?}: {ended:#?}");
    assert_eq!(ended.stdout, "", "{args:?}");
    assert!(
        ended.stderr.contains(words),
        "{args:?}: {words:?} is not in {:?}",
        ended.stderr
    );
}

fn refused_run(args: &[&str], words: &str) {
    assert_refused(&[&["run"], args].concat(), words);
}

#[test]
fn wrong_options_are_usage_errors() {
    let noop = &format!("{}#noop", fixture());
    refused_run(&[noop, "--args", "[]", "--size", "0"], "--size");
    refused_run(&[noop, "--args", "[]", "--size", "many"], "--size");
    refused_run(&[noop, "--args", "[]", "--size", "5000"], "at most 4096 workers");
    refused_run(&[noop, "--args", "[]", "--max-args", "2GiB"], "at most 1 GiB");
    refused_run(&[noop, "--args", "[]", "--max-result", "2GiB"], "at most 1 GiB");
    refused_run(&[noop, "--args", "[]", "--timeout", "0s"], "zero");
    refused_run(&[noop, "--args", "[]", "--timeout", "5"], "unit");
    refused_run(&[noop, "--args", "[]", "--total-timeout", "0s"], "zero");
    refused_run(&[noop, "--args", "[]", "--callback-timeout", "0s"], "zero");
    refused_run(&[noop, "--args", "[]", "--memory", "lots"], "--memory");
    for option in [
        "--memory",
        "--max-result",
        "--max-output",
        "--max-args",
        "--callback-memory",
        "--tmp",
    ] {
        for size in ["99999999999TiB", "16EiB", "18446744073709551616"] {
            refused_run(&[noop, "--args", "[]", option, size], option);
        }
    }
    let exec = ["exec", "--memory", "99999999999TiB", noop];
    let ended = to_the_end(mpwasm().args(exec));
    assert_eq!(ended.code, Some(125), "{ended:#?}");
    refused_run(&[noop, "--args", "{}"], "no array");
    refused_run(&[noop, "--args", "[1"], "--args");
    refused_run(&[noop, "--args", "[]", "--tasks", "-"], "cannot be used with");
    refused_run(&[noop, "--args", "[]", "--", "word"], "cannot be used with");
    refused_run(&[noop, "--args", "[]", "--keep-ordr"], "unexpected argument");
    refused_run(&[noop, "--args", "[]", ":::", "a"], "can't be used with");
    refused_run(&[noop, ":::+", "a"], "begin with :::");
    refused_run(&[noop, "-0", ":::", "a"], "--arg-file");
    refused_run(&[noop, "-a", "-", "-a", "-"], "no more than once");
    refused_run(&[noop, "-a", "-", "-a", "/nowhere/inputs"], "cannot read tasks");
    let stdin = [noop, "--stdin", ":::", "a", ":::", "b"];
    refused_run(&stdin, "one list of inputs");
    refused_run(&[noop, "--args", "[]", "--resume"], "--results");
    refused_run(&[], "GUEST");
    assert_refused(&[], "Usage");
}

#[test]
fn an_error_is_reported_once() {
    let ended = to_the_end(mpwasm().args(["inspect", "/nowhere/guest.wasm"]));
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert_eq!(
        ended.stderr.matches("No such file").count(),
        1,
        "{}",
        ended.stderr
    );
}

#[test]
fn args_that_no_task_may_have_are_usage_errors() {
    let echo = &format!("{}#echo", fixture());
    refused_run(
        &[echo, "--args", "[\"0123456789\"]", "--max-args", "10"],
        "--max-args",
    );
    refused_run(&[echo, "--args", &("[".repeat(200) + &"]".repeat(200))], "deep");
}

#[test]
fn files_that_are_not_there_are_usage_errors() {
    let noop = &format!("{}#noop", fixture());
    refused_run(&["/nowhere/guest.wasm", "--args", "[]"], "no such guest");
    refused_run(&[noop, "--tasks", "/nowhere/tasks"], "cannot read tasks");
    refused_run(&[noop, "--tasks", "/"], "cannot read tasks");
    refused_run(
        &[noop, "--args", "[]", "--results", "/nowhere/results"],
        "cannot write results",
    );
    let tasks = TasksFile::new("[]\n");
    refused_run(
        &[noop, "--tasks", tasks.path(), "--results", tasks.path()],
        "the same file",
    );
    assert_eq!(fs::read(tasks.path()).unwrap(), b"[]\n", "it is left as it was");
}

#[test]
fn a_model_that_is_not_there_is_a_usage_error_that_names_those_that_are() {
    let unknown = format!("{}#nowhere", fixture());
    refused_run(&[&unknown, "--args", "[]"], "no model `nowhere`");
    refused_run(&[&unknown, "--args", "[]"], "`echo`");
    refused_run(&[fixture(), "--args", "[]"], "no unnamed model");
    refused_run(&[&format!("{}#", fixture()), "--args", "[]"], "no model is named");
}

#[test]
fn a_guest_without_tasks_needs_some() {
    refused_run(&[fixture()], "no tasks");
    refused_run(&[&format!("{}#noop", fixture())], "--tasks");
}

#[test]
fn an_existing_file_wins_over_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wat#noop");
    fs::write(
        &path,
        r#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#,
    )
    .unwrap();
    let ended = run(&[path.to_str().unwrap(), "--args", "[]"]);
    assert_eq!((ended.code, ended.records.len()), (Some(0), 1), "{ended:#?}");
}

#[test]
fn what_is_no_webassembly_is_refused() {
    for bytes in [
        &b""[..],
        b"#!/bin/sh\n",
        b"\x7fELF\x02\x01\x01",
        b"\0asm",
        b"(module",
    ] {
        let file = GuestFile::file("guest.wasm", bytes);
        let ended = to_the_end(mpwasm().args(["run", file.path(), "--args", "[]"]));
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{bytes:?}: {ended:#?}"
        );
        assert!(ended.stderr.contains("guest.wasm"), "{bytes:?}: {}", ended.stderr);
    }
    let file = GuestFile::file("guest.wasm", b"#!/bin/sh\n");
    refused_run(
        &[file.path(), "--args", "[]"],
        "neither WebAssembly nor its text form",
    );
}

/// Guests that are refused, and words of the message about each.
const REFUSED: [(&str, &[&str]); 10] = [
    (
        r#"(func (export "runnable") (result i32) (i32.const 0))"#,
        &["memory"],
    ),
    (
        r#"(memory (export "memory") 1) (func (export "runnable"))"#,
        &["`runnable`", "() -> i32"],
    ),
    (
        r#"(memory (export "memory") 1) (func (export "runnable") (param i32) (result i32) (i32.const 0))"#,
        &["`runnable`", "() -> i32"],
    ),
    (
        r#"(import "env" "system" (func (param i32))) (memory (export "memory") 1)
           (func (export "runnable") (result i32) (i32.const 0))"#,
        &["`env.system`"],
    ),
    (
        r#"(import "mpwasm_v1" "pid" (func (param i32))) (memory (export "memory") 1)
           (func (export "runnable") (result i32) (i32.const 0))"#,
        &["`mpwasm_v1.pid`"],
    ),
    (
        r#"(memory (export "memory") 1 1 shared) (func (export "runnable") (result i32) (i32.const 0))"#,
        &["threads"],
    ),
    (r#"(memory (export "memory") 1)"#, &["`runnable`"]),
    (
        r#"(memory (export "memory") 1) (func (export "callback") (result i32) (i32.const 0))
           (func (export "_start"))"#,
        &["`callback`", "`runnable`"],
    ),
    (
        r#"(memory (export "memory") 1) (func (export "initializer"))
           (func (export "runnable") (result i32) (i32.const 0))"#,
        &["`initializer`", "reserved"],
    ),
    (
        r#"(memory (export "memory") 10000) (func (export "runnable") (result i32) (i32.const 0))"#,
        &["initial memory", "655360000"],
    ),
];

#[test]
fn a_bad_guest_is_refused_by_name_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    fs::write(&results, "records of an earlier run\n").unwrap();
    for (body, reasons) in REFUSED {
        let guest = GuestFile::wat(&format!("(module {body})"));
        let ended = to_the_end(
            mpwasm()
                .args(["run", guest.path(), "--args", "[]"])
                .arg("--results")
                .arg(&results),
        );
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{body}: {ended:#?}"
        );
        for reason in reasons {
            assert!(
                ended.stderr.contains(reason),
                "{body}: {reason:?} is not in {:?}",
                ended.stderr
            );
        }
    }
    assert_eq!(fs::read(&results).unwrap(), b"records of an earlier run\n");
}

#[test]
fn names_of_refused_imports_are_inert() {
    let guest = GuestFile::wat(
        r#"(module (import "env" "\1b[2J\n" (func)) (memory (export "memory") 1)
            (func (export "runnable") (result i32) (i32.const 0)))"#,
    );
    let ended = to_the_end(mpwasm().args(["run", guest.path(), "--args", "[]"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains(r"`env.\u{1b}[2J\n`"), "{:?}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{:?}", ended.stderr);
    assert!(!ended.stderr.contains('\u{1b}'));
}

fn inspect(args: &[&str]) -> CompletedRun {
    to_the_end(mpwasm().arg("inspect").args(args))
}

#[test]
fn inspect_shows_what_is_in_a_guest() {
    let demo = guest("demo").to_str().unwrap();
    let ended = inspect(&[demo]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    for words in [
        "accepted",
        "runnable, callback, error_callback",
        "tasks",
        "memory",
        "mpwasm_v1: ",
        "fd_write",
    ] {
        assert!(
            ended.stdout.contains(words),
            "{words:?} is not in {}",
            ended.stdout
        );
    }
    let ended = inspect(&["--json", demo]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1));
    let info: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&info["accepted"], &info["refusals"], &info["has_tasks"]),
        (&json!(true), &json!([]), &json!(true))
    );
    assert_eq!(info["models"][0]["name"], "");
    assert_eq!(info["models"][0]["error_callback"], "error_callback");
    assert!(info["memory"]["initial"].as_u64().unwrap() >= 64 << 10);
}

#[test]
fn inspect_names_the_models_of_a_guest() {
    let info: Value = serde_json::from_str(&inspect(&["--json", fixture()]).stdout).unwrap();
    let models = info["models"].as_array().unwrap();
    let model = |name: &str| models.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(model("noop")["callback"], Value::Null);
    assert_eq!(model("cb_count")["callback"], "cb_count.callback");
}

#[test]
fn inspect_says_all_that_would_be_refused_and_why() {
    let bad = GuestFile::wat(
        r#"(module (import "env" "a" (func)) (import "env" "b" (func)) (func (export "runnable")))"#,
    );
    let ended = inspect(&[bad.path()]);
    assert_eq!(ended.code, Some(2));
    for reason in [
        "refused, for 4 reasons",
        "`env.a`",
        "`env.b`",
        "`runnable`",
        "`memory`",
    ] {
        assert!(
            ended.stdout.contains(reason),
            "{reason:?} is not in {}",
            ended.stdout
        );
    }
    let ended = inspect(&["--json", bad.path()]);
    assert_eq!(ended.code, Some(2));
    let info: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&info["accepted"], info["refusals"].as_array().unwrap().len()),
        (&json!(false), 4)
    );

    let large = GuestFile::wat(&format!("(module {})", REFUSED[9].0));
    assert_eq!(inspect(&[large.path()]).code, Some(2));
    assert_eq!(
        inspect(&[large.path(), "--memory", "1GiB"]).code,
        Some(0),
        "the cap is the user's"
    );
    assert_refused(&["inspect", "/nowhere/guest.wasm"], "guest.wasm");
    let text = GuestFile::file("guest.txt", b"hello");
    assert_refused(&["inspect", text.path()], "neither WebAssembly nor its text form");
}

/// Longest time of a build. It may have to wait for others, as cargo builds one thing at a time.
const BUILDS: Duration = Duration::from_secs(300);

/// Returns whether guests can be built. A user who runs the tests with prebuilt guests can't build.
fn can_build() -> bool {
    std::env::var_os("MPWASM_TEST_GUESTS").is_none()
}

#[test]
fn build_prints_the_path_of_the_module_and_warns_that_it_runs_outside_of_every_wall() {
    if !can_build() {
        return;
    }
    let ended = within(
        BUILDS,
        mpwasm().arg("build").arg(repository().join("guests/demo")),
    );
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let path = ended.stdout.strip_suffix('\n').unwrap();
    assert!(
        Path::new(path).is_absolute() && fs::read(path).unwrap().starts_with(b"\0asm"),
        "{path:?}"
    );
    assert!(
        ended.stderr.contains("outside of every sandbox"),
        "{}",
        ended.stderr
    );
}

#[test]
fn no_build_refuses_a_crate_directory_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    refused_run(&[dir, "--no-build", "--args", "[]"], "--no-build");
    assert_refused(&["inspect", dir, "--no-build"], &format!("mpwasm build {dir}"));
}

#[test]
fn run_builds_a_crate_directory() {
    if !can_build() {
        return;
    }
    let crate_dir = repository().join("guests/pusher");
    let guest = format!("{}#count", crate_dir.display());
    let ended = within(
        BUILDS,
        mpwasm().args(["run", &guest, "--args", "[7]", "--results", "-"]),
    );
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(support::records(ended.stdout.as_bytes())[0]["result"], json!(7));
    assert!(
        ended.stderr.contains("outside of every sandbox"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_cannot_be_built_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(&["build", dir.path().to_str().unwrap()], "no Cargo.toml");
    refused_run(&[dir.path().to_str().unwrap()], "no Cargo.toml");
    assert_refused(&["build", fixture()], "not a directory");
    assert_refused(&["build", "/nowhere"], "/nowhere");
}

#[test]
fn new_writes_a_guest_that_builds_and_runs_at_once() {
    if !can_build() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mpwasm = || {
        let mut command = mpwasm();
        // Its dependencies are built once, not for every run of the tests.
        command
            .current_dir(dir.path())
            .env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/new"));
        command
    };
    let ended = to_the_end(mpwasm().args(["new", "my-guest"]));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let path = dir.path().join(ended.stdout.trim_end());
    assert!(
        path.join("src/lib.rs").is_file() && path.ends_with("my-guest"),
        "{path:?}"
    );
    // The versions that this repository uses are available, so the test does not depend on a registry.
    fs::copy(repository().join("Cargo.lock"), path.join("Cargo.lock")).unwrap();

    let run = support::run_within(
        BUILDS,
        mpwasm().args(["run", "my-guest", "--args", "[0,100]", "--results", "-"]),
    );
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{stderr}");
    let records = support::records(&run.stdout);
    assert_eq!(records[0]["result"], json!({"from": 0, "to": 100, "primes": 25}));
    assert!(
        !stderr.contains("warning"),
        "the template builds without warnings: {stderr}"
    );

    let again = to_the_end(mpwasm().args(["new", "my-guest"]));
    assert_eq!((again.code, again.stdout.as_str()), (Some(2), ""), "{again:#?}");
    assert_refused(&["new", "not a name"], "not a name");
}

#[test]
fn a_guest_with_an_endless_export_name_is_refused() {
    let name = "x".repeat(300);
    let guest = GuestFile::wat(&format!(
        r#"(module (memory (export "memory") 1)
            (func (export "runnable") (result i32) (i32.const 0))
            (func (export "{name}.runnable") (result i32) (i32.const 0)))"#
    ));
    assert_refused(&["run", guest.path(), "--args", "[]"], "longer than 256 bytes");
}
