//! `--tag`: each line that a task prints begins with what the task is known by, and a tab.

use std::collections::HashSet;
use std::sync::Arc;

use mpwasm::escape::escape;
use mpwasm::{Output, Source, Stream};

use crate::run::output::task_metadata::TaskMetadata;

/// Puts tags before lines.
#[derive(Debug)]
pub struct LineTagger {
    roll: Arc<TaskMetadata>,
    /// Whose line was begun and has not ended.
    begun: HashSet<(Source, Stream)>,
}

impl LineTagger {
    /// Tags of the tasks on this roll.
    pub fn new(roll: Arc<TaskMetadata>) -> Self {
        Self {
            roll,
            begun: HashSet::new(),
        }
    }

    /// What a guest printed, with the tags that belong in it. Prints of no task have none.
    pub fn tagged(&mut self, output: &Output<'_>) -> Option<Vec<u8>> {
        let (Source::Task(id) | Source::Callback(id)) = output.source else {
            return None;
        };
        let origin = (output.source, output.stream);
        let tag = self.roll.tag(id)?;
        let mut tagged = Vec::with_capacity(output.bytes.len() + tag.len() + 1);
        for line in output.bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.begun.contains(&origin) {
                tagged.extend_from_slice(escape(&tag).as_bytes());
                tagged.push(b'\t');
            }
            tagged.extend_from_slice(line);
            if line.ends_with(b"\n") {
                self.begun.remove(&origin);
            } else {
                self.begun.insert(origin);
            }
        }
        Some(tagged)
    }

    /// This source prints no more.
    pub fn end(&mut self, source: Source) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.begun.remove(&(source, stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::output::task_metadata::TaskEntry;

    #[test]
    fn each_line_begins_with_the_tag_however_it_comes() {
        let roll = Arc::new(TaskMetadata::new(false, true));
        roll.add([(3, TaskEntry::new(None, Some("a\nb".into())))]);
        let mut tags = LineTagger::new(roll);
        let mut print = |source, bytes: &[u8]| {
            let output = Output {
                source,
                stream: Stream::Stdout,
                bytes,
                end: false,
            };
            tags.tagged(&output)
                .map(|tagged| String::from_utf8(tagged).unwrap())
        };
        let task = Source::Task(3);
        assert_eq!(print(task, b"x\ny").unwrap(), "a\\nb\tx\na\\nb\ty");
        assert_eq!(print(task, b"z\n\n").unwrap(), "z\na\\nb\t\n");
        assert_eq!(print(Source::Callback(3), b"c\n").unwrap(), "a\\nb\tc\n");
        assert_eq!(print(Source::Tasks, b"t\n"), None);
    }
}
