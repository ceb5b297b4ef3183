//! `--results-dir`: a folder per task, with what it printed and its record in files.
//!
//! `DIR/ID/stdout` and `DIR/ID/stderr` are there for a task, or its callback, that printed something, and hold exactly
//! that; `DIR/ID/record.json` for every task.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use mpwasm::{Outcome, Output, Source, Stream};

/// Writes the files. Those of a task that runs are open.
#[derive(Debug)]
pub struct ResultsDir {
    root: PathBuf,
    open: HashMap<(u64, Stream), File>,
}

impl ResultsDir {
    /// Makes the folder, if it is not there.
    pub fn new(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            open: HashMap::new(),
        })
    }

    fn create(&self, id: u64, name: &str) -> io::Result<File> {
        let folder = self.root.join(id.to_string());
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        File::create(folder.join(name))
    }

    /// Takes what a task printed.
    pub fn output(&mut self, output: &Output<'_>) -> io::Result<()> {
        let (Source::Task(id) | Source::Callback(id)) = output.source else {
            return Ok(());
        };
        if output.bytes.is_empty() {
            return Ok(());
        }
        let origin = (id, output.stream);
        if !self.open.contains_key(&origin) {
            let name = match output.stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            let file = self.create(id, name)?;
            self.open.insert(origin, file);
        }
        match self.open.get_mut(&origin) {
            Some(file) => file.write_all(output.bytes),
            None => Ok(()),
        }
    }

    /// A task has ended. What an earlier run left of a stream in which it printed nothing goes.
    pub fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut record = serde_json::to_vec(outcome)?;
        record.push(b'\n');
        self.create(outcome.id, "record.json")?.write_all(&record)?;
        for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            if self.open.remove(&(outcome.id, stream)).is_none() {
                match fs::remove_file(self.root.join(outcome.id.to_string()).join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reporter::tests::ok;
    use super::*;

    #[test]
    fn a_task_has_a_folder_with_what_it_printed_last() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        for (text, expected) in [("x\ny", Some("x\ny".to_owned())), ("", None)] {
            let mut dir = ResultsDir::new(path.clone()).unwrap();
            for bytes in text.as_bytes().chunks(1) {
                let output = Output {
                    source: Source::Task(7),
                    stream: Stream::Stdout,
                    bytes,
                    end: false,
                };
                dir.output(&output).unwrap();
            }
            dir.outcome(&ok(7, "1")).unwrap();
            assert!(dir.open.is_empty());
            assert_eq!(read("7/stdout"), expected);
            assert_eq!(read("7/stderr"), None);
            assert!(read("7/record.json").unwrap().starts_with("{\"id\":7,"));
        }
    }
}
