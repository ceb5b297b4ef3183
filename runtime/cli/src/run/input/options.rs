//! Options of the source of tasks: task lines, inputs as in GNU parallel and xargs, JSON args, words, or the guest itself.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::error::ErrorKind;
use mpwasm::Settings;
use mpwasm::escape::Untrusted;

use crate::options::units::{JsonArgs, display_size};
use crate::process::exit::{ExitError, OrExit};
use crate::run::input::combinations::{Combinations, InputList};
use crate::run::input::lines::{InputLine, InputLines};
use crate::run::input::source::{InputExpansion, LineError, LineFormat, TaskSource, input};
use crate::run::input::task_template::{TaskTemplate, json_strings};
use crate::run::output::results::ResultsTarget;
use crate::terminal::stdio::BlockingFile;

/// Bytes of all lists of inputs in files beside the first one, which is not kept: some million short inputs.
const MAX_COMBINED_INPUTS: usize = 64 << 20;

/// Options of the source of tasks.
#[derive(Debug, Args)]
pub struct InputOptions {
    /// Read tasks from this file, or from stdin for `-`: one per line, a JSON array of args or an object
    /// {"args", "key"?, "guest"?, "model"?, "timeout"?, "stdin"? or "stdin_base64"?} [default: the guest's `tasks` export; a command
    /// without one runs once].
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["args", "arg_file", "words"])]
    pub tasks: Option<PathBuf>,

    /// Run a task for each line of this file, or of stdin for `-`: its arg is the line, a string. With several files, and
    /// lists after :::, a task for each combination of their inputs, the last one varying fastest.
    #[arg(short = 'a', long, value_name = "FILE|-", conflicts_with = "args")]
    pub arg_file: Vec<PathBuf>,

    /// The inputs in the files of -a end with a zero byte instead of a newline, as `find -print0` prints names.
    #[arg(short = '0', long, requires = "arg_file")]
    pub null: bool,

    /// Run one task with these args, a JSON array; repeatable.
    #[arg(long, value_name = "JSON", conflicts_with = "words")]
    pub args: Vec<JsonArgs>,

    /// With -a or :::, give each task its input as its stdin, with a newline, instead of as an arg: for commands. Words
    /// after -- are then the args of each task, as they are.
    #[arg(long, conflicts_with_all = ["tasks", "args"])]
    pub stdin: bool,

    /// As --stdin, but each input names a file, whose content is the task's stdin, byte for byte.
    #[arg(long, conflicts_with_all = ["tasks", "args", "stdin"])]
    pub stdin_files: bool,

    /// Run one task whose args are these strings. With -a or ::: it is one task per input, which takes the place of
    /// each {}, or comes last where there is none. With several lists, {1} is the input of the first one, {2} of the second, and
    /// {} all of them.
    #[arg(last = true, value_name = "ARG")]
    pub words: Vec<String>,

    /// The lists after `:::` and `:::+`.
    #[arg(skip)]
    pub listed: Vec<InputList>,
}

impl InputOptions {
    /// Adds the lists after `:::`.
    ///
    /// # Errors
    /// When they conflict with other options.
    pub fn add_lists(&mut self, lists: Vec<InputList>) -> Result<(), (ErrorKind, &'static str)> {
        if self.tasks.is_some() || !self.args.is_empty() {
            let why = "inputs behind ::: can't be used with --tasks or --args";
            return Err((ErrorKind::ArgumentConflict, why));
        }
        if self.arg_file.is_empty() && lists.first().is_some_and(|list| list.linked) {
            let why =
                "a list after :::+ is linked with the list before it, and there is none: begin with :::";
            return Err((ErrorKind::InvalidValue, why));
        }
        self.listed = lists;
        Ok(())
    }

    /// Checks the options together.
    ///
    /// # Errors
    /// When they conflict.
    pub fn check(&self) -> Result<(), (ErrorKind, &'static str)> {
        let lists = self.arg_file.len() + self.listed.len();
        let are_stdins = self.stdin || self.stdin_files;
        match lists {
            0 if are_stdins => Err((
                ErrorKind::MissingRequiredArgument,
                "--stdin and --stdin-files are about inputs: give some with -a FILE or ::: INPUT...",
            )),
            2.. if are_stdins => Err((
                ErrorKind::ArgumentConflict,
                "--stdin and --stdin-files take one list of inputs: each of them is, or names, the stdin of a task",
            )),
            _ if self.arg_file.iter().filter(|path| Self::is_stdin(path)).count() > 1 => Err((
                ErrorKind::ArgumentConflict,
                "stdin can be read only once: give -a - no more than once",
            )),
            _ => Ok(()),
        }
    }

    /// Returns whether a path means stdin.
    fn is_stdin(path: &Path) -> bool {
        path.as_os_str() == OsStr::new("-")
    }

