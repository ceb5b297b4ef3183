//! Writes mpwasm's messages and log lines to stderr: directly, or in a background thread that blocks no caller.
//!
//! `exec` uses the thread, so that a slow reader of stderr does not delay the end of the command. The thread writes in the
//! order of the calls. On exit, [`StderrWriter::drain`] waits for as long as stderr is being read. The queue is bounded by
//! [`MAX_UNREAD_LOG`], as a compromised dispatcher can send warnings without end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;

use mpwasm_types::output::{MAX_UNREAD_LOG, UNREAD_OUTPUT_TIMEOUT};

use crate::terminal::progress::AboveBar;
use crate::terminal::stdio::{BlockingFile, message_line};

/// Largest single write to stderr: 4 KiB. A reader that takes this much within the timeout counts as reading.
const PIECE: usize = 4 << 10;

/// Writes to stderr, directly by default. Clones share the background thread.
#[derive(Clone, Debug, Default)]
pub struct StderrWriter(Option<Background>);

/// Handle of the background thread.
#[derive(Clone, Debug)]
struct Background {
    queue: Sender<QueuedWrite>,
    /// Incremented before and after each write: odd during a write.
    steps: Arc<AtomicU64>,
    /// Bytes in the queue.
    queued: Arc<AtomicUsize>,
}

impl Background {
    /// Queues bytes, however full the queue is.
    fn enqueue(&self, bytes: Vec<u8>) {
        self.queued.fetch_add(cost(&bytes), Ordering::Relaxed);
        // The thread runs until the last sender is dropped, and this is one.
        let _ = self.queue.send(QueuedWrite::Bytes(bytes));
    }
}

/// Returns the memory that a queued write takes.
fn cost(bytes: &[u8]) -> usize {
    bytes.len() + size_of::<QueuedWrite>()
}

/// An entry of the queue.
#[derive(Debug)]
enum QueuedWrite {
    Bytes(Vec<u8>),
    /// Dropped once everything queued before it is written, which wakes the receiver.
    Barrier(#[allow(dead_code, reason = "it is only dropped")] Sender<()>),
}

impl StderrWriter {
    /// Returns a writer that never blocks its callers. Its thread ends with the last clone, or with the process.
    ///
    /// # Errors
    /// When the system is out of threads or descriptors.
    pub fn in_background() -> io::Result<Self> {
        Self::background_to(BlockingFile::stderr()?)
    }

    fn background_to(mut stderr: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, writes) = mpsc::channel();
        let steps = Arc::<AtomicU64>::default();
        let counts = Arc::clone(&steps);
        let queued = Arc::<AtomicUsize>::default();
        let unwritten = Arc::clone(&queued);
        thread::Builder::new().name("stderr".into()).spawn(move || {
            for write in writes {
                if let QueuedWrite::Bytes(bytes) = write {
                    for piece in bytes.chunks(PIECE) {
                        counts.fetch_add(1, Ordering::Relaxed);
                        // A failure to write to stderr is ignored.
                        let _ = stderr.write_all(piece);
                        counts.fetch_add(1, Ordering::Relaxed);
                    }
                    unwritten.fetch_sub(cost(&bytes), Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self(Some(Background { queue, steps, queued })))
    }

    /// Prints a message, as [`print_message`](crate::terminal::stdio::print_message) does. It is never dropped, as there
    /// are few messages.
    pub fn print_message(&mut self, text: &str) {
        let line = message_line(text);
        match &self.0 {
            Some(background) => background.enqueue(line),
            None => drop(self.write_all(&line)),
        }
    }

    /// Waits until everything queued so far is written, or nothing was read for [`UNREAD_OUTPUT_TIMEOUT`].
    pub fn drain(&self) {
        let Some(Background { queue, steps, .. }) = &self.0 else {
            return;
        };
        let (barrier, all_written): (_, Receiver<()>) = mpsc::channel();
        let _ = queue.send(QueuedWrite::Barrier(barrier));
        let mut before = steps.load(Ordering::Relaxed);
        while all_written.recv_timeout(UNREAD_OUTPUT_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            let now = steps.load(Ordering::Relaxed);
            // Between two writes, the thread is only waiting for a CPU.
            if now == before && now % 2 == 1 {
                return;
            }
            before = now;
        }
    }
}

/// Each call writes whole lines. In the background, lines for which the queue has no room are dropped.
impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(background) = &self.0 else {
            return AboveBar::new(io::stderr()).write(bytes);
        };
        if background.queued.load(Ordering::Relaxed) + cost(bytes) <= MAX_UNREAD_LOG {
            background.enqueue(bytes.to_vec());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn drain_waits_while_stderr_is_read() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut end = pipe.try_clone().unwrap();
        let mut writer = StderrWriter::background_to(pipe).unwrap();
        let lines = 2000;
        for _ in 0..lines {
            writer.write_all(&[b'x'; 1000]).unwrap();
        }
        writer.print_message("the \x1b end");
        let ends = thread::spawn(move || {
            writer.drain();
            end.write_all(b"after that").unwrap();
        });
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        ends.join().unwrap();
        let end = output.split_off(lines * 1000);
        assert_eq!(
            String::from_utf8_lossy(&end),
            "mpwasm: the \\u{1b} end\nafter that"
        );
    }

    #[test]
    fn unread_lines_are_bounded_and_messages_are_kept() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut writer = StderrWriter::background_to(pipe).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..2 * (MAX_UNREAD_LOG >> 20) {
            writer.write_all(&line).unwrap();
        }
        writer.print_message("the end");
        let queued = writer.0.as_ref().unwrap().queued.load(Ordering::Relaxed);
        assert!(
            queued <= MAX_UNREAD_LOG + 100 && queued > MAX_UNREAD_LOG - 2 * line.len(),
            "{queued}"
        );
        drop(writer);
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        assert!(output.len() <= MAX_UNREAD_LOG + 100);
        assert!(output.ends_with(b"mpwasm: the end\n"));
    }

    #[test]
    fn drain_gives_up_when_nothing_is_read() {
        let (reader, pipe) = io::pipe().unwrap();
        let mut writer = StderrWriter::background_to(pipe).unwrap();
        let started = Instant::now();
        for _ in 0..200 {
            writer.write_all(&[b'x'; 1000]).unwrap();
        }
        writer.drain();
        assert!(
            started.elapsed() >= UNREAD_OUTPUT_TIMEOUT,
            "it waits for the timeout"
        );
        drop(reader);
        writer.drain();
    }
}
