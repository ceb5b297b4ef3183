//! Files that are no guests: empty, truncated, foreign, random or endless files, and directories.

use std::fs::File;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::corpus::{Scratch, refused};

const NO_WASM: &str = "neither WebAssembly nor its text form";

/// The smallest guest, byte by byte.
const SMALLEST: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x05\x01\x60\x00\x01\x7f\
    \x03\x02\x01\x00\
    \x05\x04\x01\x01\x01\x03\
    \x07\x15\x02\x06memory\x02\x00\x08runnable\x00\x00\
    \x0a\x06\x01\x04\x00\x41\x00\x0b";

#[test]
fn an_empty_file() {
    refused(&["the file is empty"]).judge("");
}

#[test]
fn only_the_magic_number() {
    refused(&["unexpected end-of-file"]).judge("\0asm");
}

#[test]
fn a_module_that_is_cut() {
    refused(&["unexpected end-of-file"]).judge(&SMALLEST[..SMALLEST.len() - 4]);
}

#[test]
fn a_module_of_another_version() {
    refused(&["version"]).judge("\0asm\x02\0\0\0");
}

#[test]
fn a_wrong_magic_number() {
    refused(&[NO_WASM]).judge("\0asn\x01\0\0\0");
}

#[test]
fn a_component() {
    refused(&["components are not accepted"]).judge("\0asm\x0d\0\x01\0");
}

#[test]
fn a_native_executable() {
    refused(&["a native executable"]).judge(b"\x7fELF\x02\x01\x01\0");
}

#[test]
fn a_text() {
    refused(&[NO_WASM]).judge("Dear pool,\x1b[2J\nplease run me.\n");
}

#[test]
fn a_text_form_with_an_error() {
    refused(&[r"invalid character in string '\u{1b}'"])
        .judge("(module\n  (func (export \"\x1b[2J\")\r\n    (i32.nonsense)))");
}

#[test]
fn a_text_form_without_an_end() {
    refused(&["expected valid module field", "[cut]"]).judge("(".repeat(1_000_000));
}

#[test]
fn a_comment_without_an_end() {
    refused(&["unterminated block comment", "[cut]"]).judge("(;".repeat(500_000));
}

#[test]
fn random_bytes() {
    let mut random = StdRng::seed_from_u64(7);
    let mut bytes = vec![0; 100_000];
    random.fill_bytes(&mut bytes);
    refused(&[NO_WASM]).judge(&bytes);
    // After the magic number.
    bytes[..8].copy_from_slice(&SMALLEST[..8]);
    refused(&["malformed section id"]).judge(&bytes);
}

/// A changed byte leads to a readable refusal, or to a guest that can be inspected.
#[test]
fn modules_with_a_byte_changed() {
    let mut random = StdRng::seed_from_u64(8);
    for _ in 0..20 {
        let mut bytes = SMALLEST.to_vec();
        let at = random.random_range(8..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        let file = Scratch::file("guest.wasm", &bytes);
        let output = crate::support::run_within(
            crate::session::HANGS,
            crate::support::mpwasm().arg("inspect").arg(file.path()),
        );
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "{:?} {}: {output:?}",
            output.status,
            bytes.escape_ascii()
        );
        crate::corpus::assert_inert(&String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_folder() {
    let folder = tempfile::tempdir().unwrap();
    refused(&["Cargo.toml"]).judge_path(folder.path());
}

#[test]
fn a_file_that_is_not_there() {
    refused(&["/nowhere/guest.wasm"]).judge_path(Path::new("/nowhere/guest.wasm"));
}

/// The file must be refused without being read to its end.
#[test]
fn a_file_of_sixteen_gigabytes() {
    let file = Scratch::file("guest.wasm", "\0asm\x01\0\0\0");
    let opened = File::options().write(true).open(file.path()).unwrap();
    opened.set_len(16 << 30).unwrap();
    refused(&["larger than"]).judge_path(&file.path());
}

#[test]
fn a_file_without_an_end() {
    refused(&["larger than"]).judge_path(Path::new("/dev/zero"));
}
