//! Reads the arguments of an operation.

use std::borrow::Cow;

use mpwasm_types::json::{MAX_JSON_DEPTH, one_line};
use mpwasm_types::objects::{MAX_VALUE, ObjectErrorKind};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::json::Json;
use crate::operation_error::OperationError;

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
    serde_json::from_str(text)
        .map_err(|_| OperationError::new(ObjectErrorKind::Invalid, "the arguments are no JSON array"))
}

/// Returns an argument of any type.
pub(super) fn any(arg: &RawValue) -> Json {
    Json::from_part(arg)
}

/// Returns an argument of type `T`. `None` if it is of another type.
pub(super) fn typed<T: DeserializeOwned>(arg: &RawValue) -> Option<T> {
    serde_json::from_str(arg.get()).ok()
}

/// Returns the values of an argument that is an array. `None` if it is none.
pub(super) fn list(arg: &RawValue) -> Option<Vec<Json>> {
    let values: Vec<&RawValue> = serde_json::from_str(arg.get()).ok()?;
    Some(values.into_iter().map(any).collect())
}
