//! Compilation: checks before it, how it is announced, and the message about one that takes too long.
//!
//! The guests here have one function that takes many seconds to compile, however many and fast processors there are. A
//! run that succeeds or is refused within [`SHORT`] did not compile.

use std::fmt::Write as _;
use std::io::Read;
use std::process::Stdio;

use nix::pty::openpty;

use crate::completed::{CompletedRun, GuestFile, to_the_end};
use crate::support::mpwasm;

/// Too short to compile the guests here, but long enough to check them on a busy machine.
const SHORT: &str = "4s";

const RUNNABLE: &str = r#"(func (export "runnable") (result i32) (i32.const 0))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// Returns a guest of these fields, in the binary form, with a function that is large to compile.
fn bulky(first: &str, fields: &str) -> GuestFile {
    let mut body = String::new();
    for n in 0..120_000 {
        write!(
            body,
            "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const {n})) (i32.load (local.get 1))))
             (if (i32.gt_u (local.get 0) (i32.const {n})) (then (local.set 1 (i32.add (local.get 0) (local.get 2))))
               (else (local.set 2 (i32.xor (local.get 1) (i32.const {n})))))"
        )
        .unwrap();
    }
    let text = format!("(module {first} (func (param i32) (local i32 i32) {body}) {fields})");
    GuestFile::file("bulky.wasm", &wat::parse_str(text).unwrap())
}

fn run(guests: &[&GuestFile], options: &[&str]) -> CompletedRun {
    let guests: Vec<_> = guests.iter().map(|guest| guest.path()).collect();
    to_the_end(
        mpwasm().args(
            [
                &["run", "--compile-timeout", SHORT, "--size", "1"],
                options,
                &guests,
            ]
            .concat(),
        ),
    )
}

#[track_caller]
fn assert_refused(guest: &GuestFile, options: &[&str], why: &str) {
    let ended = run(&[guest], options);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains(why), "{ended:#?}");
}

#[test]
fn a_guest_with_a_wrong_import_is_refused_before_it_is_compiled() {
    let guest = bulky(
        r#"(import "env" "nothing" (func))"#,
        &format!("{MEMORY} {RUNNABLE}"),
    );
    assert_refused(&guest, &[], "the import `env.nothing` does not exist");
}

#[test]
fn a_guest_with_a_wrong_export_is_refused_before_it_is_compiled() {
    let guest = bulky("", &format!(r#"{MEMORY} {RUNNABLE} (func (export "tasks"))"#));
    assert_refused(
        &guest,
        &[],
        "the export `tasks` is a function () -> (), not a function () -> i32",
    );
}

#[test]
fn a_guest_above_a_limit_is_refused_before_it_is_compiled() {
    let guest = bulky("", &format!("{MEMORY} {RUNNABLE} (table 9999999 funcref)"));
    assert_refused(&guest, &[], "a table of 9999999 elements is above the limit of");
    let guest = bulky("", &format!(r#"(memory (export "memory") 9) {RUNNABLE}"#));
    let cap = ["--memory", "512KiB"];
    assert_refused(
        &guest,
        &cap,
        "the initial memory of 589824 bytes is above the cap of 524288 bytes",
    );
}

#[test]
fn a_guest_with_an_instruction_that_is_not_accepted_is_refused_before_it_is_compiled() {
    let atomic = "(func (drop (i32.atomic.load (i32.const 0))))";
    let guest = bulky("", &format!("{MEMORY} {RUNNABLE} {atomic}"));
    assert_refused(&guest, &[], "threads support is not enabled");
}

#[test]
fn the_end_at_the_timeout_names_the_option_and_how_far_it_came_and_what_others_took() {
    let guest = bulky("", &format!("{MEMORY} {RUNNABLE}"));
    let alone = run(&[&guest], &[]);
    assert_eq!(alone.code, Some(2), "{alone:#?}");
    for part in [
        "bulky.wasm: it can't be compiled: it takes longer than 4s, which --compile-timeout (in Rust \
         Builder::compile_timeout) changes: of ",
        ", it had passed its checks after ",
    ] {
        assert!(alone.stderr.contains(part), "{alone:#?}");
    }
    assert!(!alone.stderr.contains("other guest"), "{alone:#?}");
    let small = GuestFile::wat(&format!("(module {MEMORY} {RUNNABLE})"));
    let with_another = run(&[&small, &guest], &[]);
    assert!(
        with_another.stderr.contains("; 1 other guest took "),
        "{with_another:#?}"
    );
}

/// Runs the bulky guest with stderr on a terminal, until the timeout. Returns the output on the terminal.
fn on_a_terminal(options: &[&str]) -> String {
    let guest = bulky("", &format!("{MEMORY} {RUNNABLE}"));
    let terminal = openpty(None, None).unwrap();
    let mut run = mpwasm()
        .args([
            "run",
            "--compile-timeout",
            SHORT,
            "--progress",
            "never",
            guest.path(),
        ])
        .args(options)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal.slave)
        .spawn()
        .unwrap();
    let mut text = Vec::new();
    // Reading ends with an error when the other end is closed everywhere.
    let _ = std::fs::File::from(terminal.master).read_to_end(&mut text);
    assert_eq!(run.wait().unwrap().code(), Some(2));
    String::from_utf8(text).unwrap()
}

const ANNOUNCED: &str = "takes a while";

#[test]
fn a_compilation_that_takes_long_is_announced_on_a_terminal_and_nowhere_else() {
    let text = on_a_terminal(&[]);
    let line = text.lines().find(|line| line.contains(ANNOUNCED));
    assert!(
        line.is_some_and(|line| line.starts_with("mpwasm: compiling ")),
        "{text}"
    );
    let guest = bulky("", &format!("{MEMORY} {RUNNABLE}"));
    let piped = run(&[&guest], &[]);
    assert!(!piped.stderr.contains("takes a while"), "{piped:#?}");
}

#[test]
fn the_announcement_is_json_where_log_lines_are() {
    let text = on_a_terminal(&["--log-format", "json"]);
    let line = text.lines().find(|line| line.contains(ANNOUNCED)).expect(&text);
    let line: serde_json::Value = serde_json::from_str(line).expect(line);
    assert_eq!(line["level"], "INFO", "{line}");
}
