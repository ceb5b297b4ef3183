//! Access to a guest's linear memory from imports.
//!
//! Pointers and lengths are `i32` in WebAssembly. They are interpreted as unsigned, so that guests may use all of a memory of
//! 4 GiB. A negative number is therefore a very large one, and out of bounds.

use std::ops::Range;

use wasmtime::{Caller, Extern};

use crate::failure::StopReason;
use crate::state::InstanceState;

/// Returns the guest's memory and the state of its instance. Works in a `start` function too, when the instance is not
/// complete yet.
pub(crate) fn memory_and_state<'a>(
    caller: &'a mut Caller<'_, InstanceState>,
) -> Result<(&'a mut [u8], &'a mut InstanceState), StopReason> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let found = caller.get_export("memory").and_then(Extern::into_memory);
            let Some(memory) = found else {
                return Err(StopReason::Misuse("the guest exports no memory".to_owned()));
            };
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    Ok(memory.data_and_store_mut(caller))
}

/// Returns the range of `len` bytes at `ptr` in `memory`.
///
/// # Errors
/// Traps if the range is out of bounds. `import` is the name of the import for the message.
pub(crate) fn range(memory: &[u8], import: &str, ptr: i32, len: i32) -> Result<Range<usize>, StopReason> {
    let (ptr, len) = (u64::from(ptr.cast_unsigned()), u64::from(len.cast_unsigned()));
    let end = ptr + len; // the sum of two u32 fits
    if end > memory.len() as u64 {
        return Err(StopReason::Misuse(format!(
            "`{import}` was given {len} bytes at {ptr}, which is out of bounds of a memory of {} bytes",
            memory.len()
        )));
    }
    // Both are at most the memory's length, which is a usize.
    Ok(ptr as usize..end as usize)
}
