//! Makes tasks of lines, and of combinations of inputs, in batches.

use std::io::{self, Read};
use std::mem;

use mpwasm::internal::Rejected;
use mpwasm_types::task_line::TaskLine;

use crate::run::input::lines::{InputLine, InputLines};
use crate::run::input::source::{InputExpansion, LineError, LineFormat, input};

/// Most tasks in a batch: 1024, so that the cost of a call is shared.
const BATCH_TASKS: usize = 1024;
/// Most bytes of task lines in a batch: 256 KiB, one read of [`InputLines`].
const BATCH_BYTES: usize = 256 << 10;

/// Converts lines to items, and takes batches of these: the pool, or a test's recorder.
pub trait ItemSink {
    /// A task, or a line that is none.
    type Item;
    /// Why items can't be pushed.
    type Error;
    /// Converts a task line. `input` is the input, if the line is one.
    fn task(&mut self, line: TaskLine, input: Option<&str>) -> Result<Self::Item, Rejected>;
    /// Describes a line that is no task.
    fn rejected(&mut self, message: String) -> Rejected;
    /// Converts a rejected line.
    fn reject(&self, rejected: Rejected) -> Self::Item;
    /// Pushes a batch.
    fn push(&mut self, items: Vec<Self::Item>) -> Result<(), Self::Error>;
}

/// Why feeding lines stopped before the last line.
#[derive(Debug)]
pub enum FeedError<E> {
    /// The lines can't be read.
    Read(io::Error),
    /// The tasks can't be pushed.
    Push(E),
}

/// Collects items for one call of [`ItemSink::push`].
struct TaskBatch<'a, S: ItemSink> {
    sink: &'a mut S,
    items: Vec<S::Item>,
    bytes: usize,
}

impl<'a, S: ItemSink> TaskBatch<'a, S> {
    fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            items: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a task, or a line that is none. `place` describes its position for messages.
    fn add(
        &mut self,
        task: Result<S::Item, Rejected>,
        bytes: usize,
        place: impl FnOnce() -> String,
    ) -> Result<(), S::Error> {
        self.items.push(task.unwrap_or_else(|mut rejected| {
            rejected.message = format!("{}: {}", place(), rejected.message);
            self.sink.reject(rejected)
        }));
        self.bytes += bytes;
        if self.items.len() >= BATCH_TASKS || self.bytes >= BATCH_BYTES {
            self.push()?;
        }
        Ok(())
    }

    /// Adds the tasks for the input of the first list at index `at`.
    fn add_input(
        &mut self,
        inputs: &InputExpansion,
        at: u64,
        first: &str,
        place: impl Fn() -> String,
    ) -> Result<(), S::Error> {
        for combination in inputs.others.of(at, first) {
            let mut bytes = combination.iter().map(|input| input.len()).sum();
            let task = match inputs.template.task(&combination) {
                Ok(line) => {
                    bytes += line.stdin.as_ref().map_or(0, Vec::len);
                    self.sink.task(line, Some(&combination.join(" ")))
                }
                Err(why) => Err(self.sink.rejected(why.to_string())),
            };
            self.add(task, bytes, &place)?;
        }
        Ok(())
    }

    fn push(&mut self) -> Result<(), S::Error> {
        self.bytes = 0;
        match mem::take(&mut self.items) {
            none if none.is_empty() => Ok(()),
            items => self.sink.push(items),
        }
    }
}

/// Pushes all combinations of inputs from the command line.
pub fn feed_combined<S: ItemSink>(
    first: &[String],
    inputs: &InputExpansion,
    sink: &mut S,
) -> Result<(), S::Error> {
    let mut batch = TaskBatch::new(sink);
    for (at, input) in (0..inputs.others.max_first()).zip(first) {
        batch.add_input(inputs, at, input, || format!("with the input {input:?}"))?;
    }
    batch.push()
}

/// Returns whether a stream is UTF-16, by the byte-order mark in its first line.
fn is_utf16(first_line: &[u8]) -> bool {
    first_line.starts_with(b"\xff\xfe") || first_line.starts_with(b"\xfe\xff")
}

