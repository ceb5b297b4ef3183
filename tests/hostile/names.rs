//! Names, messages and log lines that would control a terminal or imitate messages of mpwasm. Where one line is expected,
//! one escaped line is written.

use crate::corpus::{Scratch, assert_inert, fails, guest, options, returns, trap};
use crate::session::HANGS;
use crate::support::{mpwasm, run_within};

corpus! {
    names_in_log_lines => returns("null");
    names_in_a_message => fails("error", "mpwasm: 1000 tasks: 1000 ok");
}

/// Asserts that names and backtraces contain no character that could deceive a reader or a terminal.
fn assert_readable(text: &str) {
    assert_inert(text);
    let harmful = ['\u{202e}', '\u{200b}', '\u{2028}', '\u{9b}'];
    assert!(!text.contains(harmful), "{text:?}");
}

#[test]
fn names_in_a_backtrace() {
    let fields = include_str!("guests/names_in_a_backtrace.wat");
    let (ended, records) = trap("unreachable").judge(&guest(fields));
    assert_readable(&ended.stderr);
    let error: serde_json::Value = serde_json::from_str(records[3].raw("error")).unwrap();
    let frame = error["backtrace"][0].as_str().unwrap();
    assert!(
        frame.starts_with(r"\u{1b}[2J\u{1b}]0;title\u{7}\rmpwasm: all is well\n\u{202e} @ 0x"),
        "{frame:?}"
    );
}

/// The mangled name is harmless, but its demangled form is not.
#[test]
fn names_that_are_mangled() {
    let fields = include_str!("guests/names_that_are_mangled.wat");
    let (_, records) = trap("unreachable").judge(&guest(fields));
    let error: serde_json::Value = serde_json::from_str(records[3].raw("error")).unwrap();
    let frame = error["backtrace"][0].as_str().unwrap();
    assert!(frame.starts_with(r"\u{202e}::\u{200b} @ 0x"), "{frame:?}");
    assert_readable(frame);
}

/// A log line is always one line after the name of its task.
#[test]
fn log_lines_are_lines() {
    let fields = include_str!("guests/names_in_log_lines.wat");
    let (ended, _) = returns("null").judge(&guest(fields));
    assert_readable(&ended.stderr);
    let own = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("mpwasm:"))
        .count();
    assert_eq!(own, 1, "the summary alone: {}", ended.stderr);
    let logged = r"x\u{1b}[1A\nmpwasm: 1000 tasks: 1000 ok\r\n\u{2028}\u{9b}2J";
    let quoted = format!(" text=\"{}\"", logged.replace('\\', r"\\"));
    let is_it = |line: &str| line.starts_with("ERROR task=3 attempt=1 worker=") && line.ends_with(&quoted);
    assert!(ended.stderr.lines().any(is_it), "{}", ended.stderr);
}

/// Names of models occur in warnings, in messages about unknown models, and in the output of `inspect`.
#[test]
fn names_of_models() {
    const NAME: &str = r"\1b[2J\nmpwasm: all is well\e2\80\ae";
    let fields = format!(
        r#"(memory (export "memory") 1)
           (func (export "runnable") (result i32) (i32.const 0))
           (func (export "callback") (result i32) (loop $l (br $l)) (i32.const 0))
           (func (export "{NAME}.runnable") (result i32) (i32.const 0))
           (func (export "{NAME}.callback") (result i32) (loop $l (br $l)) (i32.const 0))"#
    );
    let file = Scratch::file("guest.wat", guest(&fields));
    let inspected = run_within(HANGS, mpwasm().arg("inspect").arg(file.path()));
    assert_eq!(inspected.status.code(), Some(0));
    assert_readable(&String::from_utf8(inspected.stdout).unwrap());

    let mut path = file.path().into_os_string();
    path.push("#nobody");
    let unknown = run_within(
        HANGS,
        mpwasm()
            .arg("run")
            .args(options())
            .args(["--args", "[]"])
            .arg(path),
    );
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert_readable(&said);
    assert_eq!(said.lines().count(), 1, "{said}");

    let mut path = file.path().into_os_string();
    path.push("#\x1b[2J\nmpwasm: all is well\u{202e}");
    let spins = [
        "--callback-timeout",
        "50ms",
        "--args",
        "[]",
        "--args",
        "[]",
        "--args",
        "[]",
    ];
    let warned = run_within(HANGS, mpwasm().arg("run").args(options()).args(spins).arg(path));
    let said = String::from_utf8(warned.stderr).unwrap();
    assert_readable(&said);
    assert!(said.contains("switched off"), "{said}");
}

/// Keys come from a guest's `tasks`, and occur in the lines about failures.
#[test]
fn names_of_tasks() {
    let task = r"{\22key\22:\22\5cu001b[2J\5cnmpwasm: all is well\5cu202e\22}";
    let fields = format!(
        r#"(memory (export "memory") 1) (data (i32.const 0) "{task}")
           (func (export "runnable") (result i32) (unreachable))
           (func (export "tasks") (result i32) (drop (call $push (i32.const 0) (i32.const 46))) (i32.const 0))"#
    );
    let file = Scratch::file("guest.wat", guest(&fields));
    let ended = run_within(HANGS, mpwasm().arg("run").args(options()).arg(file.path()));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_readable(&said);
    assert!(
        said.starts_with(r"mpwasm: task 0 (key \u{1b}[2J\nmpwasm: all is well\u{202e}): trap"),
        "{said}"
    );
}
