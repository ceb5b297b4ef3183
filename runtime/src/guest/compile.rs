//! From the bytes of a `.wasm` or `.wat` file to a compiled artifact, or to the reasons why not.
//!
//! Runs in the compiler process only, which has limits of time and memory of its own: the engine does not
//! promise to compile every module quickly. No code of the guest runs here. Everything that can be known about
//! a guest before it runs is checked here, so that workers find nothing to object to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wasmtime::{ExternType, FuncType, ImportType, Linker, Module, Store};

use super::deadline::Deadline;
use super::engine::{EngineSettings, MAX_TABLES, Role, engine};
use super::exports::{self, Refusals, Shown, brief};
use super::info::GuestInfo;
use super::load::linker;
use super::output::Prints;
use super::state::State;
use crate::inert::inert;
use crate::outcome::{LogLevel, Stream};
use crate::settings::{MAX_SHOWN_ERROR, MAX_TABLE_ELEMENTS};

/// What became of the bytes.
#[derive(Debug)]
pub enum Compiled {
    /// A guest, or a command.
    Accepted {
        /// What it exports and imports.
        info: GuestInfo,
        /// For [`Executor::load`](super::Executor::load), in any process with the same settings.
        artifact: Vec<u8>,
    },
    /// WebAssembly that mpwasm does not accept; [`GuestInfo::refusals`] says why. Where the engine itself
    /// refused it, nothing else is known about it.
    Refused(GuestInfo),
    /// Neither WebAssembly nor its text form; the sentence says what it looks like.
    NotWasm(String),
}

/// Compiles the binary or text form of a module.
///
/// Uses the calling thread alone, and much of its stack for deeply nested code: give it some megabytes.
#[must_use]
pub fn compile(bytes: &[u8], settings: &EngineSettings) -> Compiled {
    if let Err(reason) = looks_like_wasm(bytes) {
        return Compiled::NotWasm(reason.to_owned());
    }
    // The engine should not panic on any input. If it does, that is a refusal and no reason to fall over.
    catch_unwind(AssertUnwindSafe(|| checked(bytes, settings)))
        .unwrap_or_else(|_| refused("the WebAssembly engine failed on this module".to_owned()))
}

fn refused(reason: String) -> Compiled {
    Compiled::Refused(GuestInfo {
        refusals: vec![reason],
        ..GuestInfo::default()
    })
}

/// An error of the engine on one line, with its beginning if it is long: it may quote names and whole lines.
fn engine_message(error: &wasmtime::Error) -> String {
    let message = format!("{error:#}");
    // The text form's parser draws its errors over several lines; elsewhere only guests' names hold newlines.
    let words = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = words.collect::<Vec<_>>().join(" ");
    let name = UNNAMED.iter().find(|(symptom, _)| message.contains(symptom));
    let named = name.map_or(String::new(), |(_, name)| format!("{name} are not accepted: "));
    let whole = format!("{named}{message}");
    match whole.char_indices().nth(MAX_SHOWN_ERROR) {
        Some((end, _)) => format!("{} [cut]", inert(&whole[..end])),
        None => inert(&whole).into_owned(),
    }
}

/// Features that the engine refuses without saying their names: what it says, and what is meant.
const UNNAMED: [(&str, &str); 3] = [
    ("encoded as a component", "components"),
    // Nothing could give a guest an `externref` but null, so the engine is built without them.
    (
        "found type which requires gc",
        "`externref` and garbage-collected types",
    ),
    ("constant expression required", "extended constant expressions"),
];

fn looks_like_wasm(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes {
        [] => Err("the file is empty"),
        [b'\0', b'a', b's', b'm', ..] => Ok(()),
        [0x7f, b'E', b'L', b'F', ..] => Err("this is a native executable, not WebAssembly"),
        _ if text_begins_with_parenthesis(bytes) => Ok(()),
        _ => Err("this is neither WebAssembly nor its text form"),
    }
}

/// Whether the first thing that is neither whitespace nor a comment is a parenthesis. A block comment begins with
/// one, which is just as good.
fn text_begins_with_parenthesis(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [b'(', ..] => return std::str::from_utf8(bytes).is_ok(),
            [b';', b';', ..] => {
                let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                rest = &rest[end..];
            }
            _ => return false,
        }
    }
}

fn checked(bytes: &[u8], settings: &EngineSettings) -> Compiled {
    let (engine, linker) = match engine(Role::Compiler, settings).and_then(|e| Ok((linker(&e)?, e))) {
        Ok((linker, engine)) => (engine, linker),
        Err(error) => return refused(error.to_string()),
    };
    let module = match Module::new(&engine, bytes) {
        Ok(module) => module,
        Err(error) => return refused(engine_message(&error)),
    };
    let mut info = GuestInfo::default();
    let mut refusals = Refusals::default();
    let exports = module.exports().map(|export| (export.name(), export.ty()));
    exports::read(exports, &mut info, &mut refusals);
    read_imports(&module, &linker, settings, &mut info, &mut refusals);
    read_sizes(&module, settings, &info, &mut refusals);
    info.refusals = refusals.into_lines();
    if !info.refusals.is_empty() {
        return Compiled::Refused(info);
    }
    match module.serialize() {
        Ok(artifact) => Compiled::Accepted { info, artifact },
        Err(error) => refused(engine_message(&error)),
    }
}