    /// Opens the source of tasks.
    ///
    /// # Errors
    /// Usage errors, and internal errors of stdin.
    pub fn open(
        mut self,
        settings: &Settings,
        results: Option<&ResultsTarget>,
    ) -> Result<TaskSource, ExitError> {
        let lines = |path: &Path| -> Result<_, ExitError> {
            let (input, name) = if Self::is_stdin(path) {
                (BlockingFile::stdin().or_internal()?, "standard input".to_owned())
            } else {
                (
                    open(path, results).or_usage()?,
                    Untrusted::from(&path).to_string(),
                )
            };
            Ok((InputLines::new(input, settings.max_args), name))
        };
        if let Some(path) = &self.tasks {
            let (lines, name) = lines(path)?;
            let form = LineFormat::Task;
            return Ok(TaskSource::Lines { lines, name, form });
        }
        let mut files = std::mem::take(&mut self.arg_file).into_iter();
        if let Some(first) = files.next() {
            let (mut lines_of_first, name) = lines(&first)?;
            lines_of_first.set_delimiter(self.delimiter());
            let (mut others, mut kept) = (Vec::new(), 0);
            for file in files {
                let (mut lines, name) = lines(&file)?;
                lines.set_delimiter(self.delimiter());
                others.push(InputList::new(read_all(lines, &name, &mut kept).or_usage()?));
            }
            others.append(&mut self.listed);
            let form = LineFormat::Input(self.expansion(others, settings.max_args));
            return Ok(TaskSource::Lines {
                lines: lines_of_first,
                name,
                form,
            });
        }
        let mut lists = std::mem::take(&mut self.listed).into_iter();
        if let Some(first) = lists.next() {
            return Ok(TaskSource::Listed(
                first.inputs,
                self.expansion(lists, settings.max_args),
            ));
        }
        if !self.args.is_empty() {
            return Ok(TaskSource::Args(
                self.args.into_iter().map(|args| args.0).collect(),
            ));
        }
        if !self.words.is_empty() {
            return Ok(TaskSource::Args(vec![json_strings(&self.words)]));
        }
        Ok(TaskSource::GuestExport)
    }

    /// Returns the byte that ends an input in a file.
    fn delimiter(&self) -> u8 {
        if self.null { b'\0' } else { b'\n' }
    }

    /// Returns how the inputs of the first list become tasks.
    fn expansion(&self, others: impl IntoIterator<Item = InputList>, max_args: u64) -> InputExpansion {
        let others = Combinations::new(others);
        let template = match (self.stdin, self.stdin_files) {
            (true, _) => TaskTemplate::Stdin(self.words.clone()),
            (_, true) => TaskTemplate::File(self.words.clone(), max_args),
            _ => TaskTemplate::arg(&self.words, others.lists()),
        };
        InputExpansion {
            template,
            others,
            null: self.null,
        }
    }
}

/// Reads all inputs of a file into memory. `kept` is the size of all inputs that were read so.
fn read_all(
    mut lines: InputLines<BlockingFile>,
    name: &str,
    kept: &mut usize,
) -> anyhow::Result<Vec<String>> {
    let mut inputs: Vec<String> = Vec::new();
    loop {
        let null = lines.delimiter() == b'\0';
        while let Some((number, line)) = lines.next_buffered() {
            let input = match line {
                InputLine::Bytes(line) => input(line, null),
                InputLine::TooLong => Err(LineError::TooLong),
            };
            let input = input.map_err(|why| anyhow!("input {number} of {name}: {why}"))?;
            *kept += input.len() + size_of::<String>();
            if *kept > MAX_COMBINED_INPUTS {
                return Err(anyhow!(
                    "the inputs in files of -a take more than {}, up to those of {name}: only the first file may have more",
                    display_size(MAX_COMBINED_INPUTS as u64)
                ));
            }
            inputs.push(input.to_owned());
        }
        if !lines
            .read_more()
            .with_context(|| format!("cannot read inputs from {name}"))?
        {
            return Ok(inputs);
        }
    }
}

/// Opens a file of tasks, which must not be the file of results.
fn open(path: &Path, results: Option<&ResultsTarget>) -> anyhow::Result<BlockingFile> {
    let read = || -> io::Result<(File, Metadata)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata))
    };
    let (file, tasks) =
        read().with_context(|| format!("cannot read tasks from {}", Untrusted::from(&path)))?;
    if let Some(results) = results
        && results.is_same_as(&tasks)
    {
        return Err(anyhow!(
            "tasks and --results name the same file, {}, which would be written over",
            Untrusted::from(&path)
        ));
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::output::results::EarlierResults;

    #[test]
    fn a_file_of_tasks_is_not_missing_a_directory_or_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let why = |path: &Path, results| open(path, results).map(drop).unwrap_err();
        assert!(why(&path, None).to_string().contains("cannot read tasks"));
        assert!(why(dir.path(), None).to_string().contains("cannot read tasks"));
        let results = ResultsTarget::open(&path, EarlierResults::Refuse, 0).unwrap();
        assert!(why(&path, Some(&results)).to_string().contains("the same file"));
        assert!(open(&path, None).is_ok());
    }
}
