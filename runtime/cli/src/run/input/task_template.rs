//! Templates of tasks, which inputs of `-a` and `:::` complete.

use std::fs::File;
use std::io::{self, Read as _};

use mpwasm_types::task_line::TaskLine;
use serde_json::value::{RawValue, to_raw_value};

/// Why the file of a task's stdin can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StdinFileError {
    /// It can't be read.
    #[error("cannot read its stdin from {name}: {error}")]
    Read { name: String, error: io::Error },
    /// It is larger than stdin may be.
    #[error("the file {name} is larger than a task's stdin can be: {limit} bytes (--max-args)")]
    TooLarge { name: String, limit: u64 },
}

/// A template of tasks, which inputs complete.
#[derive(Clone, Debug)]
pub enum TaskTemplate {
    /// The args, with placeholders for inputs.
    Arg(Vec<ArgTemplate>),
    /// The args. The input is the stdin.
    Stdin(Vec<String>),
    /// The args, and the size limit of stdin. The input names the file with the stdin.
    File(Vec<String>, u64),
}

/// An arg with placeholders for inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgTemplate(Vec<ArgPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ArgPart {
    Text(String),
    /// `{}`: all inputs.
    All,
    /// `{1}`: the input of one list, with its index from 0.
    Input(usize),
}

impl ArgTemplate {
    /// Parses a word, for this number of lists. A `{N}` beyond them is plain text.
    fn new(word: &str, lists: usize) -> Self {
        let mut parts = Vec::new();
        let (mut text, mut rest) = (String::new(), word);
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            text += before;
            let name = from.find('}').map(|close| &from[1..close]);
            let placeholder = match name {
                Some("") => Some(ArgPart::All),
                Some(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let number = name.parse().ok().filter(|number| (1..=lists).contains(number));
                    number.map(|number| ArgPart::Input(number - 1))
                }
                _ => None,
            };
            match (placeholder, name) {
                (Some(placeholder), Some(name)) => {
                    if !text.is_empty() {
                        parts.push(ArgPart::Text(std::mem::take(&mut text)));
                    }
                    parts.push(placeholder);
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

    fn has_placeholder(&self) -> bool {
        self.0.iter().any(|part| !matches!(part, ArgPart::Text(_)))
    }

    /// Appends the args: one, or for a lone `{}` one for each input.
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
    /// Parses the words after `--`, for this number of lists. If none has a placeholder, `{}` is appended.
    pub fn arg(words: &[String], lists: usize) -> Self {
        let mut words: Vec<_> = words.iter().map(|word| ArgTemplate::new(word, lists)).collect();
        if !words.iter().any(ArgTemplate::has_placeholder) {
            words.push(ArgTemplate(vec![ArgPart::All]));
        }
        Self::Arg(words)
    }

    /// Returns the task for one input of each list.
    ///
    /// # Errors
    /// When the file of its stdin can't be read.
    pub fn task(&self, inputs: &[&str]) -> Result<TaskLine, StdinFileError> {
        Ok(match self {
            Self::Arg(words) => {
                let mut args = Vec::with_capacity(words.len());
                words.iter().for_each(|word| word.fill(inputs, &mut args));
                TaskLine::of(json_strings(&args))
            }
            Self::Stdin(words) => TaskLine {
                stdin: Some(format!("{}\n", inputs.join(" ")).into_bytes()),
                ..TaskLine::of(json_strings(words))
            },
            Self::File(words, limit) => TaskLine {
                stdin: Some(read_stdin_file(&inputs.join(" "), *limit)?),
                ..TaskLine::of(json_strings(words))
            },
        })
    }

    /// Returns whether inputs are the stdin, or name its file.
    pub fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin(_) | Self::File(..))
    }
}

/// Reads a file of at most `limit` bytes.
fn read_stdin_file(name: &str, limit: u64) -> Result<Vec<u8>, StdinFileError> {
    let mut bytes = Vec::new();
    let read = File::open(name).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(StdinFileError::Read {
            name: name.to_owned(),
            error,
        }),
        Ok(count) if count as u64 > limit => Err(StdinFileError::TooLarge {
            name: name.to_owned(),
            limit,
        }),
        Ok(_) => Ok(bytes),
    }
}

/// Returns strings as a JSON array.
pub fn json_strings(words: &[String]) -> Box<RawValue> {
    to_raw_value(words).expect("strings serialize as JSON without errors")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
