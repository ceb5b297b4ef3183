//! Writes guests' output in whole lines, so that lines of different tasks do not mix.
//!
//! Output arrives in pieces, from many tasks at once. An unfinished line of a source and stream is kept until its newline
//! arrives, until it has 4 KiB, or until its source ends. Output to a terminal is escaped. A file or pipe receives
//! exactly what the guest wrote, plus a newline where the line of one source would otherwise continue another's.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Write};

use crate::report::event::{PrintedOutput, Source};
use mpwasm_types::escape::{escape, escape_bytes};
use mpwasm_types::outcome::Stream;

/// Bytes of incomplete output lines in the process that prints them: some thousand lines. Output beyond that is printed as it
/// comes.
pub const MAX_PARTIAL_LINES: usize = 16 << 20;

/// Size at which part of an unfinished line is written, bytes, so that it does not grow without bound.
const PART_SIZE: usize = 4 << 10;
/// Bytes that an unfinished line takes besides its text.
const LINE_COST: usize = 128;
/// Size of the buffer for writes, bytes.
const BATCH: usize = 64 << 10;

/// One stream of one source. Lines are assembled for each.
type PrintOrigin = (Source, Stream);

/// A destination of output.
pub struct Target {
    writer: BufWriter<Box<dyn Write + Send>>,
    terminal: bool,
    /// Origin of the unfinished line at the end. Any other origin must write a newline first.
    open: Option<PrintOrigin>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("terminal", &self.terminal)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Creates a target. Output to a `terminal` is escaped.
    pub fn new(writer: Box<dyn Write + Send>, terminal: bool) -> Self {
        Self {
            writer: BufWriter::with_capacity(BATCH, writer),
            terminal,
            open: None,
        }
    }

    /// Writes bytes of this origin, after a newline if another origin's line is unfinished.
    fn write(&mut self, origin: PrintOrigin, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.open.is_some_and(|open| open != origin) {
            self.end_line()?;
        }
        if self.terminal {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                match line.strip_suffix(b"\n") {
                    Some(text) => self
                        .writer
                        .write_all(&[&escape_bytes(text)[..], b"\n"].concat())?,
                    None => self.writer.write_all(&escape_bytes(line))?,
                }
            }
        } else {
            self.writer.write_all(bytes)?;
        }
        self.open = (!bytes.ends_with(b"\n")).then_some(origin);
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        if self.open.take().is_some() {
            self.writer.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Destinations of guests' two streams and of the lines about guests.
#[derive(Debug)]
pub enum Targets {
    /// Stdout and stderr have different destinations.
    Apart {
        /// Receives guests' stdout.
        stdout: Target,
        /// Receives guests' stderr, and lines about guests.
        stderr: Target,
    },
    /// Both have one destination: stdout is used for the records, or both are the same file.
    One(Target),
}

impl Targets {
    fn of(&mut self, stream: Stream) -> &mut Target {
        match (self, stream) {
            (Self::Apart { stdout, .. }, Stream::Stdout) => stdout,
            (Self::Apart { stderr, .. }, Stream::Stderr) => stderr,
            (Self::One(target), _) => target,
        }
    }
}

/// Assembles lines and writes them to their targets.
#[derive(Debug)]
pub struct Prints {
    targets: Targets,
    unfinished: HashMap<PrintOrigin, Vec<u8>>,
    /// Size of all unfinished lines, bytes.
    held: usize,
}

impl Prints {
    /// Creates a writer to these targets.
    pub fn new(targets: Targets) -> Self {
        Self {
            targets,
            unfinished: HashMap::new(),
            held: 0,
        }
    }

    /// Adds a piece of output.
    pub fn print(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        let origin = (output.source, output.stream);
        let target = self.targets.of(output.stream);
        let whole = output
            .bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let (lines, rest) = output.bytes.split_at(whole);
        if !lines.is_empty() {
            match remove(&mut self.unfinished, &mut self.held, origin) {
                Some(mut begun) => {
                    begun.extend_from_slice(lines); // in one write: a character may be split between the two
                    target.write(origin, &begun)?;
                }
                None => target.write(origin, lines)?,
            }
        }
        if !rest.is_empty() {
            let mut line = remove(&mut self.unfinished, &mut self.held, origin).unwrap_or_default();
            line.extend_from_slice(rest);
            let part = if self.held + cost(&line) > MAX_PARTIAL_LINES {
                line.len()
            } else if line.len() >= PART_SIZE {
                whole_characters(&line)
            } else {
                0
            };
            if part > 0 {
                target.write(origin, &line[..part])?;
                line.drain(..part);
                line.shrink_to_fit();
            }
            if !line.is_empty() {
                self.held += cost(&line);
                self.unfinished.insert(origin, line);
            }
        }
        if output.end {
            self.end(output.source)?;
        }
        Ok(())
    }

    /// Ends the output of a source: writes its unfinished lines, and ends its line with a newline.
    pub fn end(&mut self, source: Source) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let origin = (source, stream);
            let target = self.targets.of(stream);
            // The lookup is skipped when there are none: this runs for every task, and most print nothing.
            if !self.unfinished.is_empty()
                && let Some(rest) = remove(&mut self.unfinished, &mut self.held, origin)
            {
                target.write(origin, &rest)?;
            }
            if target.open == Some(origin) {
                target.end_line()?;
            }
        }
        Ok(())
    }

