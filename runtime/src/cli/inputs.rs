//! Where a run's tasks come from, as the command line says it: task lines, inputs as GNU parallel and xargs take
//! them, args in JSON, words, or the guest itself. What becomes of them is in `feed.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use mpwasm::{Settings, TaskLine};
use serde_json::value::{RawValue, to_raw_value};

use super::exit::{Failure, OrExit};
use super::lines::Lines;
use super::results::Results;
use super::stdio::Descriptor;
use super::units::JsonArgs;

/// What stands between a command line and the inputs that follow it.
pub const SEPARATOR: &str = ":::";
/// Where an input goes in the words after `--`.
const PLACE: &str = "{}";

/// The options that say where tasks come from.
#[derive(Debug, Args)]
pub struct Inputs {
    /// Read tasks from this file, or from stdin for `-`: one per line, a JSON array of args or an object
    /// {"args", "key"?, "guest"?, "model"?, "timeout"?, "stdin"?} [default: the guest's `tasks` export; a command
    /// without one runs once].
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["args", "arg_file", "words"])]
    pub tasks: Option<PathBuf>,

    /// Run a task for each line of this file, or of stdin for `-`: its arg is the line, a string.
    #[arg(short = 'a', long, value_name = "FILE|-", conflicts_with = "args")]
    pub arg_file: Option<PathBuf>,

    /// Run one task with these args, a JSON array; repeatable.
    #[arg(long, value_name = "JSON", conflicts_with = "words")]
    pub args: Vec<JsonArgs>,

    /// With -a or :::, give each task its input as its stdin, with a newline, instead of as an arg: for commands. Words
    /// after -- are then the args of each task, as they are.
    #[arg(long, conflicts_with_all = ["tasks", "args"])]
    pub stdin: bool,

    /// Run one task whose args are these strings. With -a or ::: it is one task per input, which takes the place of
    /// each {}, or comes last where there is none.
    #[arg(last = true, value_name = "ARG")]
    pub words: Vec<String>,

    /// What stood behind `:::`.
    #[arg(skip)]
    pub listed: Option<Vec<String>>,
}

/// Cuts `::: INPUT...` off a command line. What follows may begin with a dash, so clap is not to see it.
///
/// # Errors
/// When an input is not UTF-8, or there is a second separator.
pub fn split_listed(line: &mut Vec<OsString>) -> Result<Option<Vec<String>>, String> {
    let Some(at) = line.iter().position(|word| word == SEPARATOR) else {
        return Ok(None);
    };
    let listed = line.split_off(at).into_iter().skip(1);
    let text = |word: OsString| match word.into_string() {
        Ok(word) if word == SEPARATOR => Err(format!(
            "one {SEPARATOR} is enough: there is no second list of inputs"
        )),
        Ok(word) => Ok(word),
        Err(word) => Err(format!(
            "the input {} is not UTF-8: args of guests are JSON strings",
            word.display()
        )),
    };
    listed.map(text).collect::<Result<_, _>>().map(Some)
}

/// Where a run's tasks come from.
pub enum Origin {
    /// Lines of a stream.
    Lines {
        /// The lines.
        lines: Lines<Descriptor>,
        /// What people call the place they come from.
        name: String,
        /// What a line is.
        form: Form,
    },
    /// Inputs from the command line, and what becomes of them.
    Listed(Vec<String>, Template),
    /// The args of each task, from the command line.
    Args(Vec<Box<RawValue>>),
    /// The guests' `tasks` exports.
    Guest,
}

/// What a line of a stream is.
#[derive(Debug)]
pub enum Form {
    /// A task line.
    Task,
    /// An input for this template.
    Input(Template),
}

/// What the task for an input is.
#[derive(Clone, Debug)]
pub enum Template {
    /// The words of its args, with the places where the input goes.
    Arg(Vec<String>),
    /// The words of its args; the input is its stdin.
    Stdin(Vec<String>),
}

impl Template {
    /// With the words after `--`; none are as good as `{}`.
    pub fn arg(mut words: Vec<String>) -> Self {
        if !words.iter().any(|word| word.contains(PLACE)) {
            words.push(PLACE.into());
        }
        Self::Arg(words)
    }

    /// The task for an input.
    pub fn task(&self, input: &str) -> TaskLine {
        match self {
            Self::Arg(words) => {
                let words: Vec<_> = words.iter().map(|word| word.replace(PLACE, input)).collect();
                TaskLine::of(strings(&words))
            }
            Self::Stdin(words) => TaskLine {
                stdin: Some(format!("{input}\n")),
                ..TaskLine::of(strings(words))
            },
        }
    }
}

fn strings(words: &[String]) -> Box<RawValue> {
    to_raw_value(words).expect("strings can be written as JSON")
}

