//! Reports for people: what guests print and log, lines for the first failures, and warnings.

use std::io;
use std::sync::Arc;

use mpwasm::internal::prints::Prints;
use mpwasm::{LogLevel, LogLine, Outcome, PrintedOutput, Reporter, Source, TaskId};

use crate::run::output::failure::{OutputFailures, OutputKind, OutputWriter};
use crate::run::output::failure_line::failure_line;
use crate::run::output::tags::LineTagger;

/// Most failures that are shown as lines: 10. More would hide other output, and the records have them all.
const SHOWN_FAILURES: u32 = 10;

/// Most bytes of output that are tagged at once: 4 KiB. The result is much larger if most lines are empty.
const TAG_CHUNK: usize = 4 << 10;

/// Writes what guests print, lines for the first failures, and warnings to stdout and stderr, and log lines to `tracing`.
pub struct PrintReporter {
    prints: OutputWriter<Prints>,
    options: PrintOptions,
    shown_failures: u32,
}

/// Options of a [`PrintReporter`].
pub struct PrintOptions {
    /// The least important level of log lines that are not dropped.
    pub min_level: LogLevel,
    /// Tags lines of tasks.
    pub tags: Option<LineTagger>,
    /// Whether the run writes records, which have the failures that are not shown.
    pub has_records: bool,
}

impl PrintReporter {
    /// Returns a reporter that writes to `prints`.
    pub fn new(prints: Prints, options: PrintOptions, failures: Arc<OutputFailures>) -> Self {
        Self {
            prints: OutputWriter::new(prints, OutputKind::Prints, failures),
            options,
            shown_failures: 0,
        }
    }

    /// Returns whether a log line is not dropped.
    pub fn shows(&self, line: &LogLine<'_>) -> bool {
        line.level <= self.options.min_level
    }

    /// Logs a line, after all output before it.
    pub fn trace(&mut self, line: &LogLine<'_>) {
        self.prints.write(Prints::flush);
        line.trace();
    }

    /// Prints output, with tags if the run has them.
    pub fn print(&mut self, output: &PrintedOutput<'_>) {
        if self.options.tags.is_none() {
            return self.prints.write(|prints| prints.print(output));
        }
        // In chunks, as tags before empty lines multiply the size.
        let mut rest = output.bytes;
        loop {
            let (bytes, more) = rest.split_at(rest.len().min(TAG_CHUNK));
            let end = output.end && more.is_empty();
            self.print_tagged(&PrintedOutput {
                bytes,
                end,
                ..*output
            });
            if more.is_empty() {
                return;
            }
            rest = more;
        }
    }

    fn print_tagged(&mut self, output: &PrintedOutput<'_>) {
        let tagged = self.options.tags.as_mut().and_then(|tags| {
            let tagged = tags.tagged(output);
            if output.end {
                tags.end(output.source);
            }
            tagged
        });
        let bytes = tagged.as_deref().unwrap_or(output.bytes);
        self.prints
            .write(|prints| prints.print(&PrintedOutput { bytes, ..*output }));
    }

    /// Ends the output of a task, and prints the line for its failure.
    pub fn end_task(&mut self, id: TaskId, failure: Option<&str>) {
        // Normally the output has ended before. If its end was lost, buffered output is written here.
        self.prints.write(|prints| prints.end(Source::Task(id)));
        self.prints.write(|prints| prints.end(Source::Callback(id)));
        if let Some(tags) = &self.options.tags {
            tags.end_task(id);
        }
        if let Some(failure) = failure {
            self.show_failure(failure);
        }
    }

    /// Prints the line of a failure, up to [`SHOWN_FAILURES`].
    fn show_failure(&mut self, line: &str) {
        self.shown_failures += 1;
        match self.shown_failures {
            1..=SHOWN_FAILURES => self.line(line),
            n if n == SHOWN_FAILURES + 1 => self.line(match self.options.has_records {
                true => "mpwasm: further failures are not shown; the records have them all",
                false => "mpwasm: further failures are not shown; --results FILE has them all",
            }),
            _ => self.shown_failures = SHOWN_FAILURES + 1,
        }
    }

    /// Prints a line on stderr.
    fn line(&mut self, text: &str) {
        self.prints.write(|prints| prints.line(text));
    }
}

impl Reporter for PrintReporter {
    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.prints.failures().note_report();
        self.end_task(outcome.id, failure_line(outcome).as_deref());
        Ok(())
    }

    fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        if !output.bytes.is_empty() {
            self.prints.failures().note_report();
        }
        self.print(output);
        Ok(())
    }

    fn log(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        if self.shows(line) {
            self.trace(line);
        }
        Ok(())
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        self.line(&format!("mpwasm: warning: {text}"));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.prints.write(Prints::flush);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.prints.write(Prints::end_all);
        self.flush()
    }
}
