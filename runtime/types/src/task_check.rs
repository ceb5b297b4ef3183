//! Checks a task against its guest and the limits of its pool: args, stdin and the name of the model.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::guest_info::GuestInfo;
use crate::ids::ModelId;
use crate::invocation::{Invocation, InvocationError};
use crate::json::{JsonError, MAX_JSON_DEPTH, value_line};

/// Why a guest can't be called with these args or this stdin.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A value of a program can't be serialized as JSON.
    #[error("the args can't be written as JSON: {0}")]
    NotSerializable(Arc<serde_json::Error>),
    /// The args are not acceptable JSON.
    #[error("the args are no JSON: {0}")]
    NotJson(JsonError),
    /// The args are JSON, but no array.
    #[error("the args are no JSON array")]
    NotArray,
    /// The args alone are too large.
    #[error("the args have {size} bytes; at most {max} are allowed (--max-args)")]
    ArgsTooLarge {
        /// Bytes of the args.
        size: usize,
        /// Limit of the pool.
        max: u64,
    },
    /// The args and the stdin of a command together are too large.
    #[error("the args and the stdin have {size} bytes; at most {max} are allowed (--max-args)")]
    InputTooLarge {
        /// Bytes of both.
        size: u64,
        /// Limit of the pool.
        max: u64,
    },
    /// The args can't be those of a command.
    #[error(transparent)]
    Command(#[from] InvocationError),
    /// There is a stdin, and the guest is no command.
    #[error("`stdin` is only for command guests")]
    NoStdin,
}

/// Why a model was not found: the guest has none of that name.
///
/// The names are the caller's and the guest's own, unchanged: [escape them](crate::escape::escape) before they are displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel {
    name: String,
    models: Vec<String>,
}

impl UnknownModel {
    /// Returns the name that no model has. Empty for the unnamed model.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of the guest's models. Empty for the unnamed model.
    #[must_use]
    pub fn models(&self) -> &[String] {
        &self.models
    }
}

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => f.write_str("the guest has no unnamed model; it has ")?,
            name => write!(f, "the guest has no model `{name}`; it has ")?,
        }
        let named: Vec<String> = self
            .models
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| format!("`{name}`"))
            .collect();
        match (named.is_empty(), named.len() == self.models.len()) {
            (true, _) => f.write_str("only the unnamed one"),
            (false, true) => f.write_str(&named.join(", ")),
            (false, false) => write!(f, "the unnamed one, {}", named.join(", ")),
        }
    }
}

impl std::error::Error for UnknownModel {}

/// Returns an empty array, the args of a task without args.
pub(crate) fn no_args() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty array is JSON")
}

/// Checks that the args of a task are a JSON array of at most `max` bytes, nested at most [`MAX_JSON_DEPTH`] deep, and returns
/// them on one line.
///
/// # Errors
/// [`InputError::ArgsTooLarge`], [`InputError::NotJson`] or [`InputError::NotArray`].
pub fn check_args(args: Cow<'_, RawValue>, max: u64) -> Result<Box<RawValue>, InputError> {
    let size = args.get().len();
    if size as u64 > max {
        return Err(InputError::ArgsTooLarge { size, max });
    }
    let line = value_line(args, MAX_JSON_DEPTH).map_err(InputError::NotJson)?;
    match line.get().starts_with('[') {
        true => Ok(line),
        false => Err(InputError::NotArray),
    }
}

/// Serializes the args of a program. [`check_args`] checks the result. Its syntax is not checked: the program's [`Serialize`]
/// is trusted to produce JSON.
///
/// # Errors
/// [`InputError::NotSerializable`] if serialization fails.
pub fn write_args(args: &impl Serialize) -> Result<Box<RawValue>, InputError> {
    let args = to_raw_value(args).map_err(|error| InputError::NotSerializable(Arc::new(error)))?;
    Ok(match args.get() {
        // The empty tuple serializes as null: no args.
        "null" => no_args(),
        _ => args,
    })
}

/// Checks args and stdin of a task against its guest: like [`check_args`], and for a command that the args are strings and that
/// args and stdin together have at most `max` bytes.
///
/// # Errors
/// Those of [`check_args`], [`InputError::Command`], [`InputError::InputTooLarge`] and [`InputError::NoStdin`].
pub fn check_input(
    info: &GuestInfo,
    args: Cow<'_, RawValue>,
    stdin: Option<&[u8]>,
    max: u64,
) -> Result<Box<RawValue>, InputError> {
    let checked = check_args(args, max)?;
    if info.is_command {
        let stdin = stdin.unwrap_or_default();
        Invocation::new("", &checked, stdin)?;
        let size = (checked.get().len() as u64).saturating_add(stdin.len() as u64);
        if size > max {
            return Err(InputError::InputTooLarge { size, max });
        }
    } else if stdin.is_some() {
        return Err(InputError::NoStdin);
    }
    Ok(checked)
}

/// Returns the index of the model with this name.
///
/// # Errors
/// When the guest has no such model.
pub fn find_model(info: &GuestInfo, name: &str) -> Result<ModelId, UnknownModel> {
    let found = info.models.iter().position(|model| model.name == name);
    found
        .map(|index| ModelId(index as u32))
        .ok_or_else(|| UnknownModel {
            name: name.to_owned(),
            models: info.models.iter().map(|model| model.name.clone()).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_info::ModelInfo;

    #[test]
    fn input_is_checked_against_the_kind_of_guest() {
        let model = GuestInfo::default();
        let command = GuestInfo {
            is_command: true,
            ..GuestInfo::default()
        };
        let check = |info: &GuestInfo, args: &str, stdin: Option<&[u8]>| {
            let args = RawValue::from_string(args.to_owned()).unwrap();
            check_input(info, Cow::Owned(args), stdin, 12)
                .map(|args| args.get().to_owned())
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&model, "[1, 2]", None).unwrap(), "[1,2]");
        assert!(
            check(&model, "[]", Some(b""))
                .unwrap_err()
                .contains("only for command guests")
        );
        assert_eq!(check(&command, "[\"a\"]", Some(b"1234567")).unwrap(), "[\"a\"]");
        assert!(
            check(&command, "[\"a\"]", Some(b"12345678"))
                .unwrap_err()
                .contains("13 bytes")
        );
        assert!(check(&command, "[1]", None).unwrap_err().contains("strings"));
    }

    #[test]
    fn a_model_that_is_missing_is_reported_with_those_that_are_not() {
        let guest = |names: &[&str]| GuestInfo {
            models: names
                .iter()
                .map(|&name| ModelInfo {
                    name: name.to_owned(),
                    runnable: String::new(),
                    callback: None,
                    error_callback: None,
                    final_callback: None,
                })
                .collect(),
            ..GuestInfo::default()
        };
        assert_eq!(find_model(&guest(&["", "a"]), "a"), Ok(ModelId(1)));
        for (names, wanted, message) in [
            (
                &[""][..],
                "x",
                "the guest has no model `x`; it has only the unnamed one",
            ),
            (&["a", "b"], "", "the guest has no unnamed model; it has `a`, `b`"),
            (
                &["", "a"],
                "x",
                "the guest has no model `x`; it has the unnamed one, `a`",
            ),
        ] {
            let missing = find_model(&guest(names), wanted).unwrap_err();
            assert_eq!(missing.to_string(), message);
        }
    }
}