impl Inputs {
    /// Whether nothing but words after `--` says what tasks there are.
    pub fn is_words_only(&self) -> bool {
        self.tasks.is_none() && self.arg_file.is_none() && self.args.is_empty()
    }

    /// Whether there are no inputs that `--stdin` could be about.
    pub fn lack_inputs(&self) -> bool {
        self.arg_file.is_none() && self.listed.is_none()
    }

    /// Whether tasks come from stdin.
    fn from_stdin(path: &Path) -> bool {
        path.as_os_str() == OsStr::new("-")
    }

    /// Opens the place where tasks come from. All failures are wrong usage.
    pub fn open(self, settings: &Settings, results: Option<&Results>) -> Result<Origin, Failure> {
        let file = self.tasks.as_ref().or(self.arg_file.as_ref());
        let template = match self.stdin {
            true => Template::Stdin,
            false => Template::arg,
        };
        if let Some(path) = file {
            let (input, name) = if Self::from_stdin(path) {
                (Descriptor::stdin().or_internal()?, "standard input".to_owned())
            } else {
                (open(path, results).or_usage()?, path.display().to_string())
            };
            let lines = Lines::new(input, settings.max_args);
            let form = match self.tasks {
                Some(_) => Form::Task,
                None => Form::Input(template(self.words)),
            };
            return Ok(Origin::Lines { lines, name, form });
        }
        if let Some(listed) = self.listed {
            return Ok(Origin::Listed(listed, template(self.words)));
        }
        if !self.args.is_empty() {
            return Ok(Origin::Args(self.args.into_iter().map(|args| args.0).collect()));
        }
        if !self.words.is_empty() {
            return Ok(Origin::Args(vec![strings(&self.words)]));
        }
        Ok(Origin::Guest)
    }
}

fn open(path: &Path, results: Option<&Results>) -> anyhow::Result<Descriptor> {
    let read = || -> io::Result<(File, Metadata)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata))
    };
    let (file, tasks) = read().with_context(|| format!("cannot read tasks from {}", path.display()))?;
    if let Some(results) = results
        && results.is_same_as(&tasks)
    {
        return Err(anyhow!(
            "tasks and --results name the same file, {}, which would be written over",
            path.display()
        ));
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_takes_each_place_or_comes_last() {
        let args = |words: &[&str], input: &str| {
            let words = words.iter().map(|&word| word.to_owned()).collect();
            let task = Template::arg(words).task(input);
            assert_eq!(task.stdin, None);
            task.args.get().to_owned()
        };
        assert_eq!(args(&[], "a \"b\""), r#"["a \"b\""]"#);
        assert_eq!(
            args(&["convert", "{}", "{}.out"], "x"),
            r#"["convert","x","x.out"]"#
        );
        assert_eq!(args(&["-v"], "{}"), r#"["-v","{}"]"#);
    }

    #[test]
    fn an_input_that_is_a_stdin_is_a_line_and_leaves_the_words_as_they_are() {
        let template = Template::Stdin(vec!["{}".into(), "x".into()]);
        let task = template.task("a {}");
        assert_eq!(
            (task.args.get(), task.stdin.as_deref()),
            (r#"["{}","x"]"#, Some("a {}\n"))
        );
        let task = Template::Stdin(Vec::new()).task("");
        assert_eq!((task.args.get(), task.stdin.as_deref()), ("[]", Some("\n")));
    }

    #[test]
    fn what_follows_the_separator_is_no_option() {
        let split = |words: &[&str]| {
            let mut line: Vec<OsString> = words.iter().map(Into::into).collect();
            let listed = split_listed(&mut line);
            (line.len(), listed)
        };
        assert_eq!(split(&["run", "g"]), (2, Ok(None)));
        assert_eq!(
            split(&["run", "g", ":::", "-a", "--size"]),
            (2, Ok(Some(vec!["-a".into(), "--size".into()])))
        );
        assert_eq!(split(&["run", "g", ":::"]), (2, Ok(Some(vec![]))));
        assert!(split(&["run", "g", ":::", "a", ":::", "b"]).1.is_err());
    }

    #[test]
    fn tasks_come_from_a_file_that_is_neither_missing_nor_a_directory_nor_the_results() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let why = |path: &Path, results| open(path, results).map(drop).unwrap_err();
        assert!(why(&path, None).to_string().contains("cannot read tasks"));
        assert!(why(dir.path(), None).to_string().contains("cannot read tasks"));
        let results = Results::open(&path, None).unwrap();
        assert!(why(&path, Some(&results)).to_string().contains("the same file"));
        assert!(open(&path, None).is_ok());
    }
}
