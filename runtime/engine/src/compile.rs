//! Compiles the bytes of a `.wasm` or `.wat` file, or says why they are refused.
//!
//! Runs in the compiler process only, which has time and memory limits of its own: the engine does not promise to compile every
//! module quickly. No code of the guest runs here. All that can be known about a guest before it runs is checked here, so that
//! workers need not check it. The checks come before compilation, so that a bad guest is refused at once.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::ThreadPool;
use wasmtime::{Engine, ExternType, Linker, Module, Store, ValType};
use wasmtime_environ::wasmparser::{self, FuncType};

use crate::abi::exports;
use crate::abi::exports::{Refusals, brief};
use crate::config::compiler;
use crate::deadline::Deadline;
use crate::linker::linker;
use crate::module_types::{ItemType, ModuleTypes, body_sizes};
use crate::output::OutputSink;
use crate::state::InstanceState;
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::escape::MAX_DISPLAYED_ERROR;
use mpwasm_types::escape::escape;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::outcome::{LogLevel, Stream};

/// Bytes of functions that may be compiled at the same time in the worst case. A guest that could exceed it is compiled by one
/// thread, since the address space of the compiler might be too little.
const MAX_PARALLEL_BODIES: usize = 4 << 20;

/// The result of [`compile`].
#[derive(Debug)]
pub enum Compiled {
    /// A guest, or a command: the artifact, for [`Executor::load`](super::Executor::load) in any process with the same
    /// settings.
    Accepted(Vec<u8>),
    /// WebAssembly that mpwasm does not accept. [`GuestInfo::refusals`] says why. If the engine itself refused it, nothing
    /// else is known about it.
    Refused(GuestInfo),
    /// Neither WebAssembly nor its text form. The sentence says what the bytes look like.
    NotWasm(String),
}

/// A module that passed the checks.
struct Checked<'a> {
    info: GuestInfo,
    /// The binary form.
    binary: Cow<'a, [u8]>,
    engine: Engine,
}

/// Checks the binary or text form of a module, then compiles it. `checked` is called in between, with the description of the
/// guest. The caller compares it with the limits ([`InitialSizes`](mpwasm_types::guest_info::InitialSizes)).
///
/// Uses `threads`, or else the calling thread alone. The threads need a stack of some megabytes for deeply nested code.
#[must_use]
pub fn compile(
    bytes: &[u8],
    settings: &EngineSettings,
    threads: Option<&ThreadPool>,
    checked: impl FnOnce(GuestInfo) + Send,
) -> Compiled {
    if let Err(reason) = looks_like_wasm(bytes) {
        return Compiled::NotWasm(reason.to_owned());
    }
    let work = || {
        let Checked { info, binary, engine } = match check(bytes, settings, threads) {
            Ok(checked) => checked,
            Err(info) => return Compiled::Refused(*info),
        };
        checked(info);
        // The module is not loaded: this process makes no executable memory.
        match engine.precompile_module(&binary) {
            Ok(artifact) => Compiled::Accepted(artifact),
            Err(error) => Compiled::Refused(*refusal(engine_message(&error))),
        }
    };
    let work = || match threads {
        Some(threads) => threads.install(work),
        None => work(),
    };
    // The engine should not panic on any input. If it does, the guest is refused.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Compiled::Refused(*refusal(
            "the WebAssembly engine failed on this module".to_owned(),
        ))
    })
}

/// Returns the description of a guest that is refused for one reason.
fn refusal(reason: String) -> Box<GuestInfo> {
    Box::new(GuestInfo {
        refusals: vec![reason],
        ..GuestInfo::default()
    })
}

/// Returns an error of the engine on one line, cut if it is long: it may quote names and whole lines.
fn engine_message(error: &wasmtime::Error) -> String {
    let message = format!("{error:#}");
    // The parser of the text form writes its errors over several lines. Elsewhere only guests' names contain newlines.
    let words = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = words.collect::<Vec<_>>().join(" ");
    let name = UNNAMED.iter().find(|(symptom, _)| message.contains(symptom));
    let named = name.map_or(String::new(), |(_, name)| format!("{name} are not accepted: "));
    let whole = format!("{named}{message}");
    match whole.char_indices().nth(MAX_DISPLAYED_ERROR) {
        Some((end, _)) => format!("{} [cut]", escape(&whole[..end])),
        None => escape(&whole).into_owned(),
    }
}

/// Features that the engine refuses without naming them: its message, and the name.
const UNNAMED: [(&str, &str); 3] = [
    ("encoded as a component", "components"),
    // The engine is built without `externref`: a guest could never get one that is not null.
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

/// Returns whether the first character outside of whitespace and line comments is a parenthesis. A block comment starts with
/// one too.
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

/// Returns the module of a guest that passes all checks but those of limits, with the engine to compile it.
fn check<'a>(
    bytes: &'a [u8],
    settings: &EngineSettings,
    threads: Option<&ThreadPool>,
) -> Result<Checked<'a>, Box<GuestInfo>> {
    let binary = wat::parse_bytes(bytes).map_err(|error| refusal(engine_message(&error.into())))?;
    let parallel = threads.is_some_and(|threads| fits_on(&binary, threads.current_num_threads()));
    let engine = compiler(settings, parallel).map_err(|error| refusal(error.to_string()))?;
    let linker = linker(&engine).map_err(|error| refusal(error.to_string()))?;
    let types = Module::validate(&engine, &binary)
        .and_then(|()| Ok(ModuleTypes::read(&binary)?))
        .map_err(|error| refusal(engine_message(&error)))?
        .ok_or_else(|| refusal("the module has no end".to_owned()))?;
    let mut info = GuestInfo::default();
    let mut refusals = Refusals::default();
    exports::read(types.exports(), &mut info, &mut refusals);
    read_imports(&types, &linker, settings, &mut info, &mut refusals);
    info.initial = types.initial_sizes();
    info.refusals = refusals.into_lines();
    match info.refusals.is_empty() {
        true => Ok(Checked { info, binary, engine }),
        false => Err(Box::new(info)),
    }
}

