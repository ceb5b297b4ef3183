//! `mpwasm.h`: everything in it, from C and from C++.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::compilers::{assert_compiled, caches, cc};
use crate::completed::{CompletedRun, LIMIT, run, run_lines};
use crate::support::{repository, run_within};

/// Compiles `header.c` for a language, with all warnings as errors.
fn compile(language: &str, standard: &str, to: &Path) {
    let cc = cc();
    let mut words = cc.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-O2",
            "-x",
            language,
        ])
        .args([
            &format!("-std={standard}"),
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ])
        .arg("-I")
        .arg(repository().join("guest-sdk/include"))
        .arg("-o")
        .arg(to)
        .arg(repository().join("tests/languages/header.c"));
    assert_compiled(&run_within(LIMIT * 6, caches(&mut command)));
}

fn of(guest: &Path, tasks: &[Value]) -> CompletedRun {
    let lines: String = tasks.iter().map(|task| format!("{task}\n")).collect();
    run_lines(lines, &[guest.to_str().unwrap()])
}

/// Runs the model that uses an object of each kind.
fn share_objects(guest: &Path) {
    let objects = [
        "jobs=joinable-queue:2",
        "pipe=pipe",
        "lock=lock",
        "changed=condition",
        "permits=semaphore:1",
        "event=event",
        "barrier=barrier:1",
        "dict=dict",
        "list=list",
        "total=array:u8:2",
        "mean=value:f64",
    ];
    let model = format!("{}#share", guest.display());
    let mut args = vec![&*model, "--args", r#"[{"object":"jobs"}]"#];
    args.extend(objects.iter().flat_map(|object| ["--object", object]));
    let shared = run(&args);
    assert_eq!(
        shared.records[0]["result"],
        json!([1, 1, 1, 1, 1, 1, 1, 1]),
        "{shared:#?}"
    );
}

fn all_of_it(language: &str, standard: &str) {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("header.wasm");
    compile(language, standard, &guest);

    let pushed = run(&[guest.to_str().unwrap()]);
    assert_eq!(pushed.code, Some(0), "{pushed:#?}");
    assert_eq!(pushed.records[0]["result"], json!([1, 0, 1, true]));
    assert_eq!(pushed.records[1]["result"], json!(["pushed", 6, 2]));
    assert!(pushed.stderr.contains("a line for the log"), "{}", pushed.stderr);

    let again = |text: &str, number: f64| json!({"model": "again", "args": [text, number]});
    let texts = [
        "",
        "plain",
        "\"quoted\" \\ / \u{8}\u{c}\n\r\t",
        "\0\u{1}\u{1f}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
    ];
    let mut tasks: Vec<_> = texts.iter().map(|text| again(text, -1.5)).collect();
    tasks.push(json!({"model": "again", "args": ["no number", null]}));
    tasks.push(json!({"model": "again", "args": ["more", 1, 2]}));
    tasks.push(json!({"model": "too_long", "args": []}));
    tasks.push(json!({"model": "refuses", "args": []}));
    let ended = of(&guest, &tasks);
    for (record, text) in ended.records.iter().zip(texts) {
        assert_eq!(record["result"], json!([text, text.len(), -1.5]), "{ended:#?}");
    }
    let errors: Vec<_> = ended.records[texts.len()..]
        .iter()
        .map(|record| &record["error"])
        .collect();
    let messages = [
        "no text and number",
        "no text and number",
        "the output does not fit into mpwasm_output_format",
    ];
    for (error, message) in errors.iter().zip(messages) {
        assert_eq!(
            (&error["kind"], &error["message"]),
            (&json!("error"), &json!(message))
        );
    }
    assert_eq!(errors[3]["data"], json!({"why": "so"}));
    assert!(ended.prints().contains(&"printed before"), "{ended:#?}");
    share_objects(&guest);
}

/// Escapes as other JSON writers produce them.
#[test]
fn escapes_of_strings_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let guest = folder.path().join("header.wasm");
    compile("c", "c99", &guest);
    let args = r#"["\u0041\u00e9\u20ac\ud83d\ude00\/\"\\\b\f\n\r\t\u0000\ud800.\udc00", 1e3 ]"#;
    let ended = run(&[&format!("{}#again", guest.display()), "--args", args]);
    let text = "Aé€😀/\"\\\u{8}\u{c}\n\r\t\0\u{fffd}.\u{fffd}"; // half of a surrogate pair is no character
    assert_eq!(
        ended.records[0]["result"],
        json!([text, text.len(), 1000]),
        "{ended:#?}"
    );
}

#[test]
fn all_of_it_works_in_c() {
    all_of_it("c", "c99");
}

#[test]
fn all_of_it_works_in_cpp() {
    all_of_it("c++", "c++11");
}
