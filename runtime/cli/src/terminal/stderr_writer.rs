//! What mpwasm itself says on stderr: directly, or where nobody may wait for who reads that, through a thread.
//!
//! That is for `exec`, whose end is its command's. The thread writes log lines, warnings and the last words in the order
//! in which they were said. The last are waited for, as long as somebody takes them. What waits here is bounded by
//! [`MAX_UNREAD_LOG`]: a dispatcher that was taken over may warn without end.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;

use mpwasm_types::settings::{MAX_UNREAD_LOG, UNREAD_OUTPUT_TIMEOUT};

use crate::terminal::progress::AboveBar;
use crate::terminal::stdio::{Descriptor, own_line};

/// Who takes so many bytes now and then takes what is said.
const PIECE: usize = 4 << 10;

/// See the module. It is cloned for each who has something to say. By default it speaks directly.
#[derive(Clone, Debug, Default)]
pub struct StderrWriter(Option<Background>);

/// The thread.
#[derive(Clone, Debug)]
struct Background {
    words: Sender<QueuedWrite>,
    /// Counts up when the thread begins to write a piece, and again when all of that was taken.
    steps: Arc<AtomicU64>,
    /// Bytes that wait for the thread.
    waiting: Arc<AtomicUsize>,
}

impl Background {
    /// Leaves words for the thread, however many wait.
    fn leave(&self, bytes: Vec<u8>) {
        self.waiting.fetch_add(cost(&bytes), Ordering::Relaxed);
        // The thread can't have ended: this is one of those with whom it does.
        let _ = self.words.send(QueuedWrite::Bytes(bytes));
    }
}

/// What words take while they wait.
fn cost(bytes: &[u8]) -> usize {
    bytes.len() + size_of::<QueuedWrite>()
}

/// What is said.
#[derive(Debug)]
enum QueuedWrite {
    Bytes(Vec<u8>),
    /// Dropped when all that was said before was taken: so whoever waits for that is told.
    Until(#[allow(dead_code, reason = "it is only dropped")] Sender<()>),
}

impl StderrWriter {
    /// One that nobody waits for. Its thread ends with the last clone, or with the process.
    ///
    /// # Errors
    /// When the system is out of threads or descriptors.
    pub fn apart() -> io::Result<Self> {
        Self::apart_to(Descriptor::stderr()?)
    }

    fn apart_to(mut stderr: impl Write + Send + 'static) -> io::Result<Self> {
        let (words, said) = mpsc::channel();
        let steps = Arc::<AtomicU64>::default();
        let counts = Arc::clone(&steps);
        let waiting = Arc::<AtomicUsize>::default();
        let untaken = Arc::clone(&waiting);
        thread::Builder::new().name("voice".into()).spawn(move || {
            for words in said {
                if let QueuedWrite::Bytes(bytes) = words {
                    for piece in bytes.chunks(PIECE) {
                        counts.fetch_add(1, Ordering::Relaxed);
                        // A stderr that can't be written is no error.
                        let _ = stderr.write_all(piece);
                        counts.fetch_add(1, Ordering::Relaxed);
                    }
                    untaken.fetch_sub(cost(&bytes), Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self(Some(Background {
            words,
            steps,
            waiting,
        })))
    }

    /// A line of mpwasm's own, as [`say`](crate::terminal::stdio::say) says it. It is never dropped: there are few of them.
    pub fn say(&mut self, text: &str) {
        let line = own_line(text);
        match &self.0 {
            Some(apart) => apart.leave(line),
            None => drop(self.write_all(&line)),
        }
    }

    /// Waits until all was taken that was said so far, or nobody has taken anything for a while.
    pub fn finish(&self) {
        let Some(Background { words, steps, .. }) = &self.0 else {
            return;
        };
        let (until, all_taken): (_, Receiver<()>) = mpsc::channel();
        let _ = words.send(QueuedWrite::Until(until));
        let mut before = steps.load(Ordering::Relaxed);
        while all_taken.recv_timeout(UNREAD_OUTPUT_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            let now = steps.load(Ordering::Relaxed);
            // Not between two writes: there it is a busy machine that does not run the thread.
            if now == before && now % 2 == 1 {
                return;
            }
            before = now;
        }
    }
}

/// For who says whole lines with one write each. Those for which there is no room are dropped.
impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(apart) = &self.0 else {
            return AboveBar::new(io::stderr()).write(bytes);
        };
        if apart.waiting.load(Ordering::Relaxed) + cost(bytes) <= MAX_UNREAD_LOG {
            apart.leave(bytes.to_vec());
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
    fn all_is_waited_for_while_somebody_takes_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut end = writer.try_clone().unwrap();
        let mut voice = StderrWriter::apart_to(writer).unwrap();
        let lines = 2000;
        for _ in 0..lines {
            voice.write_all(&[b'x'; 1000]).unwrap();
        }
        voice.say("the \x1b end");
        let ends = thread::spawn(move || {
            voice.finish();
            end.write_all(b"after that").unwrap();
        });
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).unwrap();
        ends.join().unwrap();
        let end = heard.split_off(lines * 1000);
        assert_eq!(
            String::from_utf8_lossy(&end),
            "mpwasm: the \\u{1b} end\nafter that"
        );
    }

    #[test]
    fn lines_that_nobody_takes_are_bounded_and_the_last_words_are_kept() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut voice = StderrWriter::apart_to(writer).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..2 * (MAX_UNREAD_LOG >> 20) {
            voice.write_all(&line).unwrap();
        }
        voice.say("the end");
        let waiting = voice.0.as_ref().unwrap().waiting.load(Ordering::Relaxed);
        assert!(
            waiting <= MAX_UNREAD_LOG + 100 && waiting > MAX_UNREAD_LOG - 2 * line.len(),
            "{waiting}"
        );
        drop(voice);
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).unwrap();
        assert!(heard.len() <= MAX_UNREAD_LOG + 100);
        assert!(heard.ends_with(b"mpwasm: the end\n"));
    }

    #[test]
    fn nobody_waits_for_long_when_nobody_reads() {
        let (reader, writer) = io::pipe().unwrap();
        let mut voice = StderrWriter::apart_to(writer).unwrap();
        let started = Instant::now();
        for _ in 0..200 {
            voice.write_all(&[b'x'; 1000]).unwrap();
        }
        voice.finish();
        assert!(started.elapsed() >= UNREAD_OUTPUT_TIMEOUT, "it has patience");
        drop(reader);
        voice.finish();
    }
}