/// Checks every import against what there is.
fn read_imports(
    module: &Module,
    linker: &Linker<State>,
    settings: &EngineSettings,
    info: &mut GuestInfo,
    refusals: &mut Refusals,
) {
    // A store is only needed to ask for the types of what the linker holds.
    let state = State::new(settings, Arc::new(Deadline::new()), Arc::new(NoPrints));
    let mut store = Store::new(linker.engine(), state);
    let mut seen = std::collections::HashSet::new();
    for import in module.imports() {
        if let Err(reason) = check_import(&import, linker, &mut store) {
            refusals.push(reason);
        } else if seen.insert((import.module(), import.name())) {
            info.imports
                .push((import.module().to_owned(), import.name().to_owned()));
        }
    }
}

fn check_import(
    import: &ImportType<'_>,
    linker: &Linker<State>,
    store: &mut Store<State>,
) -> Result<(), String> {
    let (module, name) = (brief(import.module()), brief(import.name()));
    let Ok(known) = linker.get(&mut *store, import.module(), import.name()) else {
        return Err(format!("the import `{module}.{name}` does not exist"));
    };
    let (wanted, known) = (import.ty(), known.ty(&*store));
    let same = match (&wanted, &known) {
        (ExternType::Func(wanted), ExternType::Func(known)) => FuncType::eq(wanted, known),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(format!(
        "the import `{module}.{name}` is {}, not {}",
        Shown(&known),
        Shown(&wanted)
    ))
}

/// Checks what an instance needs before it runs. The memory may be one that is not exported.
fn read_sizes(module: &Module, settings: &EngineSettings, info: &GuestInfo, refusals: &mut Refusals) {
    const PAGE: u64 = 65536;
    let needs = module.resources_required();
    let exported = info.memory.map_or(0, |memory| memory.initial);
    let initial = needs
        .max_initial_memory_size
        .map_or(0, |pages| pages.saturating_mul(PAGE))
        .max(exported);
    if initial > settings.memory {
        refusals.push(format!(
            "the initial memory of {initial} bytes is above the cap of {} bytes",
            settings.memory
        ));
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if elements > MAX_TABLE_ELEMENTS as u64 {
        refusals.push(format!(
            "a table of {elements} elements is above the limit of {MAX_TABLE_ELEMENTS}"
        ));
    }
    if needs.num_tables > MAX_TABLES {
        refusals.push(format!(
            "{} tables are above the limit of {MAX_TABLES}",
            needs.num_tables
        ));
    }
}

/// Nothing runs here, so nothing prints.
struct NoPrints;

impl Prints for NoPrints {
    fn print(&self, _: Stream, _: &[u8]) {}
    fn log(&self, _: LogLevel, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::info::MemoryInfo;
    use crate::guest::testing::{accepted, on_task_thread, refusals, settings};

    /// A guest with a `runnable` and `fields`.
    fn guest(fields: &str) -> String {
        format!(
            "(module {fields} (memory (export \"memory\") 1 3)
               (func (export \"runnable\") (result i32) (i32.const 0)))"
        )
    }

    fn not_wasm(bytes: &[u8]) -> String {
        match compile(bytes, &settings()) {
            Compiled::NotWasm(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_and_binary_are_accepted_alike() {
        let text = guest(";; a comment\n");
        // The smallest guest, byte by byte.
        let binary = b"\0asm\x01\0\0\0\
            \x01\x05\x01\x60\x00\x01\x7f\
            \x03\x02\x01\x00\
            \x05\x04\x01\x01\x01\x03\
            \x07\x15\x02\x06memory\x02\x00\x08runnable\x00\x00\
            \x0a\x06\x01\x04\x00\x41\x00\x0b";
        let Compiled::Accepted { info, artifact } = compile(binary, &settings()) else {
            panic!("{:?}", compile(binary, &settings()));
        };
        assert!(!artifact.is_empty());
        assert_eq!(info, accepted(&text, &settings()).0);
        assert_eq!(
            info.memory,
            Some(MemoryInfo {
                initial: 65536,
                maximum: Some(3 * 65536)
            })
        );
        assert_eq!((info.warnings.len(), info.refusals.len()), (0, 0));
    }

    #[test]
    fn what_is_no_wasm_is_said_to_be_none() {
        assert_eq!(not_wasm(b""), "the file is empty");
        assert_eq!(
            not_wasm(b"\x7fELF\x02\x01"),
            "this is a native executable, not WebAssembly"
        );
        for bytes in [
            &b"#!/bin/sh"[..],
            b"fn main() {}",
            b"\xff\xfe",
            b"(\xff",
            b";; only a comment",
            b"  ",
        ] {
            assert_eq!(not_wasm(bytes), "this is neither WebAssembly nor its text form");
        }
    }

    #[test]
    fn damaged_modules_are_refused() {
        let whole = b"\0asm\x01\0\0\0\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00";
        for end in 4..whole.len() {
            assert!(!refusals(&whole[..end]).is_empty(), "{end}");
        }
        assert!(refusals(b"\0asm\x09\0\0\0")[0].contains("version"));
        // A component, in both forms.
        for component in [&b"\0asm\x0d\0\x01\0"[..], b"(component)"] {
            let refused = &refusals(component)[0];
            assert!(refused.starts_with("components are not accepted: "), "{refused}");
        }
    }

    #[test]
    fn features_that_the_engine_leaves_unnamed_are_named() {
        for (field, name) in [
            (
                "(table 1 externref)",
                "`externref` and garbage-collected types are not",
            ),
            (
                "(func (param externref))",
                "`externref` and garbage-collected types are not",
            ),
            (
                "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
                "extended constant expressions are not",
            ),
        ] {
            let refused = &refusals(guest(field))[0];
            assert!(refused.starts_with(name), "{refused}");
        }
    }

    #[test]
    fn an_error_in_the_text_form_is_one_line() {
        let refused = refusals("(module\n  (func (export \"x\")\n    (i32.nonsense)))");
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0].contains("i32.nonsense") && !refused[0].contains('\n'),
            "{}",
            refused[0]
        );
    }

    #[test]
    fn deeply_nested_text_is_refused() {
        on_task_thread(|| {
            let deep = format!("(module (func {}", "(block ".repeat(200_000));
            assert_eq!(refusals(&deep).len(), 1);
            assert_eq!(refusals("(".repeat(1_000_000)).len(), 1);
        });
    }

    #[test]
    fn imports_are_listed_once_each() {
        let wat = guest(
            "(import \"mpwasm_v1\" \"pid\" (func (result i32)))
             (import \"wasi_snapshot_preview1\" \"path_open\"
               (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
             (import \"mpwasm_v1\" \"pid\" (func (result i32)))",
        );
        let (info, _) = accepted(&wat, &settings());
        assert_eq!(
            info.imports,
            [
                ("mpwasm_v1".to_owned(), "pid".to_owned()),
                ("wasi_snapshot_preview1".to_owned(), "path_open".to_owned())
            ]
        );
    }

    #[test]
    fn imports_that_do_not_exist_or_do_not_fit_are_all_named() {
        let wat = guest(
            "(import \"env\" \"ab\\nort\" (func))
             (import \"wasi_unstable\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))
             (import \"mpwasm_v1\" \"push\" (func (param i32) (result i32)))
             (import \"mpwasm_v1\" \"pid\" (global i32))
             (import \"env\" \"table\" (table 1 funcref))
             (import \"env\" \"g\" (global i32))",
        );
        assert_eq!(
            refusals(wat),
            [
                r"the import `env.ab\nort` does not exist",
                "the import `wasi_unstable.fd_write` does not exist",
                "the import `mpwasm_v1.push` is a function (i32, i32) -> i64, not a function (i32) -> i32",
                "the import `mpwasm_v1.pid` is a function () -> i32, not a global",
                "the import `env.table` does not exist",
                "the import `env.g` does not exist",
            ]
        );
    }

    #[test]
    fn sizes_above_the_limits_are_refused_with_both_numbers() {
        let f = "(func (export \"runnable\") (result i32) (i32.const 0))";
        assert_eq!(
            refusals(format!("(module {f} (memory (export \"memory\") 17))")),
            ["the initial memory of 1114112 bytes is above the cap of 1048576 bytes"]
        );
        assert_eq!(
            refusals(guest("(table 20001 funcref)")),
            ["a table of 20001 elements is above the limit of 20000"]
        );
        let tables = "(table 1 funcref)".repeat(5);
        assert_eq!(refusals(guest(&tables)), ["5 tables are above the limit of 4"]);
        accepted(
            &guest("(table 20000 funcref) (table 1 9999999 funcref)"),
            &settings(),
        );
    }

    #[test]
    fn all_kinds_of_problems_are_reported_at_once() {
        let refused = refusals("(module (import \"a\" \"b\" (func)) (memory 99) (table 99999 funcref))");
        assert_eq!(refused.len(), 5, "{refused:?}");
    }

    #[test]
    fn random_bytes_never_make_it_panic() {
        use rand::{Rng, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(2);
        let valid = b"\0asm\x01\0\0\0\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\
            \x05\x04\x01\x01\x01\x03\x07\x15\x02\x06memory\x02\x00\x08runnable\x00\x00\
            \x0a\x06\x01\x04\x00\x41\x00\x0b";
        for _ in 0..300 {
            let mut bytes = valid.to_vec();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(4..bytes.len());
                bytes[at] = random.random();
            }
            if let Compiled::Refused(info) = compile(&bytes, &settings()) {
                assert!(!info.refusals[0].contains("engine failed"), "{bytes:?}");
            }
        }
    }
}
