//! The imports of module `mpwasm_v1` for objects that tasks share.
//!
//! Every range of memory is checked before anything is copied or sent. An operation that fails returns an error to the guest. A
//! wrong descriptor, and a wrong index or type of a number, traps.

use std::time::Duration;

use serde::Deserialize;
use wasmtime::{Caller, Linker};

use super::host::MODULE;
use super::memory::{memory_and_state, range};
use crate::failure::StopReason;
use crate::object_client::{ObjectCallError, ObjectCaller, ObjectTarget, OpenedObject};
use crate::open_objects::OpenObjects;
use crate::state::InstanceState;
use mpwasm_system::number_memory::{NumberError, NumberMemory};
use mpwasm_types::objects::{
    Handle, MAX_OPERATION, NumberOperation, ObjectError, ObjectErrorKind, ObjectInfo,
};

/// Longest handle or name: 1 KiB, which is more than a label of which each byte is escaped.
const MAX_TARGET: usize = 1 << 10;

/// Defines the imports for shared objects.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "object_open", object_open)?;
    linker.func_wrap(MODULE, "object_call", object_call)?;
    linker.func_wrap(MODULE, "object_reply_len", |caller: Caller<'_, InstanceState>| {
        let objects = caller.data().objects.as_ref();
        // A longer reply does not exist: `returned` refuses it.
        objects.map_or(0, |objects| {
            i32::try_from(objects.reply().len()).unwrap_or(i32::MAX)
        })
    })?;
    linker.func_wrap(MODULE, "object_reply", object_reply)?;
    linker.func_wrap(MODULE, "object_info", object_info)?;
    linker.func_wrap(MODULE, "number_int", number_int)?;
    linker.func_wrap(MODULE, "number_float", number_float)?;
    Ok(())
}

fn object_open(mut caller: Caller<'_, InstanceState>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let target = &memory[range(memory, "object_open", ptr, len)?];
    let caller = ObjectCaller {
        export: state.export,
        task_id: state.task_id,
        attempt: state.attempt,
    };
    let objects = state.objects.get_or_insert_default();
    let opened = match std::str::from_utf8(target) {
        Ok(text) if text.len() > MAX_TARGET => Err(refused("it is longer than 1024 bytes")),
        Ok(json) if json.starts_with('{') => match (Handle::parse(json), NameReference::parse(json)) {
            (Some(handle), _) => objects.open(caller, ObjectTarget::Handle(&handle)),
            (None, Some(name)) => objects.open(caller, ObjectTarget::Name(&name.object)),
            (None, None) => Err(refused("it is no handle")),
        },
        Ok("") => Err(refused("a name is not empty")),
        Ok(name) => objects.open(caller, ObjectTarget::Name(name)),
        Err(_) => Err(refused("it is not UTF-8")),
    };
    returned(objects, opened)
}

/// A handle without a token, as records show it and users write it: the name that was granted to the pool.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameReference {
    object: String,
}