/// Returns whether this number of threads may compile functions of this module at the same time. In the worst case these are the
/// largest ones.
fn fits_on(binary: &[u8], threads: usize) -> bool {
    let mut sizes = body_sizes(binary);
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let at_once: usize = sizes.iter().take(threads).sum();
    at_once <= MAX_PARALLEL_BODIES
}

/// Checks every import against the linker.
fn read_imports(
    types: &ModuleTypes,
    linker: &Linker<InstanceState>,
    settings: &EngineSettings,
    info: &mut GuestInfo,
    refusals: &mut Refusals,
) {
    // The store is only needed to ask for the types of the linker's items.
    let state = InstanceState::new(settings, Arc::new(Deadline::new()), Arc::new(NoOutput));
    let mut store = Store::new(linker.engine(), state);
    for (module, name, wanted) in types.imports() {
        if let Err(error) = check_import(module, name, &wanted, linker, &mut store) {
            refusals.push(error.to_string());
        } else if info
            .imports
            .last()
            .is_none_or(|(m, n)| (&**m, &**n) != (module, name))
        {
            // Imports of one name are adjacent.
            info.imports.push((module.to_owned(), name.to_owned()));
        }
    }
}

fn check_import(
    module: &str,
    name: &str,
    wanted: &ItemType<'_>,
    linker: &Linker<InstanceState>,
    store: &mut Store<InstanceState>,
) -> Result<(), ImportError> {
    let known = linker.get(&mut *store, module, name);
    let import = format!("{}.{}", brief(module), brief(name));
    let Ok(known) = known else {
        return Err(ImportError::Missing { import });
    };
    let known = parsed(&known.ty(&*store));
    match wanted {
        ItemType::Func(wanted) if **wanted == known => Ok(()),
        _ => Err(ImportError::OtherType {
            import,
            known: ItemType::Func(&known).to_string(),
            wanted: wanted.to_string(),
        }),
    }
}

/// Why a guest cannot have an import.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("the import `{import}` does not exist")]
    Missing { import: String },
    #[error("the import `{import}` is {known}, not {wanted}")]
    OtherType {
        import: String,
        known: String,
        wanted: String,
    },
}

/// Returns the type of a function of the linker as a type of the parser. All of them take and return numbers.
fn parsed(ty: &ExternType) -> FuncType {
    let number = |ty| match ty {
        ValType::I32 => wasmparser::ValType::I32,
        ValType::I64 => wasmparser::ValType::I64,
        ValType::F32 => wasmparser::ValType::F32,
        ValType::F64 => wasmparser::ValType::F64,
        ValType::V128 | ValType::Ref(_) => unreachable!("no import of ours takes or returns one"),
    };
    let ty = ty.unwrap_func();
    FuncType::new(ty.params().map(number), ty.results().map(number))
}

/// The output of guests, none of which run here.
struct NoOutput;

impl OutputSink for NoOutput {
    fn print(&self, _: Stream, _: &[u8]) {}
    fn log(&self, _: LogLevel, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{accepted, on_task_thread, refusals, settings};
    use mpwasm_types::guest_info::MemoryInfo;

    /// A guest with a `runnable` and `fields`.
    fn guest(fields: &str) -> String {
        format!(
            "(module {fields} (memory (export \"memory\") 1 3)
               (func (export \"runnable\") (result i32) (i32.const 0)))"
        )
    }

    fn not_wasm(bytes: &[u8]) -> String {
        match compile(bytes, &settings(), None, |_| {}) {
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
        let (info, artifact) = accepted(binary, &settings());
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
    fn bytes_that_are_not_wasm_are_named() {
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
            refusals(guest("(table 1000001 funcref)")),
            ["a table of 1000001 elements is above the limit of 1000000 (--max-table)"]
        );
        let tables = "(table 1 funcref)".repeat(5);
        assert_eq!(refusals(guest(&tables)), ["5 tables are above the limit of 4"]);
        accepted(
            &guest("(table 1000000 funcref) (table 1 9999999 funcref)"),
            &settings(),
        );
    }

    #[test]
    fn all_kinds_of_problems_are_reported_at_once() {
        let refused = refusals("(module (import \"a\" \"b\" (func)) (memory 99) (table 9999999 funcref))");
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
            if let Compiled::Refused(info) = compile(&bytes, &settings(), None, |_| {}) {
                assert!(!info.refusals[0].contains("engine failed"), "{bytes:?}");
            }
        }
    }
}
