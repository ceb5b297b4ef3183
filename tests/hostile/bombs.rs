//! Guests that are small but expensive to compile, to load or to list. A guest that compiles runs among good tasks; any
//! other is refused in time.

use std::fmt::Write as _;
use std::time::Duration;

use crate::corpus::{Scratch, guest, options, refused, returns, trap};
use crate::session::HANGS;
use crate::support::{mpwasm, run_records, run_within, statuses};

/// Time limit for compiling one guest.
const COMPILES: Duration = Duration::from_secs(30);

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// Concatenates `count` pieces of text.
fn many(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, n| {
        let _ = writeln!(all, "{}", piece(n));
        all
    })
}

fn runnable(body: &str) -> String {
    format!(r#"{MEMORY} (func (export "runnable") (result i32) (local $n i32) {body} (i32.const 0))"#)
}

#[test]
fn a_function_of_half_a_million_instructions() {
    let more = "(local.set $n (i32.mul (i32.add (local.get $n) (i32.const 3)) (local.get $n)))\n";
    returns("null").check(&runnable(&more.repeat(100_000)));
}

#[test]
fn blocks_in_blocks() {
    const DEPTH: usize = 20_000;
    let body = format!(
        "{}br {}\n{}",
        "block\n".repeat(DEPTH),
        DEPTH - 1,
        "end\n".repeat(DEPTH)
    );
    returns("null").check(&runnable(&body));
}

#[test]
fn loops_in_loops() {
    const DEPTH: usize = 5_000;
    let body = format!("{}{}", "loop\n".repeat(DEPTH), "end\n".repeat(DEPTH));
    returns("null").check(&runnable(&body));
}

#[test]
fn expressions_in_expressions() {
    const DEPTH: usize = 100_000;
    let body = format!(
        "{}{} drop",
        "local.get $n\n".repeat(DEPTH),
        "i32.add\n".repeat(DEPTH - 1)
    );
    returns("null").check(&runnable(&body));
}

#[test]
fn a_branch_with_many_targets() {
    let branch = |targets| {
        runnable(&format!(
            "(block (br_table {} 0 (call $input_len)))",
            "0 ".repeat(targets)
        ))
    };
    returns("null").check(&branch(60_000));
    refused(&["`br_table` has 100000 targets"]).judge(guest(&branch(100_000)));
}

#[test]
fn branches_to_everywhere() {
    // The end of each block has a branch to each of the blocks around it.
    const DEPTH: usize = 300;
    let ends = many(DEPTH, |n| {
        let around: String = (0..DEPTH - n).map(|n| format!(" {n}")).collect();
        format!("(br_table {around} (local.get $n)) end")
    });
    returns("null").check(&runnable(&format!("{}{ends}", "block\n".repeat(DEPTH))));
}

#[test]
fn locals_in_branches() {
    // Each local is live across each branch.
    let locals = "i32 ".repeat(2_000);
    let branches = many(500, |n| {
        format!(
            "(if (local.get {n}) (then (local.set {} (i32.add (local.get {n}) (i32.const 1)))))",
            n + 1
        )
    });
    returns("null").check(&format!(
        r#"{MEMORY} (func (export "runnable") (result i32) (local {locals}) {branches} (i32.const 0))"#
    ));
}

#[test]
fn fifty_thousand_functions() {
    returns("null").check(&format!(
        "{}{}",
        runnable(""),
        many(50_000, |_| "(func)".to_owned())
    ));
}

#[test]
fn fifty_thousand_exports() {
    let exports = many(50_000, |n| format!(r#"(export "\1b[2J{n}" (func $f))"#));
    returns("null").check(&format!("{} (func $f) {exports}", runnable("")));
}

#[test]
fn data_segments_without_end() {
    let data = many(90_000, |n| {
        format!(r#"(data (i32.const {}) "{}")"#, n % 60_000, n % 10)
    });
    returns("null").check(&format!("{} {data}", runnable("")));
}

#[test]
fn data_at_both_ends_of_a_memory() {
    returns("null").check(
        r#"(memory (export "memory") 1024) (data (i32.const 0) "x") (data (i32.const 67108863) "x")
           (func (export "runnable") (result i32) (i32.const 0))"#,
    );
}

/// Every instance traps, so there is no good task here. The run still ends.
#[test]
fn data_beyond_a_memory() {
    let fields = format!(r#"{} (data (i32.const 65535) "xx")"#, runnable(""));
    let file = Scratch::file("guest.wat", guest(&fields));
    let path = file.path();
    let args = ["--args", "[]", "--args", "[1]", path.to_str().unwrap()];
    let (records, output) = run_records(HANGS, &[&options()[..], &args].concat());
    assert_eq!(statuses(&records), [("trap", 2)]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_hundred_thousand_globals() {
    let globals = many(100_000, |n| format!("(global (mut i64) (i64.const {n}))"));
    returns("null").check(&format!("{} {globals}", runnable("")));
}

#[test]
fn elements_without_end_in_a_small_table() {
    let elements = many(5_000, |n| {
        format!("(elem (i32.const {}) func $f $f $f $f)", n % 19_996)
    });
    returns("null").check(&format!(
        "(table 20000 funcref) {} (func $f) {elements}",
        runnable("")
    ));
}

#[test]
fn types_without_end() {
    let types = many(50_000, |n| {
        let bits = (0..16).map(|bit| if n >> bit & 1 == 0 { "i32 " } else { "f64 " });
        format!("(type (func (param {})))", bits.collect::<String>())
    });
    returns("null").judge(&guest(&format!("{} {types}", runnable(""))));
}

#[test]
fn sixty_three_models_beside_the_good_one() {
    // All models have callbacks, and thus kept instances.
    let models = many(62, |n| {
        format!(
            r#"(func (export "m{n}.runnable") (result i32) (i32.const 0))
               (func (export "m{n}.callback") (result i32) (i32.const 0))"#
        )
    });
    returns("null").check(&format!("{} {models}", runnable("")));
}

#[test]
fn sections_that_lie_about_the_source() {
    // Debug information is not read, not even for a backtrace.
    let junk = r"\ff\ff\ff\7f\00\1b[2J".repeat(1000);
    let sections = [
        ".debug_info",
        ".debug_abbrev",
        ".debug_line",
        ".debug_str",
        "sourceMappingURL",
        "producers",
    ]
    .map(|name| format!(r#"(@custom "{name}" "{junk}")"#))
    .concat();
    trap("unreachable").check(&format!("{} {sections}", runnable("unreachable")));
}

#[test]
fn a_name_section_that_is_broken() {
    let sections = r#"(@custom "name" "\01\ff\ff\ff\ff\0f\00\1b[2J")"#;
    trap("unreachable").check(&format!("{} {sections}", runnable("unreachable")));
}

#[test]
fn values_that_live_to_the_end() {
    const COUNT: usize = 150_000;
    let body = format!(
        "{}{} drop",
        "(i64.mul (i64.extend_i32_u (call $input_len)) (i64.const 3))\n".repeat(COUNT),
        "i64.xor\n".repeat(COUNT - 1)
    );
    returns("null").check(&runnable(&body));
}

/// Four thousand locals are live across twenty thousand branches. Compiling that exceeds the memory or time of the
/// compiler, and only the compiler dies.
#[test]
fn a_guest_that_cannot_be_compiled() {
    const LOCALS: usize = 4_000;
    let branches = many(20_000, |n| {
        let (from, to) = (n % LOCALS, (7 * n + 1) % LOCALS);
        format!("(if (local.get {from}) (then (local.set {to} (i32.add (local.get {from}) (i32.const 1)))))")
    });
    let uses = many(LOCALS, |n| {
        format!("(local.set 0 (i32.add (local.get 0) (local.get {n})))")
    });
    let file = Scratch::file(
        "guest.wat",
        format!(
            r#"(module {MEMORY} (func (export "runnable") (result i32) (local {})
                 (loop $l {branches} {uses} (br_if $l (local.get 0))) (i32.const 0)))"#,
            "i32 ".repeat(LOCALS)
        ),
    );
    let output = run_within(COMPILES + HANGS, mpwasm().arg("inspect").arg(file.path()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("it can't be compiled"), "{said}");
}
