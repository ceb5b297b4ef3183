//! The command line (DESIGN.md section 3): reads the arguments, hands over to a sub-command's file, and turns what
//! comes back into an exit code.

mod build;
mod cache;
mod doctor;
mod ending;
mod exec;
mod exit;
mod feed;
mod inspect;
mod lines;
mod new;
mod options;
mod readers;
mod records;
mod reporter;
mod run;
mod signals;
mod stdio;
mod summary;
mod units;
mod walls;

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, anyhow};
use clap::Parser;
use mpwasm::LogLevel;
use tracing::Level;

use exit::{Exit, Failure, OrExit};
use options::{Cli, Command};

/// The whole command line. Threads that still run when it ends are left behind.
pub fn main() -> ! {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        let command = env::args_os()
            .skip(1)
            .find(|word| !word.as_bytes().starts_with(b"-"));
        process::exit(exit::of_usage(&error, command))
    });
    let exit = dispatch(cli).unwrap_or_else(|failure| {
        stdio::say(&one_line(&failure.error));
        failure.exit
    });
    process::exit(exit.code())
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let (diagnostics, guests) = levels(cli.verbose);
    tracing_subscriber::fmt()
        .with_max_level(diagnostics)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        .without_time()
        .with_target(false)
        .init();
    match cli.command {
        Command::Run(args) => run::run(*args, guests),
        Command::Exec(args) => exec::exec(&args, guests),
        Command::Build { dir } => {
            let module = build::build(&dir).or_usage()?;
            print_path(&module)
        }
        Command::New { name } => {
            let dir = new_guest(&name).or_usage()?;
            print_path(&dir)
        }
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Doctor => doctor::doctor(),
        Command::Cache(command) => cache::run(&command),
    }
}

/// What `--verbose` lets through: of mpwasm's own diagnostics, and of guests' log lines.
fn levels(verbose: u8) -> (Level, LogLevel) {
    match verbose {
        0 => (Level::WARN, LogLevel::Info),
        1 => (Level::INFO, LogLevel::Debug),
        2 => (Level::DEBUG, LogLevel::Trace),
        _ => (Level::TRACE, LogLevel::Trace),
    }
}

/// Writes a new guest crate; `path` is its name, or a path that ends in it.
fn new_guest(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| anyhow!("{} does not end in a name", path.display()))?;
    let name = name.to_str().context("the name is not UTF-8")?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    new::new(name, parent)
}

/// Prints a path on stdout, byte for byte.
fn print_path(path: &Path) -> Result<Exit, Failure> {
    stdio::answer(&[path.as_os_str().as_bytes(), b"\n"].concat())?;
    Ok(Exit::Success)
}

/// An error and its causes in one line.
fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_log_lines_are_shown_one_level_below_mpwasms_own() {
        assert_eq!(levels(0), (Level::WARN, LogLevel::Info));
        assert_eq!(levels(1), (Level::INFO, LogLevel::Debug));
        assert_eq!(levels(9), (Level::TRACE, LogLevel::Trace));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = anyhow!("cause").context("what was attempted");
        assert_eq!(one_line(&error), "what was attempted: cause");
    }
}
