//! `--results-dir`: writes the output and the record of each task into a folder of its own.
//!
//! `DIR/ID/record.json` exists for every task. `DIR/ID/stdout` and `DIR/ID/stderr` exist if the task or its callback printed
//! something, and have exactly that. The output of a command comes with its outcome.
//!
//! [`task_folders`](super::task_folders) creates them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mpwasm::escape::Untrusted;
use mpwasm::{Event, Outcome, PrintedOutput, Reporter, Source, Stream, TaskId};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::Deserialize;

use crate::run::output::failure::OutputWriter;
use crate::run::output::task_folders::{RECORD, TaskFolders, create, remove, stream_name};

/// Files of running tasks that `--results-dir` holds open: enough for those that print at the same moment, and far below the
/// usual limit of a process (1024).
const MAX_OPEN_OUTPUTS: usize = 64;

/// A stream of a task: its id, and whether it is stderr.
type StreamId = (TaskId, bool);

/// Writes the files. At most [`MAX_OPEN_OUTPUTS`] files of running tasks are open at a time.
#[derive(Debug)]
pub struct ResultsDir {
    folders: Arc<TaskFolders>,
    /// The files of running tasks that have printed, with device and inode.
    created: HashMap<StreamId, (u64, u64)>,
    /// The open files among them. In order, as the file of the oldest task is closed when there are too many.
    open: BTreeMap<StreamId, File>,
}

impl ResultsDir {
    /// Returns a writer without open files.
    pub fn new(folders: Arc<TaskFolders>) -> Self {
        Self {
            folders,
            created: HashMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Writes the output of a task.
    pub fn output(&mut self, output: &PrintedOutput<'_>) -> io::Result<()> {
        let (Source::Task(id) | Source::Callback(id)) = output.source else {
            return Ok(());
        };
        if output.bytes.is_empty() {
            return Ok(());
        }
        let of = (id, output.stream == Stream::Stderr);
        if !self.open.contains_key(&of) {
            if self.open.len() >= MAX_OPEN_OUTPUTS {
                self.open.pop_first();
            }
            let file = self.open_stream(of)?;
            self.open.insert(of, file);
        }
        match self.open.get_mut(&of) {
            Some(file) => file.write_all(output.bytes),
            None => Ok(()),
        }
    }

    /// Creates the file of a stream, or opens it again for appending.
    fn open_stream(&mut self, of: StreamId) -> io::Result<File> {
        let folder = self.folders.create_task_folder(of.0)?;
        let name = stream_name(of.1);
        let Some(expected) = self.created.get(&of) else {
            let file = create(&folder, name)?;
            self.created.insert(of, identity(&file)?);
            return Ok(file);
        };
        let flags =
            OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&folder, name, flags, Mode::empty())?);
        match identity(&file)? == *expected {
            true => Ok(file),
            false => {
                let path = self.folders.path_of(of.0, name);
                Err(io::Error::other(format!(
                    "another process has replaced {}",
                    Untrusted::from(&path)
                )))
            }
        }
    }

    /// Writes the record of a task that has ended. Removes the file of an earlier run for a stream without output.
    pub fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut record = serde_json::to_vec(outcome)?;
        record.push(b'\n');
        let folder = self.folders.create_task_folder(outcome.id)?;
        create(&folder, RECORD)?.write_all(&record)?;
        let printed = [false, true].map(|is_stderr| {
            let of = (outcome.id, is_stderr);
            self.open.remove(&of);
            self.created.remove(&of).is_some()
        });
        let captured = match printed {
            [false, false] => CommandOutput::of(outcome),
            _ => CommandOutput::default(), // a command prints nothing while it runs
        };
        for (is_written, name, bytes) in [
            (printed[0], stream_name(false), captured.stdout()),
            (printed[1], stream_name(true), captured.stderr()),
        ] {
            match bytes {
                _ if is_written => {}
                Some(bytes) if !bytes.is_empty() => create(&folder, name)?.write_all(&bytes)?,
                _ => remove(&folder, name)?,
            }
        }
        Ok(())
    }
}

impl Reporter for OutputWriter<ResultsDir> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Ended(outcome) => self.write(|files| files.outcome(outcome)),
            Event::Printed(output) => self.write(|files| files.output(output)),
            _ => {}
        }
        Ok(())
    }
}

/// Returns the device and inode of a file.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The output of a command, from its result or from the `data` of its error. A result of another guest with the same fields can't
/// be told apart.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandOutput {
    #[serde(rename = "exit_code")]
    _exit_code: Option<i32>,
    stdout: Option<String>,
    stdout_base64: Option<String>,
    stderr: Option<String>,
    stderr_base64: Option<String>,
}

impl CommandOutput {
    /// Returns the output in an outcome. It is empty if the outcome is not of a command.
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
    use super::*;
    use std::fs;
    use std::path::Path;

    use nix::unistd::geteuid;

    use crate::run::output::results::EarlierResults;
    use crate::run::output::tests::ok;

    /// A run of task 7, which prints this.
    fn run(path: &Path, earlier: EarlierResults, text: &str) -> anyhow::Result<()> {
        let folders = TaskFolders::open(path)?;
        folders.begin(earlier)?;
        let mut dir = ResultsDir::new(Arc::new(folders));
        for bytes in text.as_bytes().chunks(1) {
            let output = PrintedOutput {
                source: Source::Task(TaskId(7)),
                stream: Stream::Stdout,
                bytes,
                end: false,
            };
            dir.output(&output)?;
        }
        dir.outcome(&ok(7, "1"))?;
        assert!(dir.open.is_empty());
        Ok(())
    }

