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
