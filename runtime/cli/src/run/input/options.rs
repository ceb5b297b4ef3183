//! Where a run's tasks come from, as the command line says it: task lines, inputs as GNU parallel and xargs take
//! them, args in JSON, words, or the guest itself. What becomes of them is in `feed.rs`.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::error::ErrorKind;
use mpwasm::Settings;
use mpwasm::escape::Untrusted;
use mpwasm_types::settings::MAX_COMBINED_INPUTS;
use mpwasm_types::task_line::TaskLine;
use serde_json::value::{RawValue, to_raw_value};

use crate::options::units::{JsonArgs, display_size};
use crate::process::exit::{Failure, OrExit};
use crate::run::input::combinations::{Combinations, InputList};
use crate::run::input::lines::{Line, Lines};
use crate::run::output::results::ResultsTarget;
use crate::terminal::stdio::Descriptor;

/// The options that say where tasks come from.
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

    /// What stood behind `:::` and `:::+`.
    #[arg(skip)]
    pub listed: Vec<InputList>,
}

/// Where a run's tasks come from.
pub enum TaskSource {
    /// Lines of a stream.
    Lines {
        /// The lines.
        lines: Lines<Descriptor>,
        /// What people call the place they come from.
        name: String,
        /// What a line is.
        form: LineFormat,
    },
    /// Inputs from the command line, and what becomes of them.
    Listed(Vec<String>, InputExpansion),
    /// The args of each task, from the command line.
    Args(Vec<Box<RawValue>>),
    /// The guests' `tasks` exports.
    GuestExport,
}

/// What a line of a stream is.
#[derive(Debug)]
pub enum LineFormat {
    /// A task line.
    Task,
    /// An input.
    Input(InputExpansion),
}

/// What becomes of the inputs of the first list.
#[derive(Clone, Debug)]
pub struct InputExpansion {
    /// What the task for a combination of inputs is.
    pub template: TaskTemplate,
    /// The other lists.
    pub others: Combinations,
    /// Whether an input ends with a zero byte.
    pub null: bool,
}

/// What the task for an input is, or for a combination of inputs.
#[derive(Clone, Debug)]
pub enum TaskTemplate {
    /// The words of its args, with the places where inputs go.
    Arg(Vec<ArgTemplate>),
    /// The words of its args; the input is its stdin.
    Stdin(Vec<String>),
    /// The words of its args; the input names the file that is its stdin, of so many bytes at most.
    File(Vec<String>, u64),
}

/// A word with places for inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgTemplate(Vec<ArgPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ArgPart {
    Text(String),
    /// `{}`: all inputs.
    All,
    /// `{1}`: that of one list, counted from 0.
    Input(usize),
}

impl ArgTemplate {
    /// Reads a word, for this number of lists. A `{N}` that names none of them is plain text.
    fn new(word: &str, lists: usize) -> Self {
        let mut parts = Vec::new();
        let (mut text, mut rest) = (String::new(), word);
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            text += before;
            let name = from.find('}').map(|close| &from[1..close]);
            let place = match name {
                Some("") => Some(ArgPart::All),
                Some(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let number = name.parse().ok().filter(|number| (1..=lists).contains(number));
                    number.map(|number| ArgPart::Input(number - 1))
                }
                _ => None,
            };
            match (place, name) {
                (Some(place), Some(name)) => {
                    if !text.is_empty() {
                        parts.push(ArgPart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(place);
                    rest = &from[name.len() + 2..];
                }
                _ => {
                    text.push('{');
                    rest = &from[1..];
                }
            }
        }
        text += rest;
        if !text.is_empty() || parts.is_empty() {
            parts.push(ArgPart::Text(text));
        }
        Self(parts)
    }

    fn has_place(&self) -> bool {
        self.0.iter().any(|part| !matches!(part, ArgPart::Text(_)))
    }

    /// The args that it stands for: one, but for `{}`, which is an arg for each input.
    fn fill(&self, inputs: &[&str], args: &mut Vec<String>) {
        if self.0 == [ArgPart::All] {
            return args.extend(inputs.iter().map(|&input| input.to_owned()));
        }
        let mut arg = String::new();
        for part in &self.0 {
            match part {
                ArgPart::Text(text) => arg += text,
                ArgPart::All => arg += &inputs.join(" "),
                ArgPart::Input(list) => arg += inputs[*list],
            }
        }
        args.push(arg);
    }
}

impl TaskTemplate {
    /// Reads the words after `--`, for this number of lists. Words without a place get a `{}` behind them.
    pub fn arg(words: &[String], lists: usize) -> Self {
        let mut words: Vec<_> = words.iter().map(|word| ArgTemplate::new(word, lists)).collect();
        if !words.iter().any(ArgTemplate::has_place) {
            words.push(ArgTemplate(vec![ArgPart::All]));
        }
        Self::Arg(words)
    }

