//! The command line (DESIGN.md section 3): reads the arguments, hands over to a sub-command's file, and turns what
//! comes back into an exit code.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation of this crate is for those who change it"
)]

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
mod run;
mod terminal;
mod trusted_places;

use std::borrow::Cow;
use std::env;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use command_line::{Cli, Command};
use mpwasm::escape::{Untrusted, escape_bytes};
use process::exit::{self, Exit, Failure, OrExit, one_line};
use process::inherited;
use terminal::stderr_writer::StderrWriter;
use terminal::stdio::{self, Descriptor};

/// The whole command line. Threads that still run when it ends are left behind.
pub fn main() -> ! {
    if let Err(error) = inherited::settle() {
        stdio::say(&one_line(&error));
        // What it was asked for can't be read without a stack.
        let is_exec = env::args_os().nth(1).is_some_and(|command| command == "exec");
        std::process::exit(if is_exec { Exit::ExecFailed } else { Exit::Failed }.code());
    }
    let cli = Cli::read(env::args_os()).unwrap_or_else(|error| {
        show_usage_error(&error);
        std::process::exit(exit::of_usage(&error, command_line::is_exec(env::args_os())))
    });
    let exit = dispatch(cli).unwrap_or_else(|failure| {
        stdio::say(&one_line(&failure.error));
        failure.exit
    });
    std::process::exit(exit.code())
}

/// Prints what is wrong with the arguments, or the help that they ask for. An error quotes arguments, which may be names of
/// files that a shell's pattern found: it is shown without colours where it has something to escape.
fn show_usage_error(error: &clap::Error) {
    let plain = error.render().to_string();
    let escaped = escape_bytes(plain.as_bytes());
    // What cannot be written is no error of its own: the exit code says it all.
    let _ = match escaped {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(escaped) => Descriptor::stderr().and_then(|mut stderr| stderr.write_all(&escaped)),
    };
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let voice = match cli.command {
        // Without a thread to be had, it speaks all the same.
        Command::Exec(_) => StderrWriter::apart().unwrap_or_default(),
        _ => StderrWriter::default(),
    };
    let guests = terminal::logging::begin(cli.verbose, cli.log_format, voice.clone());
    match cli.command {
        Command::Run(args) => run::run(*args, guests),
        Command::Exec(args) => Ok(exec::exec(&args, &voice)),
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
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { command } => manual::man(command.as_deref()),
    }
}

/// Writes a new guest crate; `path` is its name, or a path that ends in it.
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

/// Prints a path on stdout: byte for byte, but escaped on a terminal.
fn print_path(path: &Path) -> Result<Exit, Failure> {
    stdio::answer(&[path.as_os_str().as_bytes(), b"\n"].concat())?;
    Ok(Exit::Success)
}
