//! Runs examples from pages of the documentation.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::{binary, mpwasm, repository};

/// A fenced code block of a page.
#[derive(Debug)]
pub struct Block {
    pub language: String,
    pub text: String,
}

/// Returns the code blocks of a page in `docs/`, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, begun)) = rest.split_once("\n```") {
        let (block, after) = begun.split_once("\n```\n").unwrap();
        let (language, text) = block.split_once('\n').unwrap();
        blocks.push(Block {
            language: language.to_owned(),
            text: text.to_owned(),
        });
        rest = after;
    }
    blocks
}

/// Copies the binary under test into a folder, for [`script`].
pub fn prepare(folder: &Path) {
    std::os::unix::fs::symlink(binary(), folder.join("mpwasm")).unwrap();
}

/// Returns a shell block of a page as a script that ends at the first command that fails. The programs in the folder are
/// in its PATH.
pub fn script(folder: &Path, block: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command.args(["-euc", block]).current_dir(folder);
    for (name, value) in mpwasm().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("PATH", format!("{}:{path}", folder.display()));
    command
}

/// Returns the stdout of a script. Panics with all its output if it failed.
pub fn printed(block: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{block}\n{text}\n{errors}");
    text.into_owned()
}
