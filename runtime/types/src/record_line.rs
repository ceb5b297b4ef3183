//! Parses the fields of a records file that a later run needs. [`outcome`](crate::outcome) writes the whole record.

use std::borrow::Cow;

use serde::Deserialize;

use crate::ids::TaskId;

/// Fields of a record.
#[derive(Debug, Deserialize)]
pub struct RecordLine<'a> {
    /// The task's id.
    pub id: TaskId,
    /// The task's key, if it has one.
    #[serde(borrow)]
    pub key: Option<Cow<'a, str>>,
    /// How the task ended: `ok`, or the kind of its error.
    pub status: &'a str,
    callback: &'a str,
    guest: Option<&'a str>,
    task: Option<&'a str>,
}

impl<'a> RecordLine<'a> {
    /// Parses a line, with or without its newline.
    ///
    /// # Errors
    /// Fails if the line is not a record.
    pub fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// Returns whether the task or its callback failed, which makes a run exit with 1.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status != "ok" || !["ok", "none", "skipped"].contains(&self.callback)
    }

    /// Returns the hashes of the guest and of the task. `None` for a record that was not written to a file.
    #[must_use]
    pub fn hashes(&self) -> Option<(u64, u64)> {
        let hex = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
        Some((hex(self.guest)?, hex(self.task)?))
    }
}