    /// The task for these inputs, of as many lists as the template is for.
    ///
    /// # Errors
    /// When a file that it needs can't be read.
    pub fn task(&self, inputs: &[&str]) -> Result<TaskLine, String> {
        Ok(match self {
            Self::Arg(words) => {
                let mut args = Vec::with_capacity(words.len());
                words.iter().for_each(|word| word.fill(inputs, &mut args));
                TaskLine::of(strings(&args))
            }
            Self::Stdin(words) => TaskLine {
                stdin: Some(format!("{}\n", inputs.join(" ")).into_bytes()),
                ..TaskLine::of(strings(words))
            },
            Self::File(words, most) => TaskLine {
                stdin: Some(content(&inputs.join(" "), *most)?),
                ..TaskLine::of(strings(words))
            },
        })
    }

    /// Whether inputs are stdins, or name them.
    pub fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin(_) | Self::File(..))
    }
}

/// The content of a file, which has at most so many bytes. No more of it is read.
fn content(name: &str, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(name).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("cannot read its stdin from {name}: {error}")),
        Ok(count) if count as u64 > most => Err(format!(
            "the file {name} is larger than a task's stdin can be: {most} bytes (--max-args)"
        )),
        Ok(_) => Ok(bytes),
    }
}

fn strings(words: &[String]) -> Box<RawValue> {
    to_raw_value(words).expect("strings can be written as JSON")
}

impl InputOptions {
    /// Adds what stood behind `:::`.
    ///
    /// # Errors
    /// When these options take no lists.
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

    /// Checks what concerns all of these options.
    ///
    /// # Errors
    /// When they don't fit together.
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
            _ if self.arg_file.iter().filter(|path| Self::from_stdin(path)).count() > 1 => Err((
                ErrorKind::ArgumentConflict,
                "stdin can be read only once: give -a - no more than once",
            )),
            _ => Ok(()),
        }
    }

    /// Whether tasks come from stdin.
    fn from_stdin(path: &Path) -> bool {
        path.as_os_str() == OsStr::new("-")
    }

    /// Opens the place where tasks come from. All failures are wrong usage.
    pub fn open(
        mut self,
        settings: &Settings,
        results: Option<&ResultsTarget>,
    ) -> Result<TaskSource, Failure> {
        let lines = |path: &Path| -> Result<_, Failure> {
            let (input, name) = if Self::from_stdin(path) {
                (Descriptor::stdin().or_internal()?, "standard input".to_owned())
            } else {
                (
                    open(path, results).or_usage()?,
                    Untrusted::from(&path).to_string(),
                )
            };
            Ok((Lines::new(input, settings.max_args), name))
        };
        if let Some(path) = &self.tasks {
            let (lines, name) = lines(path)?;
            let form = LineFormat::Task;
            return Ok(TaskSource::Lines { lines, name, form });
        }
        let mut files = std::mem::take(&mut self.arg_file).into_iter();
        if let Some(first) = files.next() {
            let (mut lines_of_first, name) = lines(&first)?;
            lines_of_first.end_with(self.delimiter());
            let (mut others, mut kept) = (Vec::new(), 0);
            for file in files {
                let (mut lines, name) = lines(&file)?;
                lines.end_with(self.delimiter());
                others.push(InputList::new(read_all(lines, &name, &mut kept).or_usage()?));
            }
            others.append(&mut self.listed);
            let form = LineFormat::Input(self.inputting(others, settings.max_args));
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
                self.inputting(lists, settings.max_args),
            ));
        }
        if !self.args.is_empty() {
            return Ok(TaskSource::Args(
                self.args.into_iter().map(|args| args.0).collect(),
            ));
        }
        if !self.words.is_empty() {
            return Ok(TaskSource::Args(vec![strings(&self.words)]));
        }
        Ok(TaskSource::GuestExport)
    }

    /// With which byte an input of a file ends.
    fn delimiter(&self) -> u8 {
        if self.null { b'\0' } else { b'\n' }
    }

    /// What becomes of the inputs of the first list.
    fn inputting(&self, others: impl IntoIterator<Item = InputList>, max_args: u64) -> InputExpansion {
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

/// An input, out of a line of a file.
///
/// # Errors
/// When it is not UTF-8.
pub fn input(line: &[u8], null: bool) -> Result<&str, String> {
    let line = line.strip_suffix(b"\r").filter(|_| !null).unwrap_or(line);
    str::from_utf8(line).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))
}

