//! Output of guests: counted, cut at the cap, and passed to an [`OutputSink`], or captured for a command's result.
//!
//! A guest that prints more than the cap loses the rest without noticing: nothing closes, traps or blocks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use mpwasm_types::outcome::{LogLevel, Stream};
use mpwasm_types::output::{LOG_LINE_COST, log_cap};

/// Longest log line of a guest. The rest is cut.
const MAX_LOG_LINE: usize = 64 << 10;

/// Takes what guests print. It must not fail, and should not block for long: it is called on the thread that runs the guest,
/// and its time counts as the guest's.
pub trait OutputSink: Send + Sync {
    /// Takes bytes that a guest wrote to stdout or stderr, within the cap.
    fn print(&self, stream: Stream, bytes: &[u8]);
    /// Takes a log line without its final newline, within the cap. It may contain further newlines.
    fn log(&self, level: LogLevel, text: &str);
}

/// What a command wrote to its two streams, as far as the output cap allowed.
#[derive(Debug, Default)]
pub(crate) struct CapturedOutput {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Counts and passes on the output of one call at a time.
///
/// It is shared with the streams inside the WASI context, hence the atomics. Only the thread that runs the guest uses them, so
/// `Relaxed` is enough.
pub(crate) struct CallOutput {
    sink: Arc<dyn OutputSink>,
    /// Number of bytes that this call may still pass on.
    left: AtomicU64,
    /// Number of these that may be log lines.
    log_left: AtomicU64,
    /// Number of bytes written to stdout in this call, including those cut.
    stdout: AtomicU64,
    truncated: AtomicBool,
    /// Whether output is kept here instead of being passed on.
    captures: AtomicBool,
    captured: Mutex<CapturedOutput>,
}

impl CallOutput {
    pub(crate) fn new(sink: Arc<dyn OutputSink>) -> Self {
        Self {
            sink,
            left: AtomicU64::new(0),
            log_left: AtomicU64::new(0),
            stdout: AtomicU64::new(0),
            truncated: AtomicBool::new(false),
            captures: AtomicBool::new(false),
            captured: Mutex::default(),
        }
    }

    /// Starts a new call, which may pass on `max` bytes.
    pub(crate) fn begin(&self, max: u64) {
        self.captures.store(false, Ordering::Relaxed);
        self.left.store(max, Ordering::Relaxed);
        self.log_left.store(log_cap(max), Ordering::Relaxed);
        self.stdout.store(0, Ordering::Relaxed);
        self.truncated.store(false, Ordering::Relaxed);
    }

    /// Captures the streams of the call, a command's. Only its log lines are passed on.
    pub(crate) fn capture(&self) {
        self.captures.store(true, Ordering::Relaxed);
        *self.captured() = CapturedOutput::default();
    }

    /// Returns the captured output of this call.
    pub(crate) fn captured(&self) -> MutexGuard<'_, CapturedOutput> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the call and drops its captured output.
    pub(crate) fn end(&self) {
        if self.captures.load(Ordering::Relaxed) {
            *self.captured() = CapturedOutput::default();
        }
    }

