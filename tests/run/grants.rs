//! What the user gives to guests: `--env`.

use serde_json::json;

use crate::bench::{Guest, run, to_the_end};
use crate::support::mpwasm;

/// A command that prints its environment, each variable with a zero byte behind it.
const ENVIRONMENT: &str = r#"(module
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (if (call $sizes (i32.const 0) (i32.const 12)) (then unreachable))
    (if (call $get (i32.const 1024) (i32.const 65536)) (then unreachable))
    (i32.store (i32.const 8) (i32.const 65536))
    (if (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))))"#;

#[test]
fn the_environment_of_guests_is_what_was_granted_and_nothing_else() {
    let guest = Guest::file("env.wat", ENVIRONMENT.as_bytes());
    let printed = |options: &[&str]| {
        let ended = run(&[&[guest.path()], options].concat());
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.records[0]["result"]["stdout"].clone()
    };
    assert_eq!(printed(&[]), json!(""));
    assert_eq!(
        printed(&[
            "--env", "A=b=c", "--env", "LANG=ä", "--env", "EMPTY=", "--env", "A=last"
        ]),
        json!("A=last\0EMPTY=\0LANG=ä\0")
    );
    let exec = to_the_end(
        mpwasm()
            .args(["exec", "--env", "A=b", guest.path()])
            .env("SECRET", "x"),
    );
    assert_eq!((exec.code, exec.stdout.as_str()), (Some(0), "A=b\0"), "{exec:#?}");
}

#[test]
fn a_variable_that_can_be_none_is_a_usage_error() {
    let guest = Guest::file("env.wat", ENVIRONMENT.as_bytes());
    let large = format!("A={}", "x".repeat(100_000));
    let other = format!("B{large}");
    for (options, words) in [
        (&["--env", "A"][..], "NAME=VALUE"),
        (&["--env", "=b"], "no name"),
        (&["--env", &large, "--env", &other], "larger than"),
    ] {
        let ended = run(&[&[guest.path()], options].concat());
        assert_eq!((ended.code, ended.records.len()), (Some(2), 0), "{ended:#?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
