//! Replaces the imports of the guest ABI on targets other than `wasm32`. Each thread has a state of its own.

use std::cell::RefCell;

/// The input, output and pushed tasks of a thread's call.
struct Host {
    input: Vec<u8>,
    output: Vec<u8>,
    pushed: Vec<Vec<u8>>,
}

thread_local! {
    static HOST: RefCell<Host> =
        const { RefCell::new(Host { input: Vec::new(), output: Vec::new(), pushed: Vec::new() }) };
}

/// Calls an export with this input. Returns its status and its output.
pub(crate) fn call(input: &str, export: impl FnOnce() -> i32) -> (i32, String) {
    HOST.with_borrow_mut(|host| {
        input.as_bytes().clone_into(&mut host.input);
        host.output.clear();
    });
    let status = export();
    let output = HOST.with_borrow_mut(|host| std::mem::take(&mut host.output));
    (
        status,
        String::from_utf8(output).expect("the output should be UTF-8"),
    )
}

/// Takes the tasks that this thread has pushed since the last call, each as JSON.
pub(crate) fn take_pushed() -> Vec<Vec<u8>> {
    HOST.with_borrow_mut(|host| std::mem::take(&mut host.pushed))
}

pub(crate) fn input() -> Vec<u8> {
    HOST.with_borrow(|host| host.input.clone())
}

pub(crate) fn output(bytes: &[u8]) {
    HOST.with_borrow_mut(|host| host.output.extend_from_slice(bytes));
}

pub(crate) fn fail(message: &str) -> ! {
    panic!("{message}")
}

pub(crate) fn push(task: &[u8]) -> u64 {
    HOST.with_borrow_mut(|host| {
        host.pushed.push(task.to_vec());
        host.pushed.len() as u64 - 1
    })
}

pub(crate) fn log(level: i32, text: &str) {
    eprintln!("log {level}: {text}");
}

pub(crate) fn pid() -> u32 {
    std::process::id()
}

pub(crate) fn task_id() -> u64 {
    0
}

pub(crate) fn attempt() -> u32 {
    1
}

pub(crate) fn remaining_ms() -> u64 {
    u64::MAX
}

/// Shared objects, as the imports of the guest ABI give access to them.
pub(crate) trait Objects {
    fn open(&mut self, target: &[u8]) -> i32;
    fn call(&mut self, object: i32, operation: &str, args: &[u8], timeout_ms: i64) -> i32;
    fn reply(&mut self) -> Vec<u8>;
    fn info(&mut self, object: i32) -> i64;
    fn int(&mut self, object: i32, index: u32, operation: i32, a: i64, b: i64) -> i64;
    fn float(&mut self, object: i32, index: u32, operation: i32, a: f64, b: f64) -> f64;
}

/// Code of the error `Unavailable`, as the imports return it.
const UNAVAILABLE: i32 = -11;

/// There are no objects: none can be opened, so nothing else is called.
struct NoObjects;

impl Objects for NoObjects {
    fn open(&mut self, _target: &[u8]) -> i32 {
        UNAVAILABLE
    }

    fn call(&mut self, _object: i32, _operation: &str, _args: &[u8], _timeout_ms: i64) -> i32 {
        UNAVAILABLE
    }

    fn reply(&mut self) -> Vec<u8> {
        br#"{"kind":"Unavailable","message":"shared objects exist in mpwasm only"}"#.to_vec()
    }

    fn info(&mut self, _object: i32) -> i64 {
        0
    }

    fn int(&mut self, _object: i32, _index: u32, _operation: i32, _a: i64, _b: i64) -> i64 {
        0
    }

    fn float(&mut self, _object: i32, _index: u32, _operation: i32, _a: f64, _b: f64) -> f64 {
        0.0
    }
}

thread_local! {
    static OBJECTS: RefCell<Box<dyn Objects>> = RefCell::new(Box::new(NoObjects));
}

/// Replaces the shared objects of this thread.
#[cfg(test)]
pub(crate) fn set_objects(objects: Box<dyn Objects>) {
    OBJECTS.set(objects);
}

pub(crate) fn object_open(target: &[u8]) -> i32 {
    OBJECTS.with_borrow_mut(|objects| objects.open(target))
}

pub(crate) fn object_call(object: i32, operation: &str, args: &[u8], timeout_ms: i64) -> i32 {
    OBJECTS.with_borrow_mut(|objects| objects.call(object, operation, args, timeout_ms))
}

pub(crate) fn object_reply() -> Vec<u8> {
    OBJECTS.with_borrow_mut(|objects| objects.reply())
}

pub(crate) fn object_info(object: i32) -> i64 {
    OBJECTS.with_borrow_mut(|objects| objects.info(object))
}

pub(crate) fn number_int(object: i32, index: u32, operation: i32, a: i64, b: i64) -> i64 {
    OBJECTS.with_borrow_mut(|objects| objects.int(object, index, operation, a, b))
}

pub(crate) fn number_float(object: i32, index: u32, operation: i32, a: f64, b: f64) -> f64 {
    OBJECTS.with_borrow_mut(|objects| objects.float(object, index, operation, a, b))
}
