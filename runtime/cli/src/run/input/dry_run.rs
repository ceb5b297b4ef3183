//! `--dry-run`: prints the tasks that would run.

use std::collections::HashMap;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mpwasm::Task;
use mpwasm::internal::{Rejected, TaskParts};
use mpwasm_types::objects::redact;
use serde_json::json;

use crate::process::exit::{Exit, ExitError};
use crate::run::input::pusher::{SinkError, TaskSink};
use crate::terminal::escape::escape_json;
use crate::terminal::stdio::{self, BlockingFile};

/// Prints tasks to stdout as task lines, instead of running them.
pub struct DryRunSink {
    out: Mutex<BufWriter<BlockingFile>>,
    terminal: bool,
    /// Names of guests by their hash, if lines must name them.
    names: Option<HashMap<[u8; 32], String>>,
}

impl DryRunSink {
    /// Returns a sink that prints to `out`. With the `names` of several guests, each line names its guest.
    pub fn new(out: BlockingFile, names: Option<HashMap<[u8; 32], String>>) -> Self {
        Self {
            terminal: out.is_terminal(),
            out: Mutex::new(BufWriter::new(out)),
            names,
        }
    }

    /// Returns the task line.
    fn line(&self, parts: &TaskParts<'_>) -> serde_json::Result<String> {
        let mut fields = serde_json::Map::new();
        if let Some(names) = &self.names {
            let name = names
                .get(parts.guest.hash())
                .map_or(parts.guest.name(), String::as_str);
            fields.insert("guest".into(), json!(name));
        }
        fields.insert("model".into(), json!(parts.model));
        if let Some(key) = parts.key {
            fields.insert("key".into(), json!(key));
        }
        let timeout = humantime::format_duration(parts.timeout).to_string();
        fields.insert("timeout".into(), json!(timeout));
        if !parts.stdin.is_empty() {
            match str::from_utf8(parts.stdin) {
                Ok(text) => fields.insert("stdin".into(), json!(text)),
                Err(_) => fields.insert("stdin_base64".into(), json!(STANDARD.encode(parts.stdin))),
            };
        }
        let fields = serde_json::to_string(&fields)?;
        let fields = fields.strip_suffix('}').unwrap_or(&fields);
        // The args are not parsed, so that numbers keep their digits.
        let args = redact(parts.args.unwrap_or("[]"));
        let line = format!("{fields},\"args\":{args}}}");
        Ok(match self.terminal {
            true => escape_json(&line).into_owned(),
            false => line,
        })
    }
}

impl TaskSink for DryRunSink {
    fn push_all(&self, tasks: Vec<Task>) -> Result<(), SinkError> {
        let write = || -> io::Result<()> {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            for task in &tasks {
                writeln!(out, "{}", self.line(&task.parts())?)?;
            }
            out.flush()
        };
        write().map_err(|error| SinkError::Refused(cannot_show(error)))
    }

    fn reject(&self, rejected: Rejected) -> Result<(), SinkError> {
        stdio::print_message(&rejected.message);
        Ok(())
    }

    fn skip(&self, _: u64) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Returns the failure of writing to stdout: a closed reader, or another error.
fn cannot_show(error: io::Error) -> ExitError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ExitError {
            exit: Exit::Unread,
            error: error.into(),
        },
        _ => ExitError::internal(anyhow::Error::new(error).context("cannot write the task lines to stdout")),
    }
}
