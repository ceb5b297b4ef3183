//! Reads the arguments of an operation.

use std::borrow::Cow;

use mpwasm_types::json::{MAX_JSON_DEPTH, one_line};
use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::elements::values;
use crate::bounds::MAX_MANY;
use crate::json::Json;
use crate::operation_error::OperationError;

/// Most arguments of an operation.
const MAX_ARGS: usize = 3;

/// Checks that `args` is JSON, and returns it without white space.
pub(super) fn check(args: &[u8]) -> Result<Cow<'_, str>, OperationError> {
    if args.len() > MAX_VALUE {
        return Err(OperationError::new(
            ObjectErrorKind::TooLarge,
            format!("{} bytes; at most {MAX_VALUE} are allowed", args.len()),
        ));
    }
    one_line(args, MAX_JSON_DEPTH)
        .map_err(|error| OperationError::new(ObjectErrorKind::Invalid, format!("the arguments: {error}")))
}

/// Returns the arguments in a checked text.
pub(super) fn split(text: &str) -> Result<Vec<&RawValue>, OperationError> {
    let invalid = |detail| OperationError::new(ObjectErrorKind::Invalid, detail);
    if !text.starts_with('[') {
        return Err(invalid("the arguments are no JSON array"));
    }
    values::<MAX_ARGS>(text).ok_or_else(|| invalid("no operation takes more than three arguments"))
}

/// Returns an argument of any type.
pub(super) fn any(arg: &RawValue) -> Json {
    Json::from_part(arg)
}

/// Returns an argument of type `T`. `None` if it is of another type.
pub(super) fn typed<T: DeserializeOwned>(arg: &RawValue) -> Option<T> {
    serde_json::from_str(arg.get()).ok()
}

/// Returns the values of an argument that is an array. `None` if it is none, or has too many.
pub(super) fn list(arg: &RawValue) -> Option<Vec<Json>> {
    let values = values::<MAX_MANY>(arg.get())?;
    Some(values.into_iter().map(any).collect())
}
