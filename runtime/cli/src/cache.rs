//! `mpwasm cache`: shows or clears the user's cache of compiled guests.

use anyhow::anyhow;
use clap::Subcommand;
use mpwasm::escape::Untrusted;
use mpwasm::{Cache, CacheStats};

use crate::options::units::display_size;
use crate::process::exit::{Exit, ExitError, OrExit};
use crate::terminal::stdio;

/// `mpwasm cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show where the cache is, and how much is in it.
    Stats,
    /// Remove all compiled guests.
    Clear,
}

/// Runs `mpwasm cache` and prints the cache's content, or what was removed.
pub fn run(command: &CacheCommand) -> Result<Exit, ExitError> {
    let cache = Cache::of_user()
        .ok_or_else(|| anyhow!("there is no directory for a cache: name one in MPWASM_CACHE_DIR"))
        .or_usage()?;
    let text = match command {
        CacheCommand::Stats => describe(&cache, cache.stats().or_usage()?),
        CacheCommand::Clear => removed(cache.clear().or_usage()?),
    };
    stdio::write_result(text.as_bytes())?;
    Ok(Exit::Success)
}

fn describe(cache: &Cache, stats: CacheStats) -> String {
    format!(
        "directory {}\nguests    {}\nsize      {} of at most {}\n",
        Untrusted::from(cache.path()),
        stats.entries,
        display_size(stats.bytes),
        display_size(cache.size_limit()),
    )
}

fn removed(stats: CacheStats) -> String {
    let guests = if stats.entries == 1 { "guest" } else { "guests" };
    format!(
        "removed {} {guests}, {}\n",
        stats.entries,
        display_size(stats.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_show_the_size_and_its_limit() {
        let mut stats = CacheStats::default();
        (stats.entries, stats.bytes) = (3, 3 << 19);
        let expected = "\
directory /some/\\u{1b}where
guests    3
size      1.5 MiB of at most 64.0 MiB
";
        let cache = Cache::at("/some/\u{1b}where").limit(64 << 20);
        assert_eq!(describe(&cache, stats), expected);
    }

    #[test]
    fn clear_reports_what_was_removed() {
        let mut one = CacheStats::default();
        (one.entries, one.bytes) = (1, 2048);
        assert_eq!(removed(one), "removed 1 guest, 2.0 KiB\n");
        assert_eq!(removed(CacheStats::default()), "removed 0 guests, 0 B\n");
    }
}
