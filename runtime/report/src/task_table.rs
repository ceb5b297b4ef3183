//! Writes a table with a row for each task, as CSV.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::log_reader::RecordSink;
use crate::record::{RecordStatus, TaskRecord};

/// The columns. The first two say where the record is; the others are fields of the record.
pub const COLUMNS: [&str; 19] = [
    "log",
    "line",
    "id",
    "key",
    "model",
    "status",
    "message",
    "attempts",
    "worker",
    "pid",
    "started_us",
    "queued_us",
    "run_us",
    "cpu_us",
    "memory_peak",
    "stdout_bytes",
    "output_truncated",
    "callback",
    "frame",
];

/// Writes a row for each task. The first row has the names of the columns.
#[derive(Debug)]
pub struct TaskTable<W> {
    writer: W,
    row: TableRow,
    /// Whether the first row was written.
    has_header: bool,
    log: String,
}

impl<W: Write> TaskTable<W> {
    /// Returns a table that is written to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            row: TableRow::default(),
            has_header: false,
            log: String::new(),
        }
    }

    /// Writes the first row, if there was no task.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.header()
    }

    /// Writes the first row, before the first task or at the end.
    fn header(&mut self) -> io::Result<()> {
        if self.has_header {
            return Ok(());
        }
        self.has_header = true;
        COLUMNS.iter().for_each(|column| self.row.text(column));
        self.row.end(&mut self.writer)
    }
}

impl<W: Write> RecordSink for TaskTable<W> {
    fn begin_log(&mut self, name: &str) -> io::Result<()> {
        name.clone_into(&mut self.log);
        Ok(())
    }

    fn record(&mut self, line: u64, record: &TaskRecord<'_>) -> io::Result<()> {
        self.header()?;
        let error = record
            .error
            .as_ref()
            .filter(|_| record.status != RecordStatus::Ok);
        let row = &mut self.row;
        row.text(&self.log);
        row.number(Some(line));
        row.number(Some(record.id.0));
        row.text(record.key.as_deref().unwrap_or_default());
        row.text(&record.model);
        row.text(record.status.as_str());
        row.text(error.map_or("", |error| &error.message));
        row.number(Some(record.attempts.into()));
        row.number(record.worker.map(|worker| worker.0.into()));
        row.number(record.pid.map(u64::from));
        row.number(record.started_us);
        row.number(record.queued_us);
        row.number(record.run_us);
        row.number(record.cpu_us);
        row.number(record.memory_peak);
        row.number(Some(record.stdout_bytes));
        row.text(if record.output_truncated { "true" } else { "false" });
        row.text(record.callback.as_str());
        row.text(error.and_then(|error| error.frame.as_deref()).unwrap_or_default());
        row.end(&mut self.writer)
    }
}

/// A row of a table.
#[derive(Debug, Default)]
struct TableRow {
    writer: csv_core::Writer,
    bytes: Vec<u8>,
}

impl TableRow {
    fn text(&mut self, text: &str) {
        self.field(no_formula(text).as_bytes());
    }

    fn number(&mut self, number: Option<u64>) {
        let text = number.map(|number| number.to_string());
        self.field(text.unwrap_or_default().as_bytes());
    }

    fn field(&mut self, field: &[u8]) {
        if !self.bytes.is_empty() {
            self.put(1, |writer, output| writer.delimiter(output).1);
        }
        // Each byte is doubled at most.
        self.put(2 * field.len(), |writer, output| writer.field(field, output).2);
    }

    fn end(&mut self, mut writer: impl Write) -> io::Result<()> {
        self.put(1, |writer, output| writer.terminator(output).1);
        let result = writer.write_all(&self.bytes);
        self.bytes.clear();
        result
    }

    /// Adds what `write` writes: at most `length` bytes and two quotation marks.
    fn put(&mut self, length: usize, write: impl FnOnce(&mut csv_core::Writer, &mut [u8]) -> usize) {
        let before = self.bytes.len();
        self.bytes.resize(before + length + 2, 0);
        let written = write(&mut self.writer, &mut self.bytes[before..]);
        self.bytes.truncate(before + written);
    }
}

/// Returns the text with `'` before it if a spreadsheet would take it for a formula.
fn no_formula(text: &str) -> Cow<'_, str> {
    // Spreadsheets skip white space, and some read full-width characters like their ASCII forms.
    let is_formula = |c: char| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\0' | '＝' | '＋' | '－' | '＠'
        )
    };
    match text.trim_start_matches(' ').starts_with(is_formula) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_reader::LogReader;

    #[test]
    fn a_row_has_the_fields_of_its_record() {
        let log = concat!(
            r#"{"id":3,"key":"=1+1\n\",x","model":"m","status":"trap","error":{"kind":"trap","message":"-2","backtrace":["f"]},"#,
            r#""attempts":1,"worker":2,"pid":4,"started_us":5,"queued_us":6,"run_us":7,"cpu_us":null,"memory_peak":8,"#,
            r#""stdout_bytes":9,"output_truncated":true,"callback":"none"}"#
        );
        let mut bytes = Vec::new();
        let mut table = TaskTable::new(&mut bytes);
        LogReader::default()
            .read("a,b", log.as_bytes(), &mut table)
            .unwrap();
        table.finish().unwrap();
        let expected = concat!(
            "log,line,id,key,model,status,message,attempts,worker,pid,started_us,queued_us,run_us,cpu_us,memory_peak,",
            "stdout_bytes,output_truncated,callback,frame\n",
            "\"a,b\",1,3,\"'=1+1\n\"\",x\",m,trap,'-2,1,2,4,5,6,7,,8,9,true,none,f\n",
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn no_text_is_a_formula() {
        for text in ["=1", "+1", "-1", "@x", "\t=1", "  =1", "\r=1", "＝1"] {
            assert_eq!(no_formula(text), format!("'{text}"));
        }
        for text in ["", "a=1", "1-1", "'=1"] {
            assert_eq!(no_formula(text), text);
        }
    }
}
