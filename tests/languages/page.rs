//! Writes the files of `docs/write-a-guest.md`, and runs its commands.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::compilers::{caches, zig};
use crate::completed::LIMIT;
use crate::support::page::{Block, blocks, prepare, printed, script};
use crate::support::{repository, run_within};

/// Returns the name of the file that a block contains, from the comment on its first line.
fn file_name(block: &Block) -> Option<&str> {
    let first = block.text.lines().next()?;
    let comment = match block.language.as_str() {
        "wat" => first.strip_prefix(";; "),
        "c" => first.strip_prefix("/* ")?.strip_suffix(" */"),
        "rust" | "zig" => first.strip_prefix("// "),
        _ => None,
    };
    comment.filter(|name| !name.contains(' '))
}

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    prepare(here);
    symlink(zig(), here.join("zig")).unwrap();
    for name in ["guest-sdk", "guests"] {
        symlink(
            fs::canonicalize(repository().join(name)).unwrap(),
            here.join(name),
        )
        .unwrap();
    }
    let mut all = String::new();
    let mut files = 0;
    for block in blocks("write-a-guest.md") {
        if let Some(name) = file_name(&block) {
            fs::write(here.join(name), &block.text).unwrap();
            files += 1;
        } else if block.language == "sh" {
            all += &run(here, &block.text);
        }
    }
    assert_eq!(files, 8);
    for text in [
        "\"result\":49,",
        "the sum is 49\n",
        "Hello, World\n",
        r#""result":{"exit_code":0,"stdout":"Good, morning, World\n","stderr":""}"#,
    ] {
        assert!(all.contains(text), "{text:?} is not in {all}");
    }
    // C, Zig and Rust.
    assert_eq!(all.matches("the sum is 113\n").count(), 3, "{all}");
    let tally = r#"{"counts":{"a":2,"b":1},"total":3,"words":[]}"#;
    assert_eq!(all.matches(tally).count(), 3, "{all}");
}

fn run(here: &Path, block: &str) -> String {
    let mut command = script(here, block);
    // The dependencies of the crate are built once, not for every run of the tests, in the versions of this repository.
    command.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/new"));
    let output = run_within(LIMIT * 6, caches(&mut command));
    let made = here.join("square");
    if made.exists() {
        fs::copy(repository().join("Cargo.lock"), made.join("Cargo.lock")).unwrap();
    }
    printed(block, &output)
}