    #[test]
    fn a_task_has_a_folder_with_what_it_printed_last() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        for (how, text, expected) in [
            (EarlierResults::Refuse, "x\ny", Some("x\ny")),
            (EarlierResults::Resume, "other", Some("other")),
            (EarlierResults::Overwrite, "", None),
        ] {
            run(&path, how, text).unwrap();
            assert_eq!(read("7/stdout").as_deref(), expected);
            assert_eq!(read("7/stderr"), None);
            assert!(read("7/record.json").unwrap().starts_with("{\"id\":7,"));
        }
    }

    #[test]
    fn results_of_an_earlier_run_are_not_silently_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("notes"), "").unwrap();
        fs::create_dir(path("07")).unwrap();
        run(root.path(), EarlierResults::Refuse, "old").unwrap();
        let why = run(root.path(), EarlierResults::Refuse, "new")
            .unwrap_err()
            .to_string();
        assert!(why.contains("--overwrite"), "{why}");
        assert_eq!(fs::read(path("7/stdout")).unwrap(), b"old");
        // Of a task that the new run has not.
        fs::create_dir(path("8")).unwrap();
        fs::write(path("8/stdout"), "").unwrap();
        fs::create_dir(path("9")).unwrap();
        fs::write(path("9/of the user"), "").unwrap();
        run(root.path(), EarlierResults::Overwrite, "").unwrap();
        assert!(!path("7/stdout").exists() && !path("8").exists());
        assert!(path("9/of the user").exists() && path("notes").exists() && path("07").exists());
    }

    #[test]
    fn no_link_is_followed_wherever_it_stands() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("results/7")).unwrap();
        fs::create_dir(path("victim")).unwrap();
        fs::write(path("victim/file"), "text").unwrap();
        for name in ["stdout", "stderr", "record.json"] {
            symlink("../../victim/file", path("results/7").join(name)).unwrap();
        }
        run(&path("results"), EarlierResults::Resume, "new").unwrap();
        assert_eq!(fs::read(path("results/7/stdout")).unwrap(), b"new");
        fs::remove_dir_all(path("results/7")).unwrap();
        symlink("../victim", path("results/7")).unwrap();
        for how in [EarlierResults::Resume, EarlierResults::Overwrite] {
            let why = run(&path("results"), how, "new").unwrap_err().to_string();
            assert!(
                why.contains("results/7") && why.contains("symbolic link"),
                "{why}"
            );
        }
        symlink("victim", path("link")).unwrap();
        for name in ["link", "link/", "link/."] {
            let why = format!(
                "{:#}",
                run(&path(name), EarlierResults::Refuse, "new").unwrap_err()
            );
            assert!(why.contains("symbolic link"), "{why}");
        }
        assert_eq!(fs::read(path("victim/file")).unwrap(), b"text");
        assert_eq!(fs::read_dir(path("victim")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_another_user_is_an_error() {
        if !geteuid().is_root() {
            return; // only root can give one away
        }
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("7");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(1234), None).unwrap();
        let why = run(root.path(), EarlierResults::Resume, "new")
            .unwrap_err()
            .to_string();
        assert!(why.contains("another user"), "{why}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn few_files_are_open_however_many_tasks_print_at_once() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = results_dir(root.path());
        let tasks = 3 * MAX_OPEN_OUTPUTS as u64;
        for piece in ["one ", "two ", "three"] {
            for id in 0..tasks {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    print(&mut dir, id, stream, piece);
                    assert!(dir.open.len() <= MAX_OPEN_OUTPUTS);
                }
            }
        }
        for id in 0..tasks {
            dir.outcome(&ok(id, "1")).unwrap();
            for name in ["stdout", "stderr"] {
                let text = fs::read_to_string(root.path().join(format!("{id}/{name}"))).unwrap();
                assert_eq!(text, "one two three", "{id}/{name}");
            }
        }
        assert!(dir.open.is_empty() && dir.created.is_empty());
    }

    #[test]
    fn a_file_that_was_replaced_while_it_was_closed_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = results_dir(root.path());
        for id in 0..=MAX_OPEN_OUTPUTS as u64 {
            print(&mut dir, id, Stream::Stdout, "mine");
        }
        let (file, victim) = (root.path().join("0/stdout"), root.path().join("victim"));
        fs::write(&victim, "").unwrap();
        for link in [true, false] {
            fs::remove_file(&file).unwrap();
            match link {
                true => std::os::unix::fs::symlink(&victim, &file).unwrap(),
                false => fs::hard_link(&victim, &file).unwrap(),
            }
            assert!(try_print(&mut dir, 0, Stream::Stdout, "more").is_err());
            assert_eq!(fs::read(&victim).unwrap(), b"");
        }
    }

    fn results_dir(path: &Path) -> ResultsDir {
        ResultsDir::new(Arc::new(TaskFolders::open(path).unwrap()))
    }

    fn try_print(dir: &mut ResultsDir, id: u64, stream: Stream, text: &str) -> io::Result<()> {
        dir.output(&PrintedOutput {
            source: Source::Task(TaskId(id)),
            stream,
            bytes: text.as_bytes(),
            end: false,
        })
    }

    fn print(dir: &mut ResultsDir, id: u64, stream: Stream, text: &str) {
        try_print(dir, id, stream, text).unwrap();
    }
}
