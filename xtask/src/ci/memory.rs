//! The table of the most memory that each process had over the hostile corpus.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::context::Context;

/// The file to which the tests append.
pub fn file(context: &Context) -> PathBuf {
    context.repository.target.join("memory")
}

/// Shows the table of the tests of this user.
pub fn show(context: &Context) -> Result<()> {
    show_file(&file(context))
}

/// Shows the lines with the most memory of each process.
pub fn show_file(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}, which the step tests writes", path.display()))?;
    largest(&text).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// For each first word, the line whose second word is the largest number.
fn largest(text: &str) -> Vec<&str> {
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(process) = words.next() else { continue };
        let amount = words
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(0.0);
        let most = lines.entry(process).or_insert((amount, line));
        if amount > most.0 {
            *most = (amount, line);
        }
    }
    lines.into_values().map(|(_, line)| line).collect()
}

#[test]
fn the_largest_amount_of_each_process_is_shown() {
    let text = "worker 9.5 MiB\nparent 10 MiB\nworker 10.25 MiB\nworker 2 MiB\n";
    assert_eq!(largest(text), ["parent 10 MiB", "worker 10.25 MiB"]);
}
