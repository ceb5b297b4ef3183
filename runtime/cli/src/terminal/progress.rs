//! `--progress`: a bar at the bottom of the terminal, on stderr, and what it takes that nothing else is garbled by it.
//!
//! There is one terminal, and so one bar. All that goes to the terminal while it is there goes through [`AboveBar`], which
//! takes the bar away, writes whole lines, and lets it come back.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar, once there is one.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// How often the bar is drawn again though nothing has happened.
const TICK: Duration = Duration::from_millis(200);
/// Bytes of a line that wait for its end, where a bar is below it.
const LONGEST: usize = 64 << 10;

/// Whether a bar is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// On a terminal that can show one.
    Auto,
    /// Refuse to run without one: stderr has to be a terminal.
    Always,
    /// None.
    Never,
}

impl ProgressMode {
    /// Whether there is to be a bar.
    ///
    /// # Errors
    /// When there is to be one where there is no terminal: a bar is never written into a pipe or a file.
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

/// What is counted. Without a bar it counts nothing.
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

    /// A task has ended.
    pub fn ended(&mut self, success: bool) {
        let Some(bar) = &self.bar else { return };
        if !success {
            self.failed += 1;
            bar.set_message(failures(self.failed));
        }
        bar.inc(1);
    }

    /// There are so many tasks, about.
    pub fn total(&self, total: u64) {
        let Some(bar) = &self.bar else { return };
        bar.set_style(style(
            "{bar:30} {pos} of {len} ended, {msg}, {per_sec}, {elapsed}, {eta} left",
        ));
        bar.set_length(total);
    }

    /// Starts a thread that counts the lines of a file, which end with `delimiter`. `tasks` computes the number of tasks from
    /// that of lines.
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

fn failures(count: u64) -> String {
    format!("{count} failed")
}

/// Takes the bar away for good: the run is over.
pub fn clear() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}

/// Whether there is a bar, for which who writes to the terminal may have to wait.
pub fn is_shown() -> bool {
    BAR.get().is_some_and(|bar| !bar.is_finished())
}

/// Writes to a terminal above the bar, where there is one: in whole lines, or else the bar would stand in the middle of
/// one.
#[derive(Debug)]
pub struct AboveBar<W: Write> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> AboveBar<W> {
    /// Writes there.
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
        if self.line.len() > LONGEST {
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
