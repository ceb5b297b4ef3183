//! Tests of how guests' output is assembled into lines.

use std::sync::{Arc, Mutex};

use super::*;
use Stream::{Stderr, Stdout};
use mpwasm_types::ids::TaskId;

/// A destination whose contents tests can read.
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
        let source = Source::Task(TaskId(id));
        let output = PrintedOutput {
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
    let output = PrintedOutput {
        source: Source::Callback(TaskId(1)),
        stream: Stdout,
        bytes: b"callback\n",
        end: false,
    };
    p.prints.print(&output).unwrap();
    p.end(1);
    assert_eq!(p.stdout.text(), "callback\ntask\n");
}

#[test]
fn the_end_of_a_task_ends_its_unfinished_lines_and_no_others() {
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
fn a_long_line_is_written_in_parts_and_stays_one_line_while_no_other_task_prints() {
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
fn a_file_gets_the_bytes_as_they_are_and_a_terminal_gets_them_escaped() {
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

/// Many tasks have an unfinished line each. Output beyond the bound is written at once.
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
