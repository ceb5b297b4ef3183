//! Reads a line of a records file, as far as a later run needs it. [`outcome`](crate::outcome) writes the whole record.

use std::borrow::Cow;

use serde::Deserialize;

/// What is read of a record.
#[derive(Debug, Deserialize)]
pub struct RecordLine<'a> {
    /// The task's.
    pub id: u64,
    /// The task's, if it has one.
    #[serde(borrow)]
    pub key: Option<Cow<'a, str>>,
    /// How the task ended.
    pub status: &'a str,
    callback: &'a str,
    guest: Option<&'a str>,
    task: Option<&'a str>,
}

impl<'a> RecordLine<'a> {
    /// Reads a line, with its newline or without.
    ///
    /// # Errors
    /// When it is no record.
    pub fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }

    /// Whether the task or its callback failed: what makes a run exit with 1.
    pub fn failed(&self) -> bool {
        self.status != "ok" || !["ok", "none", "skipped"].contains(&self.callback)
    }

    /// The hashes of the guest and of the task; `None` for a record that was not written to a file.
    pub fn hashes(&self) -> Option<(u64, u64)> {
        let hex = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
        Some((hex(self.guest)?, hex(self.task)?))
    }
}
