//! `-v` and `--log-format`: what of mpwasm's own events and of guests' log lines goes to stderr, and in which form.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use mpwasm::{LOG_TARGET, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::progress::Above;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object each, with the time.
    Json,
}

/// Sets up the log of this process. Returns the least important lines of guests that are to be logged.
pub fn begin(verbose: u8, format: LogFormat) -> LogLevel {
    let (own, guests, least) = levels(verbose);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("mpwasm", own)
        .with_target(LOG_TARGET, guests);
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Above::new(io::stderr()))
        .with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.without_time().with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    least
}

/// What is let through: of mpwasm's own events, and of guests' log lines, in both words.
fn levels(verbose: u8) -> (LevelFilter, LevelFilter, LogLevel) {
    match verbose {
        0 => (LevelFilter::WARN, LevelFilter::INFO, LogLevel::Info),
        1 => (LevelFilter::DEBUG, LevelFilter::DEBUG, LogLevel::Debug),
        _ => (LevelFilter::TRACE, LevelFilter::TRACE, LogLevel::Trace),
    }
}
