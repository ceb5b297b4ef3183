//! Guests that are refused before anything runs, by name, in one line, and in reasonable time.

use crate::corpus::refused;

/// Returns a module of these fields only.
fn module(fields: &str) -> String {
    format!("(module {fields})")
}

/// Adds a memory and a `runnable`, which a guest must have.
fn otherwise_good(fields: &str) -> String {
    module(&format!(
        r#"{fields} (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0))"#
    ))
}

macro_rules! refusals {
    ($($name:ident: $text:expr => $words:expr;)+) => {$(
        #[test]
        fn $name() {
            refused(&$words).judge($text);
        }
    )+};
}

refusals! {
    nothing_at_all: module("") => ["no exported memory", "neither an export `runnable` nor `_start`"];
    no_memory: module(r#"(func (export "runnable") (result i32) (i32.const 0))"#) => ["no exported memory"];
    memory_that_is_a_function: module(
        r#"(func (export "memory")) (func (export "runnable") (result i32) (i32.const 0))"#
    ) => ["the export `memory` is a function () -> (), not a memory"];
    memory_that_is_a_global: module(
        r#"(global (export "memory") i32 (i32.const 0))
           (func (export "runnable") (result i32) (i32.const 0))"#
    ) => ["the export `memory` is a global, not a memory"];
    memory_from_elsewhere: module(
        r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0))
           (func (export "runnable") (result i32) (i32.const 0))"#
    ) => ["the import `env.memory` does not exist"];
    memory_too_large: module(
        r#"(memory (export "memory") 65536) (func (export "runnable") (result i32) (i32.const 0))"#
    ) => ["the initial memory of 4294967296 bytes is above the cap of 268435456 bytes"];
    memory_that_is_shared: module(
        r#"(memory (export "memory") 1 1 shared)
           (func (export "runnable") (result i32)
             (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))"#
    ) => ["threads"];
    atomics: otherwise_good("(func (drop (i32.atomic.load (i32.const 0))))") => ["threads"];
    memory_of_64_bits: module(
        r#"(memory (export "memory") i64 1) (func (export "runnable") (result i32) (i32.const 0))"#
    ) => ["memory64"];
    two_memories: otherwise_good("(memory 1)") => ["multiple memories"];
    garbage_collection: otherwise_good("(type (struct (field i32)))") => ["gc"];
    exceptions: otherwise_good("(tag (param i32))") => ["exceptions"];
    references_to_the_host: otherwise_good("(table 1 externref)") => ["`externref`"];
    table_too_large: otherwise_good("(table 1000001 funcref)") => ["a table of 1000001 elements"];
    table_of_four_billion: otherwise_good("(table 0xffffffff funcref)") => ["a table of 4294967295 elements"];
    tables_too_many: otherwise_good(&"(table 1 funcref)".repeat(90)) => ["90 tables are above the limit of 4"];

    runnable_with_a_parameter: module(
        r#"(memory (export "memory") 1) (func (export "runnable") (param i64) (result i32) (i32.const 0))"#
    ) => ["the export `runnable` is a function (i64) -> i32, not a function () -> i32"];
    runnable_without_a_result: module(r#"(memory (export "memory") 1) (func (export "runnable"))"#)
        => ["the export `runnable` is a function () -> (), not a function () -> i32"];
    runnable_with_two_results: module(
        r#"(memory (export "memory") 1)
           (func (export "runnable") (result i32 i32) (i32.const 0) (i32.const 0))"#
    ) => ["the export `runnable` is a function () -> (i32, i32)"];
    runnable_with_a_thousand_parameters: module(&format!(
        r#"(memory (export "memory") 1) (func (export "runnable") (param {}) (result i32) (i32.const 0))"#,
        "i32 ".repeat(1000)
    )) => ["i32, ...) -> i32, not a function () -> i32"];
    runnable_that_is_a_memory: module(r#"(memory (export "memory") (export "runnable") 1)"#)
        => ["the export `runnable` is a memory"];
    callback_with_a_parameter: otherwise_good(
        r#"(func (export "callback") (param i32) (result i32) (i32.const 0))"#
    ) => ["the export `callback` is a function (i32) -> i32"];
    error_callback_with_another_result: otherwise_good(
        r#"(func (export "error_callback") (result f32) (f32.const 0))"#
    ) => ["the export `error_callback` is a function () -> f32"];
    tasks_with_a_parameter: otherwise_good(r#"(func (export "tasks") (param i32) (result i32) (i32.const 0))"#)
        => ["the export `tasks` is a function (i32) -> i32"];
    initialize_with_a_result: otherwise_good(r#"(func (export "_initialize") (result i32) (i32.const 0))"#)
        => ["the export `_initialize` is a function () -> i32, not a function () -> ()"];
    callback_of_no_model: module(
        r#"(memory (export "memory") 1) (func (export "x.callback") (result i32) (i32.const 0))"#
    ) => ["there is `x.callback` but no `x.runnable`"];
    reserved_name: otherwise_good(r#"(func (export "initializer"))"#) => ["`initializer` is reserved"];
    one_name_twice: otherwise_good(
        r#"(func (export "a.runnable") (result i32) (i32.const 0))
           (func (export "a$runnable") (result i32) (i32.const 0))"#
    ) => ["`a.runnable` and `a$runnable` are two spellings of one name"];

    import_of_another_type: otherwise_good(r#"(import "mpwasm_v1" "fail" (func (result i64)))"#)
        => ["the import `mpwasm_v1.fail` is a function (i32, i32) -> (), not a function () -> i64"];
    import_of_another_kind: otherwise_good(r#"(import "wasi_snapshot_preview1" "fd_write" (global i32))"#)
        => ["`wasi_snapshot_preview1.fd_write` is a function", "not a global"];
    import_of_an_escape: otherwise_good(r#"(import "\1b[2J" "\r\nmpwasm: all is well\e2\80\ae" (func))"#)
        => [r"the import `\u{1b}[2J.\r\nmpwasm: all is well\u{202e}` does not exist"];
    export_of_an_escape: otherwise_good(r#"(func (export "\1b]0;x\07\n.callback") (result i32) (i32.const 0))"#)
        => [r"there is `\u{1b}]0;x\u{7}\n.callback` but no `\u{1b}]0;x\u{7}\n.runnable`"];
    imports_without_end: otherwise_good(
        &(0..2000).map(|n| format!(r#"(import "env" "{n}" (func))"#)).collect::<String>()
    ) => ["the import `env.0` does not exist", "and 1950 more problems"];
    imports_of_endless_names: otherwise_good(
        &(0..60)
            .map(|n| format!(r#"(import "{}" "{n}{}" (func))"#, r"\1b".repeat(90_000), r"\7f".repeat(90_000)))
            .collect::<String>()
    ) => ["does not exist", "and 10 more problems"];
    export_of_an_endless_name_twice: otherwise_good(
        &format!(r#"(func (export "{0}")) (func (export "{0}"))"#, r"\1b".repeat(90_000))
    ) => ["duplicate export"];
    models_too_many: otherwise_good(
        &(0..65)
            .map(|n| format!(r#"(func (export "m{n}.runnable") (result i32) (i32.const 0))"#))
            .collect::<String>()
    ) => ["there are more than 64 models"];
    models_without_end: otherwise_good(
        &(0..20_000)
            .map(|n| format!(r#"(func (export "m{n}.callback") (result i32) (i32.const 0))"#))
            .collect::<String>()
    ) => ["there are more than 64 models", "more problems"];
}
