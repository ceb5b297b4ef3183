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
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use Stream::{Stderr, Stdout};

    /// A file that tests can look into.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }

        fn text(&self) -> String {
            String::from_utf8(self.bytes()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Printed {
        prints: Prints,
        stdout: Shared,
        stderr: Shared,
    }

    impl Printed {
        fn apart(terminal: bool) -> Self {
            let (stdout, stderr) = (Shared::default(), Shared::default());
            let prints = Prints::new(Targets::Apart {
                stdout: Target::new(Box::new(stdout.clone()), terminal),
                stderr: Target::new(Box::new(stderr.clone()), terminal),
            });
            Self {
                prints,
                stdout,
                stderr,
            }
        }

        fn one() -> Self {
            let both = Shared::default();
            let prints = Prints::new(Targets::One(Target::new(Box::new(both.clone()), false)));
            Self {
                prints,
                stdout: both.clone(),
                stderr: both,
            }
        }

        fn task(&mut self, id: u64, stream: Stream, bytes: &[u8]) {
            self.piece(id, stream, bytes, false);
        }

        fn end(&mut self, id: u64) {
            self.piece(id, Stdout, b"", true);
        }

        fn piece(&mut self, id: u64, stream: Stream, bytes: &[u8], end: bool) {
            let source = Source::Task(id);
            let output = Output {
                source,
                stream,
                bytes,
                end,
            };
            self.prints.print(&output).unwrap();
            self.prints.flush().unwrap();
        }
    }

    #[test]
    fn lines_of_two_tasks_are_not_mixed() {
        let mut p = Printed::apart(false);
        p.task(1, Stdout, b"one ");
        p.task(2, Stdout, b"two ");
        p.task(1, Stdout, b"is whole\nand a");
        p.task(2, Stdout, b"is whole\n");
        p.task(1, Stdout, b"nother\n");
        assert_eq!(p.stdout.text(), "one is whole\ntwo is whole\nand another\n");
        assert!(p.prints.unfinished.is_empty());
    }

    #[test]
    fn the_streams_of_a_task_are_assembled_apart() {
        let mut p = Printed::apart(false);
        p.task(1, Stdout, b"out");
        p.task(1, Stderr, b"err");
        p.task(1, Stdout, b"!\n");
        p.task(1, Stderr, b"?\n");
        assert_eq!(
            (p.stdout.text(), p.stderr.text()),
            ("out!\n".into(), "err?\n".into())
        );
    }

    #[test]
    fn a_task_and_its_callback_are_different_sources() {
        let mut p = Printed::apart(false);
        p.task(1, Stdout, b"task");
        let output = Output {
            source: Source::Callback(1),
            stream: Stdout,
            bytes: b"callback\n",
            end: false,
        };
        p.prints.print(&output).unwrap();
        p.end(1);
        assert_eq!(p.stdout.text(), "callback\ntask\n");
    }

    #[test]
    fn the_end_of_a_task_ends_its_unfinished_lines_and_nobody_elses() {
        let mut p = Printed::apart(false);
        p.task(1, Stdout, b"a");
        p.task(1, Stderr, b"b");
        p.task(2, Stdout, b"c");
        p.end(1);
        assert_eq!((p.stdout.text(), p.stderr.text()), ("a\n".into(), "b\n".into()));
        assert_eq!(p.prints.unfinished.len(), 1);
        p.prints.end_all().unwrap();
        p.prints.flush().unwrap();
        assert_eq!(p.stdout.text(), "a\nc\n");
    }

    #[test]
    fn what_ends_with_a_newline_gets_no_second_one() {
        let mut p = Printed::apart(false);
        p.piece(1, Stdout, b"a\n", true);
        p.end(1);
        assert_eq!(p.stdout.text(), "a\n");
    }

    #[test]
    fn a_long_line_goes_out_in_parts_and_stays_one_line_while_nobody_else_prints() {
        let mut p = Printed::apart(false);
        let long = vec![b'x'; 3 * PART_SIZE];
        for piece in long.chunks(1000) {
            p.task(1, Stdout, piece);
        }
        assert!(
            p.stdout.text().len() >= 2 * PART_SIZE,
            "parts went out before the end of the line"
        );
        assert!(p.prints.unfinished.values().all(|line| line.len() < PART_SIZE));
        p.task(1, Stdout, b"\n");
        assert_eq!(p.stdout.text(), "x".repeat(3 * PART_SIZE) + "\n");
    }

    #[test]
    fn another_task_never_continues_the_line_of_a_long_one() {
        let mut p = Printed::apart(false);
        let long = "x".repeat(PART_SIZE);
        p.task(1, Stdout, long.as_bytes());
        p.task(2, Stdout, b"two\n");
        p.task(1, Stdout, b"rest\n");
        assert_eq!(p.stdout.text(), format!("{long}\ntwo\nrest\n"));
    }

    #[test]
    fn in_one_place_neither_stream_continues_the_line_of_the_other() {
        let mut p = Printed::one();
        let long = "x".repeat(PART_SIZE);
        p.task(1, Stdout, long.as_bytes());
        p.task(1, Stderr, b"err\n");
        p.prints.line("mpwasm: a line").unwrap();
        p.end(1);
        assert_eq!(p.stderr.text(), format!("{long}\nerr\nmpwasm: a line\n"));
    }

    #[test]
    fn a_file_gets_the_bytes_as_they_are_and_a_terminal_gets_them_inert() {
        let bytes = b"\x1b[31mred\xff\nnext\n";
        let mut file = Printed::apart(false);
        file.task(1, Stdout, bytes);
        assert_eq!(file.stdout.bytes(), bytes);

        let mut terminal = Printed::apart(true);
        terminal.task(1, Stdout, bytes);
        let shown = terminal.stdout.text();
        assert!(!shown.contains('\x1b'), "{shown:?}");
        assert_eq!(
            shown.matches('\n').count(),
            2,
            "the newlines of the guest stay newlines: {shown:?}"
        );
    }

    #[test]
    fn a_part_does_not_tear_a_character() {
        for (line, whole) in [
            ("aé".as_bytes(), 3),
            (b"a\xc3", 1),
            (b"a\xe2\x82", 1),
            (b"a\xf0\x9f\x98", 1),
            ("a😀".as_bytes(), 5),
            (b"\x80\x80\x80\x80", 4),
            (b"a\xff", 2),
            (b"", 0),
        ] {
            assert_eq!(whole_characters(line), whole, "{line:?}");
        }
        let mut p = Printed::apart(true);
        let mut line = vec![b'x'; PART_SIZE - 1];
        line.extend_from_slice("é\n".as_bytes());
        p.task(1, Stdout, &line[..PART_SIZE]);
        p.task(1, Stdout, &line[PART_SIZE..]);
        assert!(p.stdout.text().ends_with("xé\n"));
    }

    /// Each of many tasks has begun a line and none has ended it: what does not fit any more goes out as it comes.
    #[test]
    fn unfinished_lines_of_all_tasks_together_are_bounded() {
        let mut p = Printed::apart(false);
        let tasks = (2 * MAX_PARTIAL_LINES / 1000) as u64;
        for id in 0..tasks {
            p.task(id, Stdout, &[b'x'; 1000]);
        }
        assert!(p.prints.held <= MAX_PARTIAL_LINES);
        let held: usize = p.prints.unfinished.values().map(cost).sum();
        assert_eq!(p.prints.held, held);
        p.prints.end_all().unwrap();
        p.prints.flush().unwrap();
        assert_eq!(p.prints.held, 0);
        assert_eq!(
            p.stdout.bytes().iter().filter(|&&byte| byte == b'x').count() as u64,
            tasks * 1000
        );
    }

    #[test]
    fn nothing_is_kept_of_tasks_that_have_ended() {
        let mut p = Printed::apart(false);
        for id in 0..1000 {
            p.task(id, Stdout, b"unfinished");
            p.end(id);
        }
        assert!(p.prints.unfinished.is_empty());
    }
}
