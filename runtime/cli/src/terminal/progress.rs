//! `--progress`: a progress bar at the bottom of the terminal, on stderr.
//!
//! There is one terminal, and so one bar. While it is shown, everything that is written to the terminal goes through
//! [`AboveBar`], which hides the bar, writes whole lines and shows it again.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mpwasm::{Event, Reporter};

/// The bar, once it is shown.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Interval at which the bar is redrawn without new events: 200 ms, so that its clock runs smoothly.
const TICK: Duration = Duration::from_millis(200);
/// Most bytes of an incomplete line that are buffered above the bar: 64 KiB. A longer line is broken.
const MAX_LINE: usize = 64 << 10;

/// Whether a bar is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// If stderr is a terminal that can show one.
    Auto,
    /// Always; the run is refused if stderr is no terminal.
    Always,
    /// Never.
    Never,
}

impl ProgressMode {
    /// Returns whether to show a bar.
    ///
    /// # Errors
    /// With `Always`, when stderr is no terminal: a bar is never written into a pipe or a file.
    pub fn wanted(self) -> Result<bool, &'static str> {
        let terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match self {
            Self::Never => Ok(false),
            Self::Auto => Ok(terminal && !dumb),
            Self::Always if terminal => Ok(true),
            Self::Always => {
                Err("--progress always needs a terminal on stderr: a bar is never written into a pipe")
            }
        }
    }
}

/// Counts tasks for the bar. Without a bar it does nothing.
#[derive(Clone, Debug, Default)]
pub struct ProgressCounter {
    bar: Option<ProgressBar>,
    failed: u64,
}

impl ProgressCounter {
    /// Shows the bar.
    pub fn show() -> Self {
        let bar = BAR.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {pos} ended, {msg}, {per_sec}, {elapsed}"));
            bar.set_message(failures(0));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar: Some(bar.clone()),
            failed: 0,
        }
    }

    /// Counts a task that has ended.
    fn ended(&mut self, success: bool) {
        let Some(bar) = &self.bar else { return };
        if !success {
            self.failed += 1;
            bar.set_message(failures(self.failed));
        }
        bar.inc(1);
    }

    /// Sets the number of tasks, which may be an estimate.
    pub fn total(&self, total: u64) {
        let Some(bar) = &self.bar else { return };
        bar.set_style(style(
            "{bar:30} {pos} of {len} ended, {msg}, {per_sec}, {elapsed}, {eta} left",
        ));
        bar.set_length(total);
    }

    /// Starts a thread that counts the lines of a file, each ended by `delimiter`. `tasks` computes the number of tasks from
    /// the number of lines.
    pub fn total_of_lines(&self, file: File, delimiter: u8, tasks: impl FnOnce(u64) -> u64 + Send + 'static) {
        if self.bar.is_none() || !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return;
        }
        let counter = self.clone();
        thread::spawn(move || {
            let (mut buffer, mut at, mut lines) = (vec![0; 1 << 20], 0, 0);
            while let Ok(count @ 1..) = file.read_at(&mut buffer, at) {
                lines += buffer[..count].iter().filter(|byte| **byte == delimiter).count() as u64;
                at += count as u64;
            }
            counter.total(tasks(lines));
        });
    }
}

impl Reporter for ProgressCounter {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Ended(outcome) = event {
            self.ended(outcome.is_success());
        }
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

fn failures(count: u64) -> String {
    format!("{count} failed")
}

/// Removes the bar at the end of a run.
pub fn clear() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}

/// Returns whether a bar is shown. A writer to the terminal may then have to wait for it.
pub fn is_shown() -> bool {
    BAR.get().is_some_and(|bar| !bar.is_finished())
}

/// Writes to a terminal, above the bar if there is one. It then writes whole lines, so that the bar never breaks a line.
#[derive(Debug)]
pub struct AboveBar<W: Write> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> AboveBar<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        let line = Vec::new();
        Self { inner, line }
    }
}

impl<W: Write> Write for AboveBar<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(bar) = BAR.get() else {
            return self.inner.write(bytes);
        };
        self.line.extend_from_slice(bytes);
        if self.line.len() > MAX_LINE {
            self.line.push(b'\n');
        }
        if let Some(last) = self.line.iter().rposition(|byte| *byte == b'\n') {
            bar.suspend(|| self.inner.write_all(&self.line[..=last]))?;
            self.line.drain(..=last);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
