//! Writes guests' output in whole lines, so that lines of different tasks do not mix.
//!
//! Prints arrive in pieces, from many tasks at once. For each source and stream an unfinished line waits here for
//! its end, for 4 KiB more, or for the end of its source. Output to a terminal is escaped. A file or a
//! pipe gets exactly what the guest wrote, plus a newline where a line would otherwise run into another's.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Write};

use crate::report::{Output, Source};
use mpwasm_types::escape::{escape, escape_bytes};
use mpwasm_types::outcome::Stream;
use mpwasm_types::settings::MAX_PARTIAL_LINES;

/// An unfinished line goes out in parts of this size, bytes, so that it cannot grow without bound.
const PART_SIZE: usize = 4 << 10;
/// Bytes that an unfinished line takes beside its text.
const LINE_COST: usize = 128;
/// Bytes that are gathered into one write.
const BATCH: usize = 64 << 10;

/// One stream of one source: what lines are assembled for.
type PrintOrigin = (Source, Stream);

/// A place that prints go to.
pub struct Target {
    writer: BufWriter<Box<dyn Write + Send>>,
    terminal: bool,
    /// Whose line stands there unfinished: only that origin may go on without a newline.
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
    /// A target; for a `terminal` all that is written is made inert.
    pub fn new(writer: Box<dyn Write + Send>, terminal: bool) -> Self {
        Self {
            writer: BufWriter::with_capacity(BATCH, writer),
            terminal,
            open: None,
        }
    }

    /// Writes bytes of this origin, after a newline if somebody else's line stands open.
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

/// Where a guest's two streams, and the lines about guests, go.
#[derive(Debug)]
pub enum Targets {
    /// Stdout and stderr apart.
    Apart {
        /// For what guests write to their stdout.
        stdout: Target,
        /// For what guests write to their stderr, and for lines about guests.
        stderr: Target,
    },
    /// Both to one place: stdout is taken by the records, or both lead to the same file.
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
    /// Bytes that the unfinished lines take.
    held: usize,
}

impl Prints {
    /// Prints that go there.
    pub fn new(targets: Targets) -> Self {
        Self {
            targets,
            unfinished: HashMap::new(),
            held: 0,
        }
    }

    /// Takes a piece of what a guest printed.
    pub fn print(&mut self, output: &Output<'_>) -> io::Result<()> {
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
                    begun.extend_from_slice(lines); // in one piece: a character may be torn between the two
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

    /// This source prints no more: what it left unfinished goes out, and its line ends.
    pub fn end(&mut self, source: Source) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let origin = (source, stream);
            let target = self.targets.of(stream);
            // Looked up only when there are some: this runs for every task, and most print nothing.
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

    /// A line about guests on stderr, in order with what they print there. The caller's text is made inert.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let target = self.targets.of(Stream::Stderr);
        target.end_line()?;
        target.writer.write_all(format!("{}\n", escape(text)).as_bytes())
    }

    /// Hands on all that was gathered, finished lines or not.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.targets {
            Targets::Apart { stdout, stderr } => stdout.writer.flush().and(stderr.writer.flush()),
            Targets::One(target) => target.writer.flush(),
        }
    }
}

/// Bytes that an unfinished line takes.
fn cost(line: &Vec<u8>) -> usize {
    line.capacity() + LINE_COST
}

/// Takes out the unfinished line of this origin.
fn remove(
    unfinished: &mut HashMap<PrintOrigin, Vec<u8>>,
    held: &mut usize,
    origin: PrintOrigin,
) -> Option<Vec<u8>> {
    let line = unfinished.remove(&origin)?;
    *held -= cost(&line);
    Some(line)
}

/// How much of an unfinished line can go out without tearing a UTF-8 character. All of it, where it is no UTF-8.
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
