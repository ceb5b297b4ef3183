//! `--tag`: prefixes each line of a task's output with the task's tag and a tab.

use std::collections::HashSet;
use std::sync::Arc;

use mpwasm::escape::escape;
use mpwasm::{PrintedOutput, Source, Stream, TaskId};

use crate::run::output::task_values::TaskValues;

/// Prefixes lines with tags.
#[derive(Debug)]
pub struct LineTagger {
    /// The tags of tasks in flight.
    tags: Arc<TaskValues<Box<str>>>,
    /// Streams with an incomplete line.
    incomplete: HashSet<(Source, Stream)>,
}

impl LineTagger {
    /// Returns a tagger with these tags.
    pub fn new(tags: Arc<TaskValues<Box<str>>>) -> Self {
        Self {
            tags,
            incomplete: HashSet::new(),
        }
    }

    /// Returns output with tags inserted. Output of no task has none.
    pub fn tagged(&mut self, output: &PrintedOutput<'_>) -> Option<Vec<u8>> {
        let (Source::Task(id) | Source::Callback(id)) = output.source else {
            return None;
        };
        let stream = (output.source, output.stream);
        let tag = self.tags.get(id)?;
        let mut tagged = Vec::with_capacity(output.bytes.len() + tag.len() + 1);
        for line in output.bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.incomplete.contains(&stream) {
                tagged.extend_from_slice(escape(&tag).as_bytes());
                tagged.push(b'\t');
            }
            tagged.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.incomplete.remove(&stream);
            } else {
                self.incomplete.insert(stream);
            }
        }
        Some(tagged)
    }

    /// Forgets the tag of a task that has ended.
    pub fn end_task(&self, id: TaskId) {
        self.tags.remove(id);
    }

    /// Forgets a source whose output has ended.
    pub fn end(&mut self, source: Source) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.incomplete.remove(&(source, stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_begins_with_the_tag_however_it_comes() {
        let table = Arc::new(TaskValues::default());
        table.add([(TaskId(3), "a\nb".into())]);
        let mut tags = LineTagger::new(table);
        let mut print = |source, bytes: &[u8]| {
            let output = PrintedOutput {
                source,
                stream: Stream::Stdout,
                bytes,
                end: false,
            };
            tags.tagged(&output)
                .map(|tagged| String::from_utf8(tagged).unwrap())
        };
        let task = Source::Task(TaskId(3));
        assert_eq!(print(task, b"x\ny").unwrap(), "a\\nb\tx\na\\nb\ty");
        assert_eq!(print(task, b"z\n\n").unwrap(), "z\na\\nb\t\n");
        assert_eq!(print(Source::Callback(TaskId(3)), b"c\n").unwrap(), "a\\nb\tc\n");
        assert_eq!(print(Source::Tasks, b"t\n"), None);
    }
}
