//! Recognizes tasks and guests of an earlier run in its records.

use std::fmt;

use mpwasm::escape::escape;
use mpwasm::internal::{Rejected, TaskParts};
use mpwasm_types::objects::redact;
use sha2::{Digest, Sha256};

/// Identifies a task across runs, by hashes of what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskIdentity {
    /// Hash of the guest's bytes.
    pub guest: u64,
    /// Hash of guest, model, args and stdin.
    pub task: u64,
}

impl TaskIdentity {
    /// Returns the identity of a task.
    pub fn of(parts: &TaskParts<'_>) -> Self {
        Self::new(
            parts.guest.hash(),
            parts.model,
            parts.args.unwrap_or("null"),
            parts.stdin,
        )
    }

    /// Returns the identity of a line that is no valid task.
    pub fn of_rejected(guest: &[u8; 32], rejected: &Rejected) -> Self {
        let args = rejected.args.as_ref().map_or("null", |args| args.get());
        Self::new(guest, &rejected.model, args, b"")
    }

    fn new(guest: &[u8; 32], model: &str, args: &str, stdin: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(guest);
        hash.update(model.len().to_le_bytes());
        hash.update(model);
        // The tokens of shared objects differ from run to run.
        hash.update(&*redact(args));
        // The end of the args needs no length before it: JSON text shows where it ends.
        hash.update(stdin);
        Self {
            guest: guest_number(guest),
            task: first_bytes(&hash.finalize()),
        }
    }
}

/// Formats the additional fields of a record in a file, which come last.
impl fmt::Display for TaskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#""guest":"{:016x}","task":"{:016x}""#, self.guest, self.task)
    }
}

/// Returns the hash by which [`TaskIdentity`] names a guest.
pub fn guest_number(hash: &[u8; 32]) -> u64 {
    first_bytes(hash)
}

fn first_bytes(hash: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(bytes)
}

/// Identifies the record of a task: by its position among all tasks, or by a hash of its key. 16 bytes, as a log can have
/// millions of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey(u128);

/// Set in hashes, so that none equals a position.
const HASHED: u128 = 1 << 127;

impl RecordKey {
    /// Returns the key of a task's record. An empty key counts as none.
    pub fn new(position: u64, key: Option<&str>) -> Self {
        match key {
            None | Some("") => Self(position.into()),
            Some(key) => Self::hashed(&[b"key", key.as_bytes()]),
        }
    }

    /// Returns the key of the record of an invalid task. It includes the position, as a task can be invalid because its key occurs
    /// twice.
    pub fn invalid(position: u64, key: Option<&str>) -> Self {
        let kind: &[u8] = if key.is_some() { b"invalid key" } else { b"invalid" };
        Self::hashed(&[kind, &position.to_le_bytes(), key.unwrap_or_default().as_bytes()])
    }

    fn hashed(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(u128::from_le_bytes(bytes) | HASHED)
    }
}

/// Describes a task in a message: by its key, or by its position if it has none.
pub fn described(position: u64, key: Option<&str>) -> String {
    match key {
        None | Some("") => format!("task {position}"),
        Some(key) => format!("the task with the key {}", escape(key)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn the_token_of_a_shared_object_is_no_part_of_a_task() {
        let with_token = |digit: &str| {
            let handle = format!(r#"[{{"object":"jobs","token":"{}"}}]"#, digit.repeat(32));
            let rejected = Rejected {
                args: RawValue::from_string(handle).ok(),
                ..Rejected::default()
            };
            TaskIdentity::of_rejected(&[0; 32], &rejected)
        };
        assert_eq!(with_token("0"), with_token("f"));
        let without = TaskIdentity::of_rejected(&[0; 32], &Rejected::default());
        assert_ne!(with_token("0"), without);
    }
}
