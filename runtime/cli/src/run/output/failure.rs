//! Failures of a run's outputs. The first one ends the run.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An output of a run that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Output of guests.
    Prints,
    /// Records.
    Records,
    /// The files of `--results-dir`.
    ResultsDir,
    /// The buffer of `--keep-order`.
    OrderBuffer,
}

impl OutputKind {
    /// The bit in [`OutputFailures::failed`].
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The first write that failed, which ended the run.
#[derive(Debug)]
pub struct OutputFailure {
    /// The output.
    pub output: OutputKind,
    /// The error.
    pub error: io::Error,
    /// Whether a report was lost.
    pub lost: bool,
}

impl OutputFailure {
    /// Returns whether the reader has closed the output, which is no error.
    pub fn is_closed_pipe(&self) -> bool {
        // A socket is reset if it is closed before everything was read.
        matches!(
            self.error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )
    }
}

/// The failures of a run's outputs. The reporters and the thread that watches readers share it.
pub struct OutputFailures {
    /// A bit for each output that has failed. It is read for each report, without the lock.
    failed: AtomicU8,
    first: Mutex<Option<OutputFailure>>,
    on_failure: Box<dyn Fn() + Send + Sync>,
}

impl OutputFailures {
    /// Returns a list without failures.
    ///
    /// `on_failure` is called when an output has failed. It must end the run before the pool confirms the current outcome, and must
    /// not block.
    pub fn new(on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            failed: AtomicU8::new(0),
            first: Mutex::default(),
            on_failure: Box::new(on_failure),
        }
    }

    fn first(&self) -> MutexGuard<'_, Option<OutputFailure>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an output has failed.
    pub fn has_failed(&self, output: OutputKind) -> bool {
        self.failed.load(Ordering::Acquire) & output.bit() != 0
    }

    /// Stops writing to an output whose reader has closed it, and ends the run.
    pub fn reader_closed(&self, output: OutputKind) {
        if !self.has_failed(output) {
            self.add(output, ErrorKind::BrokenPipe.into(), false);
        }
    }

    /// Stops writing to an output after an error, and ends the run.
    pub fn write_failed(&self, output: OutputKind, error: io::Error) {
        self.add(output, error, true);
    }

    fn add(&self, output: OutputKind, error: io::Error, lost: bool) {
        let mut first = self.first();
        let failure = first.get_or_insert(OutputFailure {
            output,
            error,
            lost: false,
        });
        failure.lost |= lost;
        self.failed.fetch_or(output.bit(), Ordering::Release);
        drop(first);
        (self.on_failure)();
    }

    /// Notes another report. It is lost if an output has failed before.
    pub fn note_report(&self) {
        if self.failed.load(Ordering::Acquire) != 0
            && let Some(failure) = &mut *self.first()
        {
            failure.lost = true;
        }
    }

    /// Removes and returns the first failure.
    pub fn take_first(&self) -> Option<OutputFailure> {
        self.first().take()
    }
}

/// The writer of an output. Its first error ends the run, and then nothing more is written.
///
/// The error is not returned to the pool, which would stop calling the reporter: one that has more than one output still writes to
/// the others.
pub struct OutputWriter<W> {
    writer: W,
    output: OutputKind,
    failures: Arc<OutputFailures>,
}

impl<W> OutputWriter<W> {
    /// Wraps the writer of an output.
    pub fn new(writer: W, output: OutputKind, failures: Arc<OutputFailures>) -> Self {
        Self {
            writer,
            output,
            failures,
        }
    }

    /// Writes, unless the output has failed.
    pub fn write(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        if !self.failures.has_failed(self.output)
            && let Err(error) = write(&mut self.writer)
        {
            self.failures.write_failed(self.output, error);
        }
    }

    /// Returns the failures of the run.
    pub fn failures(&self) -> &OutputFailures {
        &self.failures
    }
}
