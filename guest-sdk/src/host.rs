//! The imports of the guest ABI (module `mpwasm_v1`), each behind a safe function.
//!
//! This file and `initialize.rs` are the only ones of the crate with unsafe code. On targets other than `wasm32`, the
//! module `native_host` has the same functions.

#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::native_host::*;

#[cfg(target_arch = "wasm32")]
mod wasm {
    /// The functions as the host declares them; pointers and `usize` are `i32` on this target.
    mod import {
        #[link(wasm_import_module = "mpwasm_v1")]
        unsafe extern "C" {
            pub safe fn input_len() -> i32;
            pub fn input_read(to: *mut u8, offset: usize, len: usize) -> i32;
            pub fn output_write(from: *const u8, len: usize);
            pub fn fail(from: *const u8, len: usize) -> !;
            pub fn push(from: *const u8, len: usize) -> i64;
            pub fn log(level: i32, from: *const u8, len: usize);
            pub safe fn pid() -> i32;
            pub safe fn task_id() -> i64;
            pub safe fn attempt() -> i32;
            pub safe fn remaining_ms() -> i64;
            pub fn object_open(target: *const u8, len: usize) -> i32;
            pub fn object_call(
                object: i32,
                operation: *const u8,
                operation_len: usize,
                args: *const u8,
                args_len: usize,
                timeout_ms: i64,
            ) -> i32;
            pub safe fn object_reply_len() -> i32;
            pub fn object_reply(to: *mut u8, offset: usize, len: usize) -> i32;
            pub safe fn object_info(object: i32) -> i64;
            pub safe fn number_int(object: i32, index: u32, operation: i32, a: i64, b: i64) -> i64;
            pub safe fn number_float(object: i32, index: u32, operation: i32, a: f64, b: f64) -> f64;
        }
    }

    /// Returns this call's whole input.
    pub(crate) fn input() -> Vec<u8> {
        let len = import::input_len() as usize;
        let mut input = Vec::with_capacity(len);
        // SAFETY: the vector owns `len` bytes. The host writes at most `len` bytes and returns how many it wrote.
        unsafe {
            let read = import::input_read(input.as_mut_ptr(), 0, len) as usize;
            input.set_len(read.min(len));
        }
        input
    }

    /// Appends to this call's output.
    pub(crate) fn output(bytes: &[u8]) {
        // SAFETY: the host only reads, within the slice.
        unsafe { import::output_write(bytes.as_ptr(), bytes.len()) }
    }

    /// Discards this call's output and ends the call as `error`.
    pub(crate) fn fail(message: &str) -> ! {
        // SAFETY: the host only reads, within the string, and does not return.
        unsafe { import::fail(message.as_ptr(), message.len()) }
    }

    /// Pushes a task, a JSON object, and returns its id.
    pub(crate) fn push(task: &[u8]) -> u64 {
        // SAFETY: the host only reads, within the slice.
        unsafe { import::push(task.as_ptr(), task.len()) as u64 }
    }

    /// Writes a log line.
    pub(crate) fn log(level: i32, text: &str) {
        // SAFETY: the host only reads, within the string.
        unsafe { import::log(level, text.as_ptr(), text.len()) }
    }

    /// Returns the id of the operating-system process that runs this call.
    pub(crate) fn pid() -> u32 {
        import::pid() as u32
    }

    /// Returns the id of this call's task.
    pub(crate) fn task_id() -> u64 {
        import::task_id() as u64
    }

    /// Returns the number of this attempt of the task, from 1.
    pub(crate) fn attempt() -> u32 {
        import::attempt() as u32
    }

    /// Returns the milliseconds until this call's deadline.
    pub(crate) fn remaining_ms() -> u64 {
        import::remaining_ms().max(0) as u64
    }

    /// Opens a shared object by its handle or name. Returns its descriptor, or a negative code.
    pub(crate) fn object_open(target: &[u8]) -> i32 {
        // SAFETY: the host only reads, within the slice.
        unsafe { import::object_open(target.as_ptr(), target.len()) }
    }

    /// Calls an operation of a shared object. Returns the length of its reply, or a negative code.
    pub(crate) fn object_call(object: i32, operation: &str, args: &[u8], timeout_ms: i64) -> i32 {
        // SAFETY: the host only reads, within the string and the slice.
        unsafe {
            import::object_call(
                object,
                operation.as_ptr(),
                operation.len(),
                args.as_ptr(),
                args.len(),
                timeout_ms,
            )
        }
    }

    /// Returns the reply to the last request to a shared object.
    pub(crate) fn object_reply() -> Vec<u8> {
        let len = import::object_reply_len() as usize;
        let mut reply = Vec::with_capacity(len);
        // SAFETY: the vector owns `len` bytes. The host writes at most `len` bytes and returns how many it wrote.
        unsafe {
            let read = import::object_reply(reply.as_mut_ptr(), 0, len) as usize;
            reply.set_len(read.min(len));
        }
        reply
    }

    pub(crate) use import::{number_float, number_int, object_info};
}