/// Pushes the tasks of lines, in their order.
///
/// Lines that are read already are pushed in batches. All of them are pushed before more input is waited for.
///
/// # Errors
/// When lines can't be read, or tasks can't be pushed.
pub fn feed_lines<S: ItemSink>(
    lines: &mut InputLines<impl Read>,
    name: &str,
    form: &LineFormat,
    sink: &mut S,
) -> Result<(), FeedError<S::Error>> {
    let mut batch = TaskBatch::new(sink);
    loop {
        while let Some((number, line)) = lines.next_buffered() {
            if feed_line(&mut batch, (number, line), name, form).map_err(FeedError::Push)? == NextLine::Stop {
                return batch.push().map_err(FeedError::Push);
            }
        }
        batch.push().map_err(FeedError::Push)?;
        if !lines.read_more().map_err(FeedError::Read)? {
            return Ok(());
        }
    }
}

/// Whether to continue with the next line.
#[derive(PartialEq, Eq)]
enum NextLine {
    Continue,
    /// No: a list that is linked with the lines has ended.
    Stop,
}

/// Adds the tasks of a line.
fn feed_line<S: ItemSink>(
    batch: &mut TaskBatch<'_, S>,
    (number, line): (u64, InputLine<'_>),
    name: &str,
    form: &LineFormat,
) -> Result<NextLine, S::Error> {
    let noun = match form {
        LineFormat::Input(inputs) if inputs.null => "input",
        _ => "line",
    };
    let place = || format!("{noun} {number} of {name}");
    let bytes = match &line {
        InputLine::Bytes(line) => line.len(),
        InputLine::TooLong => 0,
    };
    let text = match line {
        InputLine::Bytes(line) if number == 1 && is_utf16(line) => Err(LineError::Utf16),
        InputLine::Bytes(line) => Ok(line),
        InputLine::TooLong => Err(LineError::TooLong),
    };
    let bad = match (form, text) {
        (LineFormat::Input(inputs), _) if number > inputs.others.max_first() => return Ok(NextLine::Stop),
        (LineFormat::Input(inputs), Ok(line)) => match input(line, inputs.null) {
            Ok(first) => {
                batch.add_input(inputs, number - 1, first, place)?;
                return Ok(NextLine::Continue);
            }
            Err(why) => why.to_string(),
        },
        (LineFormat::Task, Ok(line)) => match TaskLine::parse(line) {
            Ok(None) => return Ok(NextLine::Continue),
            Ok(Some(line)) => {
                let task = batch.sink.task(line, None);
                batch.add(task, bytes, place)?;
                return Ok(NextLine::Continue);
            }
            Err(why) => why.to_string(),
        },
        (_, Err(why)) => why.to_string(),
    };
    let rejected = batch.sink.rejected(bad);
    batch.add(Err(rejected), bytes, place)?;
    Ok(NextLine::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::input::combinations::{Combinations, InputList};
    use crate::run::input::task_template::TaskTemplate;

    /// Records calls. It accepts args of one digit.
    #[derive(Default)]
    struct RecordingSink {
        entries: Vec<String>,
        closed_after: Option<usize>,
    }

    impl ItemSink for RecordingSink {
        type Item = String;
        type Error = &'static str;

        fn task(&mut self, line: TaskLine, input: Option<&str>) -> Result<String, Rejected> {
            if line.args.get().len() == 3 || input.is_some() {
                let model = line.model.unwrap_or_default();
                return Ok(format!("{model}{}{}", line.args, input.unwrap_or_default()));
            }
            Err(self.rejected("no".into()))
        }

        fn rejected(&mut self, message: String) -> Rejected {
            Rejected {
                message,
                ..Rejected::default()
            }
        }

        fn reject(&self, rejected: Rejected) -> String {
            format!("({})", rejected.message)
        }

        fn push(&mut self, items: Vec<String>) -> Result<(), &'static str> {
            if self.closed_after == Some(self.entries.len()) {
                return Err("closed");
            }
            self.entries.push(items.join(" "));
            Ok(())
        }
    }

    fn fed(input: impl Read, form: &LineFormat) -> Vec<String> {
        let mut sink = RecordingSink::default();
        feed_lines(&mut InputLines::new(input, 1000), "f", form, &mut sink).unwrap();
        sink.entries
    }

    fn inputs(words: &[&str], others: Vec<InputList>) -> LineFormat {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let others = Combinations::new(others);
        LineFormat::Input(InputExpansion {
            template: TaskTemplate::arg(&words, others.lists()),
            others,
            null: false,
        })
    }

    #[test]
    fn each_line_is_combined_with_other_lists_and_a_linked_list_ends_the_lines() {
        let list = |linked, inputs: &[&str]| InputList {
            linked,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
        };
        let form = inputs(&["{2}{1}"], vec![list(false, &["x", "y"])]);
        assert_eq!(
            fed(&b"a\nb\n"[..], &form),
            [r#"["xa"]a x ["ya"]a y ["xb"]b x ["yb"]b y"#]
        );
        let form = inputs(&[], vec![list(true, &["x", "y"])]);
        let endless = io::repeat(b'\n');
        assert_eq!(fed(endless, &form), [r#"["","x"] x ["","y"] y"#]);
    }

    #[test]
    fn lines_are_pushed_in_batches_and_bad_ones_keep_their_position() {
        let input = "[1]\n\n{\"args\":[2],\"model\":\"M\"}\r\nbad\n[3]\n{\"args\":[44]}\n[5]";
        let what = "neither a JSON array of args nor an object with `args`";
        assert_eq!(
            fed(input.as_bytes(), &LineFormat::Task).join(" "),
            format!("[1] M[2] (line 4 of f: {what}) [3] (line 6 of f: no) [5]")
        );
    }

    #[test]
    fn an_input_is_an_unchanged_line() {
        let form = inputs(&["-x"], Vec::new());
        let entries = fed(&b"a b\r\n\n[1]\n\xff\n"[..], &form);
        assert_eq!(
            entries,
            [r#"["-x","a b"]a b ["-x",""] ["-x","[1]"][1] (line 4 of f: not UTF-8 at byte 1)"#]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_rejected_and_the_next_one_runs() {
        let long = format!("[{}]\n[1]\n", "1".repeat(100_000));
        assert_eq!(
            fed(long.as_bytes(), &LineFormat::Task).join(" "),
            "(line 1 of f: longer than --max-args allows) [1]"
        );
    }

    #[test]
    fn batches_are_bounded() {
        let many = "[1]\n".repeat(3000);
        let pushes: Vec<usize> = fed(many.as_bytes(), &LineFormat::Task)
            .iter()
            .map(|push| push.matches("[1]").count())
            .collect();
        assert_eq!(pushes, [1024, 1024, 952]);
    }

    #[test]
    fn lines_are_pushed_before_more_input_is_waited_for() {
        /// One line per read; each read looks at how much was pushed before it.
        struct OneByOne<'a>(&'a std::cell::Cell<usize>, usize);
        impl Read for OneByOne<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                assert_eq!(self.0.get(), self.1, "all lines so far were pushed");
                if self.1 == 3 {
                    return Ok(0);
                }
                self.1 += 1;
                buffer[..4].copy_from_slice(b"[1]\n");
                Ok(4)
            }
        }
        struct Counter<'a>(&'a std::cell::Cell<usize>);
        impl ItemSink for Counter<'_> {
            type Item = ();
            type Error = ();
            fn task(&mut self, _: TaskLine, _: Option<&str>) -> Result<(), Rejected> {
                Ok(())
            }
            fn rejected(&mut self, _: String) -> Rejected {
                unreachable!("all lines are tasks")
            }
            fn reject(&self, _: Rejected) {}
            fn push(&mut self, items: Vec<()>) -> Result<(), ()> {
                self.0.set(self.0.get() + items.len());
                Ok(())
            }
        }
        let pushed = std::cell::Cell::new(0);
        let mut lines = InputLines::new(OneByOne(&pushed, 0), 1000);
        feed_lines(&mut lines, "f", &LineFormat::Task, &mut Counter(&pushed)).unwrap();
        assert_eq!(pushed.get(), 3);
    }

    #[test]
    fn a_closed_pool_ends_the_feeding() {
        let mut sink = RecordingSink {
            closed_after: Some(1),
            ..RecordingSink::default()
        };
        let many = "[1]\n".repeat(2000);
        let result = feed_lines(
            &mut InputLines::new(many.as_bytes(), 1000),
            "f",
            &LineFormat::Task,
            &mut sink,
        );
        assert!(matches!(result, Err(FeedError::Push("closed"))), "{result:?}");
        assert_eq!(sink.entries.len(), 1);
    }
}
