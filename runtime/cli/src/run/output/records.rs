//! Writes records: a JSON line for each outcome.

use std::io::{self, BufWriter, Write};

use mpwasm::Outcome;

use crate::run::output::task_identity::TaskIdentity;
use crate::terminal::escape::escape_json;

/// Size of the write buffer: 64 KiB, so that short records share a system call.
const WRITE_BUFFER: usize = 64 << 10;
/// Most memory that the line buffer keeps between records: 1 MiB.
const LINE_BUFFER: usize = 1 << 20;

/// Writes records to a file or stream.
pub struct RecordWriter {
    writer: BufWriter<Box<dyn Write + Send>>,
    terminal: bool,
    /// The current record, reused for its memory. Each record is written in one piece, so that only the last line of a file
    /// can be incomplete.
    line: Vec<u8>,
}

impl RecordWriter {
    /// Returns a writer of records. For a `terminal` they are escaped, as equivalent JSON.
    pub fn new(writer: Box<dyn Write + Send>, terminal: bool) -> Self {
        Self {
            writer: BufWriter::with_capacity(WRITE_BUFFER, writer),
            terminal,
            line: Vec::new(),
        }
    }

    /// Writes the record of an outcome, with the identity of its task if a later run can resume from it.
    pub fn write(&mut self, outcome: &Outcome, identity: Option<TaskIdentity>) -> io::Result<()> {
        self.line.clear();
        self.line.shrink_to(LINE_BUFFER);
        serde_json::to_writer(&mut self.line, outcome)?;
        self.write_line(identity)
    }

    /// Serializes the record of an outcome for [`write_serialized`](Self::write_serialized).
    pub fn serialize(outcome: &Outcome) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(outcome)?)
    }

    /// Like [`write`](Self::write), for a record that was serialized before.
    pub fn write_serialized(&mut self, record: &[u8], identity: Option<TaskIdentity>) -> io::Result<()> {
        self.line.clear();
        self.line.shrink_to(LINE_BUFFER);
        self.line.extend_from_slice(record);
        self.write_line(identity)
    }

    /// Writes the record in `line`.
    fn write_line(&mut self, identity: Option<TaskIdentity>) -> io::Result<()> {
        if let Some(identity) = identity {
            self.line.pop(); // the brace that ends the record
            write!(self.line, ",{identity}}}")?;
        }
        if self.terminal {
            let text = String::from_utf8_lossy(&self.line);
            self.writer.write_all(escape_json(&text).as_bytes())?;
            return self.writer.write_all(b"\n");
        }
        self.line.push(b'\n');
        self.writer.write_all(&self.line)
    }

    /// Flushes the write buffer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use mpwasm::{CallbackStatus, Kind, Usage, WorkerNumber};

    use super::*;
    use crate::run::output::tests::{Shared, failed, ok};

    fn written(outcomes: &[Outcome], terminal: bool) -> String {
        let shared = Shared::default();
        let mut records = RecordWriter::new(Box::new(shared.clone()), terminal);
        for outcome in outcomes {
            records.write(outcome, None).unwrap();
        }
        assert_eq!(shared.text(), "", "gathered until the flush");
        records.flush().unwrap();
        shared.text()
    }

    #[test]
    fn a_record_is_one_line_with_the_fields_in_their_order() {
        let mut outcome = failed(3, Kind::Timeout, "too late");
        outcome.key = Some("a".into());
        outcome.callback = CallbackStatus::Ok;
        outcome.usage = Usage {
            worker: Some(WorkerNumber(2)),
            pid: Some(4711),
            started_us: Some(1_764_489_000_123_456),
            queued_us: Some(120),
            run_us: Some(1_000_213),
            cpu_us: Some(812),
            memory_peak: Some(1_179_648),
            stdout_bytes: 40,
            output_truncated: false,
        };
        assert_eq!(
            written(&[outcome], false),
            concat!(
                r#"{"id":3,"key":"a","model":"","status":"timeout","error":{"kind":"timeout","message":"too late","#,
                r#""args":[1],"id":3,"attempt":1},"attempts":1,"worker":2,"pid":4711,"#,
                r#""started_us":1764489000123456,"queued_us":120,"#,
                r#""run_us":1000213,"cpu_us":812,"memory_peak":1179648,"stdout_bytes":40,"#,
                r#""output_truncated":false,"callback":"ok"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_result_is_unchanged_and_missing_measurements_are_null() {
        let outcomes = [ok(0, r#"{"b":1.0,"a":1e2}"#), ok(1, "null")];
        let tail = concat!(
            r#","attempts":1,"worker":null,"pid":null,"started_us":null,"queued_us":null,"run_us":null,"cpu_us":null,"#,
            r#""memory_peak":null,"stdout_bytes":0,"output_truncated":false,"callback":"none"}"#
        );
        assert_eq!(
            written(&outcomes, false),
            [
                r#"{"id":0,"key":null,"model":"","status":"ok","result":{"b":1.0,"a":1e2}"#,
                tail,
                "\n",
                r#"{"id":1,"key":null,"model":"","status":"ok","result":null"#,
                tail,
                "\n"
            ]
            .concat()
        );
    }

    #[test]
    fn a_record_in_a_log_has_the_identity_of_its_task() {
        let shared = Shared::default();
        let mut records = RecordWriter::new(Box::new(shared.clone()), false);
        let identity = TaskIdentity { guest: 0xa1, task: 2 };
        records.write(&ok(0, "1"), Some(identity)).unwrap();
        records.flush().unwrap();
        let tail = ",\"callback\":\"none\",\"guest\":\"00000000000000a1\",\"task\":\"0000000000000002\"}\n";
        assert!(shared.text().ends_with(tail), "{}", shared.text());
    }

    #[test]
    fn a_terminal_gets_equivalent_json_without_control_characters() {
        let outcome = ok(0, "\"\u{9b}31m and \u{e9}\"");
        let raw = written(std::slice::from_ref(&outcome), false);
        let safe = written(&[outcome], true);
        assert!(raw.contains('\u{9b}') && !safe.contains('\u{9b}'), "{safe}");
        assert!(safe.contains("\\u009b31m"), "{safe}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&raw), parse(&safe));
    }
}
