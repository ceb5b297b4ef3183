//! Calls on a guest's own descriptors: polling files, and reads and writes with several buffers.

use serde_json::{Value, json};

use crate::completed::{CompletedRun, GuestFile, run, to_the_end};
use crate::grants::{Folder, files};
use crate::support::mpwasm;

/// Takes these steps in a granted directory with a file, an inner directory and links.
#[track_caller]
fn steps(steps: &Value) -> CompletedRun {
    let folder = Folder::new();
    let dir = format!("{}::/d", folder.granted().display());
    let ended = run(&[
        files(),
        "--dir",
        &dir,
        "--max-output",
        "100MiB",
        "--args",
        &steps.to_string(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

#[track_caller]
fn results(all: &Value) -> Value {
    steps(all).records[0]["result"].clone()
}

/// Asserts that each of these steps has its result.
#[track_caller]
fn assert_steps(table: &[(Value, &str)]) {
    let all: Vec<_> = table.iter().map(|(step, _)| step).collect();
    let expected: Vec<_> = table.iter().map(|(_, result)| result).collect();
    assert_eq!(results(&json!(all)), json!(expected));
}

#[test]
fn a_file_that_the_guest_opened_is_ready_at_once() {
    assert_steps(&[
        (json!(["open", "/d", "file", "read"]), "ok"),
        (json!(["poll", "@0", "read"]), "4 0"),
        (json!(["read", "@0"]), "text"),
        // At its end it reports a hang-up, like wasmtime.
        (json!(["poll", "@0", "read"]), "0 1"),
        (json!(["open", "/d", "new", "read write create"]), "ok"),
        (json!(["poll", "@1", "write"]), "4096 0"),
        (json!(["open", "/d", "folder", "directory"]), "ok"),
        (json!(["poll", "@2", "read"]), "4096 0"),
        (json!(["poll", "/d", "read"]), "4096 0"),
    ]);
}

#[test]
fn a_wait_looks_at_what_a_number_means_now() {
    assert_steps(&[
        (json!(["poll", "stdout", "write"]), "4096 0"),
        (json!(["poll", "stdin", "write"]), "BADF"),
        (json!(["open", "/d", "file", "read"]), "ok"),
        // Now stdin is the file, and the file's own descriptor is closed.
        (json!(["renumber", "@0", "stdin"]), "ok"),
        (json!(["poll", "stdin", "read"]), "4 0"),
        (json!(["poll", "@0", "read"]), "BADF"),
        (json!(["close", "stdout"]), "ok"),
        (json!(["poll", "stdout", "write"]), "BADF"),
    ]);
}

#[test]
fn all_buffers_of_a_write_are_written() {
    assert_steps(&[
        (json!(["open", "/d", "new", "read write create"]), "ok"),
        (json!(["writev", "@0", "one ", "", "two ", "three"]), "13"),
        (json!(["pwritev", "@0", "4", "T", "W", "O"]), "3"),
        (json!(["stat", "/d", "new"]), "13"),
        (json!(["open", "/d", "new", "read write append"]), "ok"),
        (json!(["writev", "@1", ", ", "four"]), "6"),
        (json!(["read", "@1"]), ""),
        (json!(["open", "/d", "new", "read"]), "ok"),
        (json!(["read", "@2"]), "one TWO three, four"),
        (json!(["writev", "@2", "a", "b"]), "BADF"),
        (json!(["writev", "stdin", "a", "b"]), "BADF"),
        (json!(["pwritev", "stdout", "0", "a", "b"]), "SPIPE"),
        (json!(["writev", "@0"]), "0"),
    ]);
}

#[test]
fn all_buffers_of_a_read_are_filled() {
    assert_steps(&[
        (json!(["open", "/d", "folder/inner", "read"]), "ok"),
        (json!(["readv", "@0", "2", "0", "3"]), "5: in||ner"),
        (json!(["readv", "@0", "2", "9"]), "5:  t|ext......"),
        (json!(["readv", "@0", "1", "1"]), "0: .|."),
        (json!(["preadv", "@0", "6", "1", "2", "9"]), "4: t|ex|t........"),
        (json!(["preadv", "stdin", "0", "1", "1"]), "SPIPE"),
        (json!(["readv", "stdin", "1", "1"]), "0: .|."),
        (json!(["readv", "/d", "1", "1"]), "BADF"),
    ]);
}

#[test]
fn large_transfers_are_whole() {
    // More than wasmtime-wasi writes from memory in one call, and more than it reads at an offset.
    let (len, part) = (136 << 20, 100_000);
    let ended = steps(&json!([
        ["open", "/d", "new", "read write create"],
        ["fill", "@0", len.to_string()],
        ["preadv", "@0", "5", "0", part.to_string()],
        ["stat", "/d", "new"],
    ]));
    let result = &ended.records[0]["result"];
    assert_eq!(
        (&result[1], &result[3]),
        (&json!(len.to_string()), &json!(len.to_string()))
    );
    assert!(result[2] == format!("{part}: |{}", "x".repeat(part)), "it is cut");
}

#[test]
fn a_print_of_several_buffers_is_whole() {
    let ended = steps(&json!([["writev", "stdout", "one ", "two ", "", "three\n"]]));
    assert!(ended.stdout.starts_with("one two three\n"), "{ended:#?}");
}

/// Reads into two buffers of 4 and 8 bytes with one call and prints the result, until there is no more data.
const HALVES: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4))
      (i32.store (i32.const 8) (i32.const 68)) (i32.store (i32.const 12) (i32.const 8))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 16)) (then unreachable))
      (i32.store (i32.const 4) (i32.load (i32.const 16)))
      (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)) (then unreachable))
      (br_if $more (i32.load (i32.const 16))))))"#;

#[test]
fn a_read_of_a_stream_takes_what_is_there_and_does_not_wait_for_more() {
    use std::io::{Read as _, Write as _};
    let guest = GuestFile::file("halves.wat", HALVES.as_bytes());
    let mut child = mpwasm()
        .args(["exec", "--timeout", "100s", guest.path()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // Less than the first buffer, exactly as much, and more than both.
    for text in ["abc", "abcd", "abcdef", "abcdefghijklm"] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut echo = vec![0; text.len()];
        stdout.read_exact(&mut echo).unwrap();
        assert_eq!(echo, text.as_bytes());
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    // Without a stdin it ends at once.
    assert_eq!(to_the_end(mpwasm().args(["exec", guest.path()])).code, Some(0));
}