    /// Ends every source.
    pub fn end_all(&mut self) -> io::Result<()> {
        let mut sources: Vec<Source> = self.unfinished.keys().map(|origin| origin.0).collect();
        sources.extend(self.open_sources());
        sources.into_iter().try_for_each(|source| self.end(source))
    }

    fn open_sources(&self) -> Vec<Source> {
        let open = match &self.targets {
            Targets::Apart { stdout, stderr } => [stdout.open, stderr.open],
            Targets::One(target) => [target.open, None],
        };
        open.into_iter().flatten().map(|origin| origin.0).collect()
    }

    /// Writes a line about guests to stderr, in order with their output there. The text is escaped.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let target = self.targets.of(Stream::Stderr);
        target.end_line()?;
        target.writer.write_all(format!("{}\n", escape(text)).as_bytes())
    }

    /// Flushes the buffers. Unfinished lines that were not written yet stay.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.targets {
            Targets::Apart { stdout, stderr } => stdout.writer.flush().and(stderr.writer.flush()),
            Targets::One(target) => target.writer.flush(),
        }
    }
}

/// Returns the number of bytes that an unfinished line takes.
fn cost(line: &Vec<u8>) -> usize {
    line.capacity() + LINE_COST
}

/// Removes and returns the unfinished line of this origin.
fn remove(
    unfinished: &mut HashMap<PrintOrigin, Vec<u8>>,
    held: &mut usize,
    origin: PrintOrigin,
) -> Option<Vec<u8>> {
    let line = unfinished.remove(&origin)?;
    *held -= cost(&line);
    Some(line)
}

/// Returns how many bytes of an unfinished line can be written without splitting a UTF-8 character. All of them if it is
/// not UTF-8.
fn whole_characters(line: &[u8]) -> usize {
    let tail = &line[line.len().saturating_sub(3)..];
    let torn = tail
        .iter()
        .rev()
        .position(|byte| byte & 0b1100_0000 != 0b1000_0000)
        .and_then(|back| {
            let needed = match tail[tail.len() - 1 - back] {
                0b1100_0000..=0b1101_1111 => 2,
                0b1110_0000..=0b1110_1111 => 3,
                0b1111_0000..=0b1111_0111 => 4,
                _ => 1,
            };
            (needed > back + 1).then_some(back + 1)
        });
    line.len() - torn.unwrap_or(0)
}

#[cfg(test)]
mod tests;
