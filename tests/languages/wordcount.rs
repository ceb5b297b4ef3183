//! The guests that count words, in C and in Zig: both must do the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::compilers::build;
use crate::completed::{CompletedRun, run_lines};
use crate::support::mpwasm;

fn c() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("c-wordcount"))
}

fn zig() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("zig-wordcount"))
}

fn run_model(folder: &Path, tasks: &[Value], options: &[&str]) -> CompletedRun {
    let model = folder.join("model.wasm");
    let lines: String = tasks.iter().map(|task| format!("{task}\n")).collect();
    run_lines(lines, &[&[model.to_str().unwrap()], options].concat())
}

/// Checks what its model returns for texts and other args, and what the callbacks accumulate.
fn counts_and_folds(folder: &Path) {
    let texts = [
        ("", 0, 0),
        ("one two", 0, 2),
        (" \tthree\n\nfour ", 2, 2),
        ("größe 東京 \u{1f600}\0\"\\/\u{1}\u{7f}", 0, 3),
    ];
    let mut tasks: Vec<_> = texts.iter().map(|(text, ..)| json!([text])).collect();
    tasks.extend([json!([]), json!([1]), json!(["a", "b"])]);
    let ended = run_model(folder, &tasks, &["--size", "2"]);
    for (record, (text, lines, words)) in ended.records.iter().zip(texts) {
        let expected = json!({"lines": lines, "words": words, "bytes": text.len()});
        assert_eq!(record["result"], expected, "{text:?}: {ended:#?}");
    }
    for record in &ended.records[texts.len()..] {
        let error = &record["error"];
        assert_eq!(error["kind"], "error", "{ended:#?}");
        let message = error["message"].as_str().unwrap();
        assert_eq!(message, r#"the args should be one text, as in ["one two"]"#);
    }
    assert!(
        ended.column("callback").iter().all(|status| *status == "ok"),
        "{ended:#?}"
    );
    assert_eq!(ended.code, Some(1));
    // Callbacks have printed, and their instance was kept.
    assert_eq!(
        ended
            .prints()
            .iter()
            .filter(|line| line.starts_with("failed: {\"kind\":\"error\","))
            .count(),
        3,
        "{ended:#?}"
    );
    assert!(ended.prints().contains(&"7 words so far"), "{ended:#?}");
    assert!(ended.stderr.contains(r#"{"words":7,"failures":3}"#), "{ended:#?}");
}

/// Callbacks read much more in total than they may keep in memory.
fn callbacks_keep_no_inputs(folder: &Path) {
    let large = json!([1, "x".repeat(64 << 10)]);
    let ended = run_model(
        folder,
        &vec![large; 200],
        &["--callback-memory", "4MiB", "--max-output", "0"],
    );
    assert_eq!(ended.records.len(), 200);
    assert!(
        ended.column("callback").iter().all(|status| *status == "ok"),
        "{ended:#?}"
    );
    assert!(
        ended.stderr.contains(r#"{"words":0,"failures":200}"#),
        "{}",
        ended.stderr
    );
}

/// Runs the command, in a pipe and as a task.
fn counts_its_stdin(folder: &Path) {
    let command = folder.join("command.wasm");
    let mut exec = mpwasm()
        .arg("exec")
        .arg(&command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "one two\nthree ".repeat(10_000);
    exec.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = exec.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "10000 30000 140000\n");

    let lines = json!({"args": [], "stdin": "one\ntwo"}).to_string();
    let ended = run_lines(lines, &[command.to_str().unwrap()]);
    let expected = json!({"exit_code": 0, "stdout": "1 2 7\n", "stderr": ""});
    assert_eq!(ended.records[0]["result"], expected, "{ended:#?}");
}

#[test]
fn c_counts_and_its_callbacks_fold() {
    counts_and_folds(c());
}

#[test]
fn c_callbacks_keep_no_inputs() {
    callbacks_keep_no_inputs(c());
}

#[test]
fn c_makes_commands() {
    counts_its_stdin(c());
}

#[test]
fn zig_counts_and_its_callbacks_fold() {
    counts_and_folds(zig());
}

#[test]
fn zig_callbacks_keep_no_inputs() {
    callbacks_keep_no_inputs(zig());
}

#[test]
fn zig_makes_commands() {
    counts_its_stdin(zig());
}