impl NameReference {
    fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// Returns the error for a handle or name that names nothing.
fn refused(why: &str) -> ObjectCallError {
    ObjectError::new(ObjectErrorKind::Invalid, "", "open")
        .with_detail(why)
        .into()
}

fn object_call(
    mut caller: Caller<'_, InstanceState>,
    object: i32,
    operation_ptr: i32,
    operation_len: i32,
    args_ptr: i32,
    args_len: i32,
    timeout_ms: i64,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let operation = &memory[range(memory, "object_call", operation_ptr, operation_len)?];
    let args = &memory[range(memory, "object_call", args_ptr, args_len)?];
    let objects = state.objects.get_or_insert_default();
    let label = open_object(objects, object)?.label.clone();
    let operation = match std::str::from_utf8(operation) {
        Ok(operation) if operation.len() <= MAX_OPERATION => operation,
        _ => {
            let operation = String::from_utf8_lossy(operation.get(..MAX_OPERATION).unwrap_or(operation));
            let error = ObjectError::new(ObjectErrorKind::Invalid, &label, &operation);
            return returned(objects, Err(error.into()));
        }
    };
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    let length = objects.call(object, operation, args, timeout);
    let length = length.and_then(|length| match i32::try_from(length) {
        Ok(length) => Ok(length),
        Err(_) => Err(ObjectError::new(ObjectErrorKind::TooLarge, &label, operation).into()),
    });
    returned(objects, length)
}

/// Returns what an import returns for this result. An error becomes the reply, and its code is negated. If the call was
/// interrupted, it ends.
fn returned(objects: &mut OpenObjects, result: Result<i32, ObjectCallError>) -> wasmtime::Result<i32> {
    match result {
        Ok(value) => Ok(value),
        Err(ObjectCallError::Object(error)) => {
            objects.set_reply(error.to_json().into_bytes());
            Ok(-error.kind.code())
        }
        Err(ObjectCallError::Interrupted(cause)) => Err(StopReason::Interrupted(cause).into()),
    }
}

fn object_reply(
    mut caller: Caller<'_, InstanceState>,
    ptr: i32,
    offset: i32,
    len: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let range = range(memory, "object_reply", ptr, len)?;
    let reply = state.objects.as_ref().map_or(&[][..], |objects| objects.reply());
    let part = &reply[(offset.cast_unsigned() as usize).min(reply.len())..];
    let count = part.len().min(range.len());
    memory[range][..count].copy_from_slice(&part[..count]);
    // At most `len`, so it fits an i32 when read as unsigned.
    Ok((count as u32).cast_signed())
}

fn object_info(caller: Caller<'_, InstanceState>, object: i32) -> wasmtime::Result<i64> {
    let spec = opened(&caller, object)?.spec;
    Ok(ObjectInfo::from(spec).pack())
}

fn number_int(
    caller: Caller<'_, InstanceState>,
    object: i32,
    index: i32,
    operation: i32,
    a: i64,
    b: i64,
) -> wasmtime::Result<i64> {
    number(&caller, object, operation, "number_int", |numbers, operation| {
        numbers.int(index.cast_unsigned(), operation, a, b)
    })
}

fn number_float(
    caller: Caller<'_, InstanceState>,
    object: i32,
    index: i32,
    operation: i32,
    a: f64,
    b: f64,
) -> wasmtime::Result<f64> {
    number(
        &caller,
        object,
        operation,
        "number_float",
        |numbers, operation| numbers.float(index.cast_unsigned(), operation, a, b),
    )
}

/// Performs an operation on the numbers of an object. Traps if there is no such operation, object or number.
#[inline]
fn number<T>(
    caller: &Caller<'_, InstanceState>,
    object: i32,
    operation: i32,
    import: &str,
    perform: impl FnOnce(&NumberMemory, NumberOperation) -> Result<T, NumberError>,
) -> wasmtime::Result<T> {
    let object = opened(caller, object)?;
    let misuse = |what: &dyn std::fmt::Display| {
        StopReason::Misuse(format!(
            "`{import}` on {} `{}`: {what}",
            object.spec.kind(),
            object.label
        ))
    };
    let numbers = object.numbers.as_deref();
    let numbers = numbers.ok_or_else(|| misuse(&"it has no numbers"))?;
    let operation = NumberOperation::from_code(operation)
        .ok_or_else(|| misuse(&format_args!("no operation {operation}")))?;
    perform(numbers, operation).map_err(|error| misuse(&error).into())
}

/// Returns the open object with this descriptor. Traps if there is none.
#[inline]
fn opened<'a>(
    caller: &'a Caller<'_, InstanceState>,
    descriptor: i32,
) -> Result<&'a OpenedObject, StopReason> {
    match &caller.data().objects {
        Some(objects) => open_object(objects, descriptor),
        None => Err(not_open(descriptor)),
    }
}

#[inline]
fn open_object(objects: &OpenObjects, descriptor: i32) -> Result<&OpenedObject, StopReason> {
    objects.get(descriptor).ok_or_else(|| not_open(descriptor))
}

fn not_open(descriptor: i32) -> StopReason {
    StopReason::Misuse(format!("no shared object is open as {descriptor}"))
}

#[cfg(test)]
mod tests;
