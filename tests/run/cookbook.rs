//! Runs the commands of the documentation.

use std::fs;

use crate::completed::LIMIT;
use crate::support::page::{blocks, prepare, printed, script};
use crate::support::{guest, run_within};

/// The guests of the documentation, besides `pick.wasm`, which is the fixture. `words.wasm` prints and returns its args.
const WORDS: &str = r#"(module
    (import "mpwasm_v1" "input_len" (func $len (result i32)))
    (import "mpwasm_v1" "input_read" (func $read (param i32 i32 i32) (result i32)))
    (import "mpwasm_v1" "output_write" (func $write (param i32 i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "runnable") (result i32) (local $len i32)
        (local.set $len (call $read (i32.const 16) (i32.const 0) (call $len)))
        (call $write (i32.const 16) (local.get $len))
        (i32.store8 (i32.add (i32.const 16) (local.get $len)) (i32.const 10))
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.add (local.get $len) (i32.const 1)))
        (call $print (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))"#;

/// `cat.wasm` prints its stdin, up to 64 KiB of it.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2) (data (i32.const 0) "\00\00\01\00\00\00\01\00")
    (func (export "_start")
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Runs all blocks of a page, and checks the output that the page shows.
fn run_page(page: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    prepare(here);
    fs::write(here.join("words.wasm"), WORDS).unwrap();
    fs::write(here.join("cat.wasm"), CAT).unwrap();
    fs::copy(guest("fixture"), here.join("pick.wasm")).unwrap();
    let mut all = String::new();
    for block in blocks(page).iter().filter(|block| block.language == "sh") {
        let output = run_within(LIMIT, &mut script(here, &block.text));
        all += &printed(&block.text, &output);
    }
    for text in expected {
        assert!(all.contains(text), "{text:?} is not in {all}");
    }
}

#[test]
fn the_cookbooks_commands_do_what_it_says() {
    run_page(
        "cookbook.md",
        &[
            "[\"three and four\"]",
            "[\"convert\",\"a.gif\",\"a.gif.png\"]",
            "\"result\":[12]",
            "[\"by\",\"its\",\"stem\"]",
            "\"stdout\":\"a line\\n\"",
            "a\t[\"a\"]\nb\t[\"b\"]\nc\t[\"c\"]\n",
            "some failed: 1",
            "ended early",
            "timeout\n",
        ],
    );
}

#[test]
fn the_commands_for_who_comes_from_gnu_parallel_run() {
    run_page(
        "coming-from-gnu-parallel.md",
        &[
            "[\"c\"]",
            "10\t[\"number\",\"10\"]",
            "\"stdout\":\"two\\n\"",
            "\"args\":[\"b\",\"b.out\"]",
        ],
    );
}
