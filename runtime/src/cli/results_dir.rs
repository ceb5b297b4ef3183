//! `--results-dir`: a folder per task, with what it printed and its record in files.
//!
//! `DIR/ID/stdout` and `DIR/ID/stderr` are there for a task, or its callback, that printed something, and hold exactly
//! that; `DIR/ID/record.json` for every task. What a command printed comes with its outcome, and is
//! written from there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mpwasm::{Outcome, Output, Source, Stream};
use serde::Deserialize;

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
        let of = |stream| (outcome.id, stream);
        let told = [Stream::Stdout, Stream::Stderr].map(|stream| self.open.remove(&of(stream)).is_some());
        let captured = match told {
            [false, false] => Captured::of(outcome),
            _ => Captured::default(), // a command tells nothing
        };
        for (told, name, bytes) in [
            (told[0], "stdout", captured.stdout()),
            (told[1], "stderr", captured.stderr()),
        ] {
            match bytes {
                _ if told => {}
                Some(bytes) if !bytes.is_empty() => self.create(outcome.id, name)?.write_all(&bytes)?,
                _ => match fs::remove_file(self.root.join(outcome.id.to_string()).join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

/// What a command printed, as its result, or the `data` of its error, has it. The result of another guest that looks
/// just like that is taken for it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Captured {
    #[serde(rename = "exit_code")]
    _exit_code: Option<i32>,
    stdout: Option<String>,
    stdout_base64: Option<String>,
    stderr: Option<String>,
    stderr_base64: Option<String>,
}

impl Captured {
    /// Nothing, where the outcome is none of a command.
    fn of(outcome: &Outcome) -> Self {
        let json = match &outcome.result {
            Ok(json) => Some(json),
            Err(error) => error.data.as_ref(),
        };
        json.filter(|_| outcome.model.is_empty())
            .and_then(|json| serde_json::from_str(json.get()).ok())
            .unwrap_or_default()
    }

    fn stdout(&self) -> Option<Cow<'_, [u8]>> {
        bytes(self.stdout.as_deref(), self.stdout_base64.as_deref())
    }

    fn stderr(&self) -> Option<Cow<'_, [u8]>> {
        bytes(self.stderr.as_deref(), self.stderr_base64.as_deref())
    }
}

fn bytes<'a>(text: Option<&'a str>, base64: Option<&str>) -> Option<Cow<'a, [u8]>> {
    match (text, base64) {
        (Some(text), _) => Some(Cow::Borrowed(text.as_bytes())),
        (None, Some(base64)) => STANDARD.decode(base64).ok().map(Cow::Owned),
        (None, None) => None,
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
