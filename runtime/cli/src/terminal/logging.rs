//! `-v` and `--log-format`: which of mpwasm's events and of guests' log lines go to stderr, and in which format.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use mpwasm::escape::Untrusted;
use mpwasm::{COMPILATION_TARGET, LOG_TARGET, LogLevel};
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal::escape::escape_json;
use crate::terminal::stderr_writer::StderrWriter;
use crate::terminal::stdio::permits_colours;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object each, with the time.
    Json,
}

/// Formats log lines as text.
///
/// A warning of mpwasm and the notice of a long compilation look like its other messages. All other lines begin with their level.
struct TextFormat(Format<format::Full, ()>);

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let start = match (level, target) {
            (_, LOG_TARGET) => None,
            (Level::INFO, COMPILATION_TARGET) => Some("mpwasm: "),
            (Level::WARN, target) => target.starts_with("mpwasm").then_some("mpwasm: warning: "),
            _ => None,
        };
        let Some(start) = start else {
            return self.0.format_event(context, writer, event);
        };
        writer.write_str(start)?;
        context.format_fields(writer.by_ref(), event)?;
        writer.write_char('\n')
    }
}

/// Sets up logging to `stderr`. Returns the least important level of guests' log lines that is logged.
pub fn begin(verbose: u8, format: LogFormat, stderr: StderrWriter) -> LogLevel {
    let (own, guests, min_level) = levels(verbose);
    let is_terminal = io::stderr().is_terminal();
    // On a terminal, a person waits for the compilation. In a pipe or a file the notice is not useful.
    let compilations = if is_terminal {
        own.max(LevelFilter::INFO)
    } else {
        own
    };
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("mpwasm", own)
        .with_target(COMPILATION_TARGET, compilations)
        .with_target(LOG_TARGET, guests);
    let colours = is_terminal && permits_colours();
    let lines = match format {
        LogFormat::Text => {
            let default = format::format().without_time().with_target(false);
            tracing_subscriber::fmt::layer()
                .with_writer(move || stderr.clone())
                .with_ansi(colours)
                .fmt_fields(format::debug_fn(write_field).delimited(" "))
                .event_format(TextFormat(default))
                .boxed()
        }
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .with_writer(move || JsonEscaping(stderr.clone()))
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    min_level
}

/// Writes a field of a log line, escaped, as every field can contain untrusted text.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = Untrusted::from(&value);
    match field.name() {
        "message" => write!(writer, "{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

/// Writes log lines in JSON, with terminal control characters as JSON escapes.
struct JsonEscaping(StderrWriter);

impl Write for JsonEscaping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = escape_json(text.trim_end()).into_owned() + "\n";
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the levels that are logged: of mpwasm's events, and of guests' log lines as a filter and as a [`LogLevel`].
fn levels(verbose: u8) -> (LevelFilter, LevelFilter, LogLevel) {
    match verbose {
        0 => (LevelFilter::WARN, LevelFilter::INFO, LogLevel::Info),
        1 => (LevelFilter::DEBUG, LevelFilter::DEBUG, LogLevel::Debug),
        _ => (LevelFilter::TRACE, LevelFilter::TRACE, LogLevel::Trace),
    }
}
