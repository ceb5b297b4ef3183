//! `mpwasm completions` and `mpwasm man`: shell completions and manual pages, generated from clap's definitions.

use anyhow::{Context, anyhow};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::command_line::Cli;
use crate::process::exit::{Exit, ExitError, OrExit};
use crate::terminal::stdio;

/// Prints the completion script for a shell.
pub fn completions(shell: Shell) -> Result<Exit, ExitError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mpwasm", &mut script);
    stdio::write_result(&script)?;
    Ok(Exit::Success)
}

/// Prints the manual page of a sub-command, or of mpwasm as a whole.
pub fn man(name: Option<&str>) -> Result<Exit, ExitError> {
    let mut whole = Cli::command();
    whole.build();
    let command = match name {
        None => whole,
        Some(name) => whole
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| anyhow!("there is no sub-command {name}; `mpwasm help` lists them"))
            .or_usage()?,
    };
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .context("cannot write the manual page")
        .or_internal()?;
    stdio::write_result(&page)?;
    Ok(Exit::Success)
}
