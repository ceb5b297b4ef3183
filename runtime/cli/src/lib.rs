//! The command line of mpwasm: reads the arguments, calls the sub-command and turns its result into an exit code.
//!
//! Each sub-command is a module of its own. [`terminal`] has the standard streams, [`process`] exit codes and signals,
//! [`options`] the options that several sub-commands share.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]
#![cfg_attr(not(test), warn(clippy::disallowed_macros, clippy::disallowed_methods))]

mod build;
mod cache;
mod command_line;
mod doctor;
mod exec;
mod inspect;
mod manual;
mod new;
mod options;
mod process;
#[cfg(test)]
mod reference;
mod replaced_file;
mod report;
mod run;
mod terminal;
mod trusted_places;

use std::borrow::Cow;
use std::env;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use command_line::{Cli, CliCommand};
use mpwasm::escape::{Untrusted, escape_bytes};
use process::exit::{self, Exit, ExitError, OrExit, error_line};
use process::inherited;
use terminal::stderr_writer::StderrWriter;
use terminal::stdio::{self, BlockingFile};

/// Runs the command line and exits with its code. Threads that still run are not waited for.
pub fn main() -> ! {
    if let Err(error) = inherited::normalize() {
        stdio::print_message(&error_line(&error));
        // With too small a stack, clap can't read the arguments.
        let is_exec = env::args_os().nth(1).is_some_and(|command| command == "exec");
        std::process::exit(if is_exec { Exit::ExecFailed } else { Exit::Failed }.code());
    }
    let cli = Cli::read(env::args_os()).unwrap_or_else(|error| {
        show_usage_error(&error);
        std::process::exit(exit::of_usage(&error, command_line::is_exec(env::args_os())))
    });
    let exit = dispatch(cli).unwrap_or_else(|failure| {
        stdio::print_message(&error_line(&failure.error));
        failure.exit
    });
    std::process::exit(exit.code())
}

/// Prints a usage error, or the requested help.
///
/// An error quotes arguments, which can be file names that a shell's pattern matched. If there is something to escape in it,
/// it is printed without colours.
fn show_usage_error(error: &clap::Error) {
    let plain = error.render().to_string();
    let escaped = escape_bytes(plain.as_bytes());
    // A failure to write is ignored: the exit code tells the result.
    let _ = match escaped {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(escaped) => BlockingFile::stderr().and_then(|mut stderr| stderr.write_all(&escaped)),
    };
}

fn dispatch(cli: Cli) -> Result<Exit, ExitError> {
    let stderr = match cli.command {
        // If no thread can be started, it writes directly.
        CliCommand::Exec(_) => StderrWriter::in_background().unwrap_or_default(),
        _ => StderrWriter::default(),
    };
    let min_level = terminal::logging::begin(cli.verbose, cli.log_format, stderr.clone());
    match cli.command {
        CliCommand::Run(args) => run::run(*args, min_level),
        CliCommand::Exec(args) => Ok(exec::exec(&args, &stderr)),
        CliCommand::Build { dir } => {
            let module = build::build(&dir).or_usage()?;
            print_path(&module)
        }
        CliCommand::New { name } => {
            let dir = new_guest(&name).or_usage()?;
            print_path(&dir)
        }
        CliCommand::Inspect(args) => inspect::inspect(&args),
        CliCommand::Report(args) => report::report(&args),
        CliCommand::Doctor => doctor::doctor(),
        CliCommand::Cache(command) => cache::run(&command),
        CliCommand::Completions { shell } => manual::completions(shell),
        CliCommand::Man { command } => manual::man(command.as_deref()),
    }
}

/// Creates a guest crate at `path`, whose last part is the crate's name.
fn new_guest(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| anyhow!("{} does not end in a name", Untrusted::from(&path)))?;
    let name = name.to_str().context("the name is not UTF-8")?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    new::new(name, parent)
}

/// Prints a path on stdout: its bytes, or escaped on a terminal.
fn print_path(path: &Path) -> Result<Exit, ExitError> {
    stdio::write_result(&[path.as_os_str().as_bytes(), b"\n"].concat())?;
    Ok(Exit::Success)
}
