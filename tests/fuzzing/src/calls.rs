//! The imports of the guest ABI: a guest calls them as its input says.
//!
//! The guest is an interpreter, compiled once, so that thousands of inputs run in a second. The first byte of an input
//! selects the export. Then come calls: a byte is the index of an import in the list, followed by the arguments, as many
//! bytes as their types have. The input is also the guest's memory from address 0 on, so that the fuzzer controls the
//! data behind a pointer, too.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::Verdict;
use super::rig::{COMPILER_STACK, Rig, on_thread, settings};
use mpwasm_engine::{CallReport, Compiled, EngineRole, Export, compile};
use mpwasm_types::engine_settings::EngineSettings;
use mpwasm_types::guest_info::GuestInfo;
use mpwasm_types::task::TaskInput;

/// All imports, a line of text form each. Their order gives the corpus its meaning.
const IMPORTS: &str = include_str!("../../hostile/imports.wat");
/// Most bytes of an input that the guest reads.
const MOST: usize = 8 << 10;
/// Address at which it stores a call's result, so that the next call can point to it.
const RETURNED: usize = MOST + 64;

/// Makes a guest do the calls that `input` describes.
///
/// # Panics
/// When the guest gets out of its bounds, or does not end in time.
#[must_use]
pub fn calls(input: &[u8]) -> Verdict {
    let Some((export, script)) = input.split_first() else {
        return Verdict::Refused;
    };
    let report = match export % 3 {
        0 => run(&WORKER, EngineRole::Worker, Export::Runnable, script),
        1 => run(&CALLBACKS, EngineRole::Callbacks, Export::Callback, script),
        _ => run(&TASKS, EngineRole::Tasks, Export::Tasks, script),
    };
    Verdict::from(&report.result)
}

static WORKER: Mutex<Option<Rig>> = Mutex::new(None);
static CALLBACKS: Mutex<Option<Rig>> = Mutex::new(None);
static TASKS: Mutex<Option<Rig>> = Mutex::new(None);

fn run(rig: &Mutex<Option<Rig>>, role: EngineRole, export: Export, script: &[u8]) -> CallReport {
    let mut rig = rig.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = rig.get_or_insert_with(|| new(role));
    let report = rig.call(export, 0, TaskInput::Json(script));
    if role == EngineRole::Callbacks {
        // It traps, so that the next input does not get the instance that this one has changed.
        let _ = rig.call(Export::ErrorCallback, 0, TaskInput::Json(b"null"));
    }
    report
}

fn new(role: EngineRole) -> Rig {
    let guest = interpreter();
    let mut info = GuestInfo::default();
    match on_thread(COMPILER_STACK, || {
        let settings = EngineSettings::from(&settings());
        compile(guest.as_bytes(), &settings, None, |checked| info = checked)
    }) {
        Compiled::Accepted(artifact) => Rig::new(role, &info, &artifact),
        other => panic!("the interpreter is no guest: {other:?}"),
    }
}

/// An import, as the interpreter calls it.
struct Import<'a> {
    /// Name with its `$`.
    name: &'a str,
    params: Vec<&'a str>,
    result: Option<&'a str>,
}

/// Returns the imports of [`IMPORTS`], in order.
fn imports() -> Vec<Import<'static>> {
    let types = |text: &'static str, word: &str| -> Vec<&'static str> {
        let behind = text.split_once(word).map_or("", |(_, behind)| behind);
        let list = behind.split_once(')').map_or("", |(list, _)| list);
        list.split_whitespace().collect()
    };
    let functions = IMPORTS.split("(func ").skip(1);
    functions
        .map(|function| Import {
            name: function.split([' ', ')']).next().unwrap_or_default(),
            params: types(function, "(param"),
            result: types(function, "(result").first().copied(),
        })
        .collect()
}

/// Returns the guest in text form.
fn interpreter() -> String {
    let imports = imports();
    let mut body = String::new();
    let mut say = |line: &str| writeln!(body, "{line}").expect("a String takes all text");
    // One block for each import, the first one innermost. An index without an import ends the call.
    say("(block $none");
    (0..imports.len())
        .rev()
        .for_each(|index| say(&format!("(block $i{index}")));
    let labels: Vec<_> = (0..imports.len()).map(|index| format!("$i{index}")).collect();
    say(&format!(
        "(br_table {} $none (local.get $import)))",
        labels.join(" ")
    ));
    for import in &imports {
        let mut at = 0;
        let mut call = format!("(call {}", import.name);
        for param in &import.params {
            _ = write!(call, " ({param}.load offset={at} (local.get $at))");
            at += size(param);
        }
        call.push(')');
        match import.result {
            Some(result) => say(&format!("({result}.store (i32.const {RETURNED}) {call})")),
            None => say(&call),
        }
        say(&format!(
            "(local.set $at (i32.add (local.get $at) (i32.const {at})))"
        ));
        say("(br $next))");
    }
    format!(
        r#"(module {IMPORTS}
        (memory (export "memory") 1)
        (func $run (export "runnable") (export "callback") (export "tasks") (result i32)
          (local $at i32) (local $end i32) (local $import i32)
          (local.set $end (call $input_read (i32.const 0) (i32.const 0) (i32.const {MOST})))
          (loop $next
            (if (i32.ge_u (local.get $at) (local.get $end)) (then (return (i32.const 0))))
            (local.set $import (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            {body})
          (i32.const 0))
        (func (export "error_callback") (result i32) unreachable))"#
    )
}

fn size(value: &str) -> usize {
    match value {
        "i64" | "f64" => 8,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes of a call of the import with this name.
    fn call(name: &str, args: &[u64]) -> Vec<u8> {
        let imports = imports();
        let found = imports
            .iter()
            .position(|import| import.name == format!("${name}"));
        let index = found.unwrap_or_else(|| panic!("no import {name}"));
        assert_eq!(imports[index].params.len(), args.len(), "{name}");
        let mut bytes = vec![u8::try_from(index).unwrap()];
        for (param, arg) in imports[index].params.iter().zip(args) {
            bytes.extend(&arg.to_le_bytes()[..size(param)]);
        }
        bytes
    }

    #[test]
    fn every_import_that_there_is_is_called() {
        let mut known: Vec<_> = imports()
            .iter()
            .map(|import| import.name[1..].to_owned())
            .collect();
        let mut all = crate::rig::import_names();
        known.sort();
        all.sort();
        assert_eq!(known, all);
    }

    #[test]
    fn the_interpreter_opens_an_object_and_adds_to_its_number() {
        // What is first opened gets this descriptor.
        let descriptor = 1 << 10;
        let add = call("number_int", &[descriptor, 0, 3, u64::from(b'1'), 0]);
        let write = call("output_write", &[RETURNED as u64, 1]);
        let calls = [add.clone(), add, write].concat();
        let name = b"value:u8";
        let open = |at| call("object_open", &[at as u64, name.len() as u64]);
        let at = open(0).len() + calls.len();
        let script = [open(at), calls, name.to_vec()].concat();
        let report = run(&Mutex::new(None), EngineRole::Worker, Export::Runnable, &script);
        assert_eq!(report.result.as_deref(), Ok("1"), "what the first addition left");
    }

    #[test]
    fn the_interpreter_does_what_its_input_says() {
        // `[1]` is after the call: 9 bytes of a call, and its address.
        let script = [call("output_write", &[9, 3]), b"[1]".to_vec()].concat();
        let report = run(&Mutex::new(None), EngineRole::Worker, Export::Runnable, &script);
        assert_eq!(report.result.as_deref(), Ok("[1]"));
    }
}
