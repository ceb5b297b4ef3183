//! Reads record lines from logs, and keeps account of the lines that are no records.

use std::io::{self, BufRead};

use crate::lines::{Line, LineReader};
use crate::record::TaskRecord;
use crate::report::{BadLine, BadLineReason, BadLines};
use crate::top_list::TopList;

/// Longest line that is parsed: 64 MiB, which bounds the memory of a report. The default limits of results and args allow
/// records of 32 MiB.
pub const MAX_LINE: usize = 64 << 20;

/// Most lines that are named although they are no records: 10. The others are counted.
const SHOWN_BAD_LINES: usize = 10;

/// UTF-8's byte-order mark, which some editors write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Receives the records of logs.
pub trait RecordSink {
    /// Begins a log. The records that follow are from it.
    ///
    /// # Errors
    /// When the sink cannot write.
    fn begin_log(&mut self, name: &str) -> io::Result<()>;

    /// Takes the record at a line of the log, from 1.
    ///
    /// # Errors
    /// When the sink cannot write.
    fn record(&mut self, line: u64, record: &TaskRecord<'_>) -> io::Result<()>;
}

/// An error that ends the reading of a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The log can't be read.
    #[error("line {line}")]
    Read {
        /// Number of the line, from 1.
        line: u64,
        /// The error.
        source: io::Error,
    },
    /// The sink can't take a record.
    #[error(transparent)]
    Sink(io::Error),
}

/// Reads logs, and counts their lines.
#[derive(Debug)]
pub struct LogReader {
    longest: usize,
    records: u64,
    too_long: u64,
    not_utf8: u64,
    not_json: u64,
    not_record: u64,
    torn: u64,
    shown: TopList<(String, u64), (BadLineReason, Option<String>)>,
}

impl Default for LogReader {
    fn default() -> Self {
        Self::with_longest(MAX_LINE)
    }
}

impl LogReader {
    /// Returns a reader that skips lines of more than `longest` bytes.
    #[must_use]
    pub fn with_longest(longest: usize) -> Self {
        Self {
            longest,
            records: 0,
            too_long: 0,
            not_utf8: 0,
            not_json: 0,
            not_record: 0,
            torn: 0,
            shown: TopList::new(SHOWN_BAD_LINES),
        }
    }

    /// Reads a log to its end and gives each of its records to the sink.
    ///
    /// A byte-order mark at the start and blank lines are skipped. Other lines that are no records are counted.
    ///
    /// # Errors
    /// When the log can't be read, or the sink fails. The content of a log is never an error.
    pub fn read(
        &mut self,
        name: &str,
        log: impl BufRead,
        sink: &mut impl RecordSink,
    ) -> Result<(), ReadError> {
        sink.begin_log(name).map_err(ReadError::Sink)?;
        let mut lines = LineReader::new(log, self.longest);
        let mut number = 0;
        loop {
            number += 1;
            let line = lines
                .next()
                .map_err(|source| ReadError::Read { line: number, source })?;
            let (bytes, is_terminated) = match line {
                None => return Ok(()),
                Some(Line::TooLong) => {
                    self.add_bad(name, number, BadLineReason::TooLong, None);
                    continue;
                }
                Some(Line::Whole(bytes)) => (bytes, true),
                Some(Line::Unterminated(bytes)) => (bytes, false),
            };
            let bytes = match bytes.strip_prefix(BYTE_ORDER_MARK) {
                Some(rest) if number == 1 => rest,
                _ => bytes,
            };
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match parse(bytes) {
                Ok(record) => {
                    self.records += 1;
                    sink.record(number, &record).map_err(ReadError::Sink)?;
                }
                Err(_) if !is_terminated => self.add_bad(name, number, BadLineReason::Torn, None),
                Err((reason, why)) => self.add_bad(name, number, reason, why),
            }
        }
    }

    /// Returns the number of records so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns the lines that are no records so far.
    #[must_use]
    pub fn bad_lines(&self) -> BadLines {
        let shown = self.shown.iter().map(|((log, line), (reason, why))| BadLine {
            log: log.clone(),
            line: *line,
            reason: *reason,
            why: why.clone(),
        });
        BadLines {
            total: self.too_long + self.not_utf8 + self.not_json + self.not_record + self.torn,
            too_long: self.too_long,
            not_utf8: self.not_utf8,
            not_json: self.not_json,
            not_record: self.not_record,
            torn: self.torn,
            first: shown.collect(),
        }
    }

    fn add_bad(&mut self, log: &str, line: u64, reason: BadLineReason, why: Option<String>) {
        *match reason {
            BadLineReason::TooLong => &mut self.too_long,
            BadLineReason::NotUtf8 => &mut self.not_utf8,
            BadLineReason::NotJson => &mut self.not_json,
            BadLineReason::NotRecord => &mut self.not_record,
            BadLineReason::Torn => &mut self.torn,
        } += 1;
        self.shown.add((log.to_owned(), line), || (reason, why));
    }
}

/// Parses a line, or says why it is no record.
fn parse(line: &[u8]) -> Result<TaskRecord<'_>, (BadLineReason, Option<String>)> {
    let text = str::from_utf8(line).map_err(|_| (BadLineReason::NotUtf8, None))?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => (BadLineReason::NotRecord, Some(error.to_string())),
        _ => (BadLineReason::NotJson, Some(error.to_string())),
    })
}
