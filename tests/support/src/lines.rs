//! Reads lines of a stream on a thread, and waits for them.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::waiting::HANGS;

/// The lines of a stream that a thread has read so far.
#[derive(Debug)]
pub struct Lines {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    lines: usize,
    ended: bool,
}

impl Lines {
    /// Starts the thread.
    pub fn read(stream: impl Read + Send + 'static) -> Self {
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let sees = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let count = stream.read_until(b'\n', &mut line).unwrap();
                let mut seen = sees.0.lock().unwrap();
                seen.bytes.extend_from_slice(&line);
                seen.lines += usize::from(line.ends_with(b"\n"));
                seen.ended = count == 0;
                sees.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self {
            seen,
            thread: Some(thread),
        }
    }

    /// Waits until there are `count` lines, or until the stream ends.
    pub fn wait_for(&self, count: usize) {
        self.wait("lines", |seen| seen.lines >= count);
    }

    /// Returns the number of lines so far.
    pub fn count(&self) -> usize {
        self.seen.0.lock().unwrap().lines
    }

    /// Waits until `text` was read.
    pub fn wait_for_text(&self, text: &str) {
        let found = |seen: &Seen| {
            seen.bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        self.wait(text, found);
        let seen = self.seen.0.lock().unwrap();
        assert!(
            found(&seen),
            "no {text:?} in {:?}",
            String::from_utf8_lossy(&seen.bytes)
        );
    }

    /// Returns the text that was read so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().unwrap().bytes).into_owned()
    }

    fn wait(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let seen = self.seen.0.lock().unwrap();
        let waiting = |seen: &mut Seen| !seen.ended && !enough(seen);
        let (seen, timeout) = self.seen.1.wait_timeout_while(seen, HANGS, waiting).unwrap();
        assert!(
            !timeout.timed_out(),
            "no {what} in {:?}",
            String::from_utf8_lossy(&seen.bytes)
        );
    }

    /// Waits for the end of the stream and returns everything.
    pub fn all(mut self) -> Vec<u8> {
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.seen.0.lock().unwrap().bytes)
    }
}