    pub(crate) fn print(&self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stdout {
            self.stdout.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        let kept = self.take(bytes.len());
        if kept == 0 {
            return;
        }
        if self.captures.load(Ordering::Relaxed) {
            let mut captured = self.captured();
            match stream {
                Stream::Stdout => captured.stdout.extend_from_slice(&bytes[..kept]),
                Stream::Stderr => captured.stderr.extend_from_slice(&bytes[..kept]),
            }
        } else {
            self.sink.print(stream, &bytes[..kept]);
        }
    }

    /// Passes on a log line. It counts as more bytes than it has, so that a flood of empty lines ends too.
    pub(crate) fn log(&self, level: LogLevel, bytes: &[u8]) {
        // Cut before decoding, so that dropped bytes cost nothing. The decoded text is what counts: for invalid UTF-8 it is
        // longer than the bytes.
        let log_left = self.log_left.load(Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed).min(log_left);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let begun = &bytes[..bytes.len().min(MAX_LOG_LINE).min(left)];
        let text = String::from_utf8_lossy(begun);
        let wanted = text.len().saturating_add(LOG_LINE_COST);
        let kept = self.take(wanted.min(left));
        self.log_left.store(log_left - kept as u64, Ordering::Relaxed);
        if begun.len() < bytes.len() || kept < wanted {
            self.truncated.store(true, Ordering::Relaxed);
        }
        if kept >= LOG_LINE_COST {
            let end = (kept - LOG_LINE_COST).min(MAX_LOG_LINE);
            self.sink.log(level, &text[..text.floor_char_boundary(end)]);
        }
    }

    /// Returns how many of `wanted` bytes may be passed on. Sets the flag if that is fewer.
    fn take(&self, wanted: usize) -> usize {
        let left = self.left.load(Ordering::Relaxed);
        let kept = left.min(wanted as u64);
        self.left.store(left - kept, Ordering::Relaxed);
        if kept < wanted as u64 {
            self.truncated.store(true, Ordering::Relaxed);
        }
        // At most `wanted`, which is a `usize`.
        kept as usize
    }

    pub(crate) fn stdout_bytes(&self) -> u64 {
        self.stdout.load(Ordering::Relaxed)
    }

    pub(crate) fn truncated(&self) -> bool {
        self.truncated.load(Ordering::Relaxed)
    }
}

/// Writes one of a guest's streams, for wasmtime-wasi. It is always ready and never full.
#[derive(Clone)]
pub(crate) struct GuestStreamWriter {
    pub(crate) output: Arc<CallOutput>,
    pub(crate) stream: Stream,
    /// Whether the stream is a terminal for the guest.
    pub(crate) is_terminal: bool,
}

impl IsTerminal for GuestStreamWriter {
    fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl StdoutStream for GuestStreamWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl Pollable for GuestStreamWriter {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl OutputStream for GuestStreamWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.print(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        // This also bounds the allocation of a `write_zeroes`.
        Ok(64 << 10)
    }

    /// Writes at once. The provided method would wait for readiness before and after.
    fn blocking_write_and_flush<'a, 'b>(
        &'a mut self,
        bytes: Bytes,
    ) -> Pin<Box<dyn Future<Output = StreamResult<()>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.output.print(self.stream, &bytes);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl AsyncWrite for GuestStreamWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.print(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Recorder;

    fn output(max: u64) -> (Arc<Recorder>, CallOutput) {
        let recorder = Arc::new(Recorder::default());
        let output = CallOutput::new(recorder.clone());
        output.begin(max);
        (recorder, output)
    }

    #[test]
    fn output_within_the_cap_is_passed_on_unchanged() {
        let (recorder, output) = output(6);
        output.print(Stream::Stdout, b"abc");
        output.print(Stream::Stderr, b"\xff\n");
        assert_eq!(
            (recorder.stdout(), recorder.stderr()),
            (b"abc".to_vec(), b"\xff\n".to_vec())
        );
        assert_eq!((output.stdout_bytes(), output.truncated()), (3, false));
    }

    #[test]
    fn the_streams_and_the_log_share_one_cap() {
        let (recorder, output) = output(7 + LOG_LINE_COST as u64);
        output.print(Stream::Stderr, b"abcd");
        output.log(LogLevel::Info, b"x");
        assert!(!output.truncated());
        output.print(Stream::Stdout, b"efgh");
        output.print(Stream::Stdout, b"ij");
        assert_eq!(recorder.stdout(), b"ef");
        assert_eq!((output.stdout_bytes(), output.truncated()), (6, true));
        output.log(LogLevel::Info, b"");
        assert_eq!(recorder.logs(), [(LogLevel::Info, "x".to_owned())]);
    }

    #[test]
    fn empty_log_lines_use_up_the_cap_too() {
        let (recorder, output) = output(3 * LOG_LINE_COST as u64);
        for _ in 0..10 {
            output.log(LogLevel::Warn, b"");
        }
        assert_eq!((recorder.logs().len(), output.truncated()), (3, true));
    }

    #[test]
    fn the_next_call_starts_with_the_whole_cap() {
        let (recorder, output) = output(2);
        output.print(Stream::Stdout, b"abc");
        output.begin(2);
        assert_eq!((output.stdout_bytes(), output.truncated()), (0, false));
        output.print(Stream::Stdout, b"de");
        assert_eq!(recorder.stdout(), b"abde");
    }
}