/// The inputs of a list that is kept. `kept` counts the bytes of all these lists.
fn read_all(mut lines: Lines<Descriptor>, name: &str, kept: &mut usize) -> anyhow::Result<Vec<String>> {
    let mut inputs: Vec<String> = Vec::new();
    loop {
        let null = lines.delimiter() == b'\0';
        while let Some((number, line)) = lines.next_at_hand() {
            let input = match line {
                Line::Bytes(line) => input(line, null),
                Line::TooLong => Err("longer than --max-args allows".into()),
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

fn open(path: &Path, results: Option<&ResultsTarget>) -> anyhow::Result<Descriptor> {
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

    fn args(words: &[&str], inputs: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let task = TaskTemplate::arg(&words, inputs.len()).task(inputs).unwrap();
        assert_eq!(task.stdin, None);
        task.args.get().to_owned()
    }

    #[test]
    fn an_input_takes_each_place_or_comes_last() {
        assert_eq!(args(&[], &["a \"b\""]), r#"["a \"b\""]"#);
        assert_eq!(
            args(&["convert", "{}", "{}.out"], &["x"]),
            r#"["convert","x","x.out"]"#
        );
        assert_eq!(args(&["-v"], &["{}"]), r#"["-v","{}"]"#);
        assert_eq!(args(&["{1}", "{{}}", ""], &["x"]), r#"["x","{x}",""]"#);
    }

    #[test]
    fn the_inputs_of_several_lists_have_numbers() {
        let inputs = ["a b", "{1}"];
        assert_eq!(args(&[], &inputs), r#"["a b","{1}"]"#);
        assert_eq!(args(&["{2}-{1}", "{1}"], &inputs), r#"["{1}-a b","a b"]"#);
        assert_eq!(args(&["{}", "({})"], &inputs), r#"["a b","{1}","(a b {1})"]"#);
        let literal = [
            "{0}",
            "{3}",
            "{-1}",
            "{x}",
            "{",
            "{}}",
            "{1",
            "{99999999999999999999}",
        ];
        assert_eq!(
            args(&literal, &inputs),
            r#"["{0}","{3}","{-1}","{x}","{","a b {1}}","{1","{99999999999999999999}"]"#
        );
    }

    #[test]
    fn an_input_that_is_a_stdin_is_a_line_and_leaves_the_words_as_they_are() {
        let template = TaskTemplate::Stdin(vec!["{}".into(), "x".into()]);
        let task = template.task(&["a {}"]).unwrap();
        assert_eq!(
            (
                task.args.get(),
                task.stdin.as_deref().map(String::from_utf8_lossy).as_deref()
            ),
            (r#"["{}","x"]"#, Some("a {}\n"))
        );
        let task = TaskTemplate::Stdin(Vec::new()).task(&[""]).unwrap();
        assert_eq!(
            (
                task.args.get(),
                task.stdin.as_deref().map(String::from_utf8_lossy).as_deref()
            ),
            ("[]", Some("\n"))
        );
    }

    #[test]
    fn tasks_come_from_a_file_that_is_neither_missing_nor_a_directory_nor_the_results() {
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
