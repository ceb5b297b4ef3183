//! The reference of the command line, docs/reference/cli.md: generated from clap's definitions, and compared with the committed
//! file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::command_line::Cli;

/// Environment variable with which the test writes the file instead of comparing it.
const UPDATE: &str = "MPWASM_UPDATE_REFERENCE";

const INTRODUCTION: &str = "\
# Command line of mpwasm

<!-- Generated from the definitions in runtime/cli/src. Do not edit it, but the definitions, and renew it with
     MPWASM_UPDATE_REFERENCE=1 cargo test -p mpwasm-cli --lib reference -->

`mpwasm help COMMAND` prints the same texts.
";

/// Returns the reference as Markdown.
fn render() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = INTRODUCTION.to_owned();
    text += "\n## Options of all sub-commands\n\n";
    let global = root.get_arguments().filter(|arg| arg.is_global_set());
    render_arguments(&mut text, global.collect());
    render_subcommands(&mut text, &root, "mpwasm");
    text
}

/// Adds a section for each sub-command of `parent`, and for theirs.
fn render_subcommands(text: &mut String, parent: &Command, path: &str) {
    for command in parent.get_subcommands().filter(|command| !is_help(command)) {
        let path = format!("{path} {}", command.get_name());
        _ = writeln!(text, "\n## `{path}`\n");
        let about = command.get_long_about().or(command.get_about());
        if let Some(about) = about {
            _ = writeln!(text, "{}\n", escape(&about.to_string()));
        }
        let usage = command.clone().render_usage().to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
        _ = writeln!(text, "```text\n{usage}\n```");
        let own = command.get_arguments().filter(|arg| !arg.is_global_set());
        let own: Vec<_> = own.filter(|arg| !is_built_in(arg)).collect();
        if !own.is_empty() {
            text.push('\n');
            render_arguments(text, own);
        }
        render_subcommands(text, command, &path);
    }
}

/// Adds a table of arguments and options.
fn render_arguments(text: &mut String, arguments: Vec<&Arg>) {
    *text += "| option | meaning | default |\n|---|---|---|\n";
    for arg in arguments.into_iter().filter(|arg| !arg.is_hide_set()) {
        let help = arg.get_long_help().or(arg.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let (meaning, default) = split_default(&help);
        let mut meaning = escape(meaning);
        for value in possible_values(arg) {
            _ = write!(meaning, "<br>{value}");
        }
        let default = match default {
            Some(default) => escape(default),
            None => default_value(arg),
        };
        _ = writeln!(text, "| {} | {meaning} | {default} |", name(arg));
    }
}

/// Returns the names and the value of an option as on the command line.
fn name(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let values = arg.get_value_names().unwrap_or_default();
    let value = values.first().filter(|_| arg.get_action().takes_values());
    let shown = match (names.is_empty(), value) {
        (true, Some(value)) => value.to_string(),
        (true, None) => arg.get_id().to_string(),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
        (false, None) => names.join(", "),
    };
    format!("`{}`", shown.replace('|', "\\|"))
}

/// Returns a line for each possible value that has a description.
fn possible_values(arg: &Arg) -> Vec<String> {
    let flag = !arg.get_action().takes_values();
    let values = arg.get_possible_values().into_iter().filter(|_| !flag);
    let line = |value: &clap::builder::PossibleValue| match value.get_help() {
        Some(help) => format!("`{}`: {}", value.get_name(), escape(&help.to_string())),
        None => format!("`{}`", value.get_name()),
    };
    values.map(|value| line(&value)).collect()
}

/// Splits `[default: ...]` off the end of a help text.
fn split_default(help: &str) -> (&str, Option<&str>) {
    let found = help.trim().strip_suffix("].").or(help.trim().strip_suffix(']'));
    match found.and_then(|help| help.rsplit_once("[default: ")) {
        Some((meaning, default)) => (meaning.trim_end(), Some(default)),
        None => (help.trim(), None),
    }
}

/// Returns the default value of an option that takes one.
fn default_value(arg: &Arg) -> String {
    let values = arg
        .get_default_values()
        .iter()
        .filter(|_| arg.get_action().takes_values());
    let values: Vec<_> = values
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    values.join(", ")
}

/// Replaces characters with a meaning in tables and HTML, and line breaks.
fn escape(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('<', "&lt;").replace('>', "&gt;");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_help(command: &Command) -> bool {
    command.get_name() == "help"
}

fn is_built_in(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md")
}

#[test]
fn the_committed_reference_is_that_of_the_definitions() {
    let text = render();
    if env::var_os(UPDATE).is_some() {
        fs::create_dir_all(path().parent().unwrap()).unwrap();
        fs::write(path(), &text).unwrap();
    }
    let committed = fs::read_to_string(path()).unwrap_or_default();
    assert!(
        committed == text,
        "docs/reference/cli.md is stale: renew it with {UPDATE}=1 cargo test -p mpwasm-cli --lib reference"
    );
}

#[test]
fn every_option_of_a_run_is_in_the_reference() {
    let text = render();
    for option in [
        "`--tasks FILE\\|-`",
        "`--keep-order`",
        "`-k, --keep-order`",
        "`--memory SIZE`",
        "`GUEST[#MODEL]`",
    ] {
        let is_there = text.contains(&format!("| {option} |"));
        assert_eq!(is_there, option != "`--keep-order`", "{option}");
    }
    assert!(text.contains("| `--memory SIZE` | ") && text.contains(" | `256MiB` |"));
}
