//! What a process that runs guests has to say to its starter: endings, pushes and prints, in one order, from two
//! threads.
//!
//! Many small messages travel in one write while more tasks are at hand: for some milliseconds, after which the next one
//! takes them along. But none waits for the next task to end: what has waited some milliseconds is sent by the watchdog.
//! The same errand carries prints that have no newline yet. The watchdog never waits, neither for the socket nor for the
//! lock. What the messages look like is for the [`Voice`] to say.

use mpwasm_system::clock;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use mpwasm_engine::OutputSink;
use mpwasm_engine::watchdog::{RECHECK_INTERVAL, WatchdogHandle};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_system::process::exit_now;
use mpwasm_types::outcome::{LogLevel, Stream};
use mpwasm_types::settings::{OUTPUT_FLUSH_DELAY, OUTPUT_FLUSH_SIZE, OUTPUT_PIECE};
use mpwasm_types::time::Time;

/// The first message that comes so long after another takes it along.
const COMPANY_DELAY: Duration = Duration::from_millis(2);
/// A message waits so long if none comes. It is longer, as every time that the watchdog wakes up it takes the processor from
/// the task, and where messages come one after the other it would find nothing to do.
const ERRAND_DELAY: Duration = RECHECK_INTERVAL;
/// When the kernel does not take everything, the watchdog tries again so much later.
const RETRY_DELAY: Duration = Duration::from_millis(1);
/// At this size a batch of endings is sent.
const BATCH: usize = 64 << 10;

/// The language of a process: how it says what a guest printed and logged.
pub trait Voice: Send + Sync {
    /// A piece of what the guest printed.
    fn output(frames: &mut SendBuffer, stream: Stream, bytes: &[u8]);
    /// A line that the guest logged.
    fn log(frames: &mut SendBuffer, level: LogLevel, text: &str);
}

/// See the module.
#[derive(Debug)]
pub struct Outbox<V> {
    voice: PhantomData<V>,
    /// Wakes the watchdog for an unfinished line: the guest may be silent from now on.
    watchdog: Arc<WatchdogHandle>,
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
    /// When the watchdog shall send what waits.
    due: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    frames: SendBuffer,
    /// When the first of `frames` came; without meaning while there is none.
    since: Time,
    /// The unfinished lines of stdout and stderr.
    lines: [Vec<u8>; 2],
}

impl Waiting {
    fn print<V: Voice>(&mut self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(OUTPUT_PIECE) {
            V::output(&mut self.frames, stream, bytes);
        }
    }

    /// Turns unfinished lines into messages.
    fn finish_lines<V: Voice>(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.lines[stream as usize]);
            self.print::<V>(stream, &line);
        }
    }
}

impl<V: Voice> Outbox<V> {
    /// An outbox that sends through `socket`, and whose errands the watchdog runs.
    pub fn new(socket: OwnedFd, watchdog: Arc<WatchdogHandle>) -> Self {
        Self {
            voice: PhantomData,
            watchdog,
            socket,
            waiting: Mutex::new(Waiting {
                frames: SendBuffer::default(),
                since: Time(0),
                lines: Default::default(),
            }),
            due: AtomicU64::new(Time::NEVER.0),
        }
    }

    /// Adds a message, behind everything that was printed before; `now` is the time, which whoever has something to say
    /// has mostly just looked at.
    pub fn put<M: Serialize>(&self, message: &M, now: Time) {
        let mut waiting = self.lock();
        if waiting.frames.is_empty() {
            waiting.since = now;
        }
        waiting.finish_lines::<V>();
        waiting.frames.put(message);
        if waiting.frames.len() >= BATCH || now.since(waiting.since) >= COMPANY_DELAY {
            self.send(&mut waiting);
        } else {
            self.schedule(now + ERRAND_DELAY);
        }
    }

    /// As [`put`](Self::put), but for a message that ends with a payload, empty so far, that is worth calls of its own: it
    /// is sent at once, from where it is.
    pub fn send_payload<M: Serialize>(&self, message: &M, payload: &[u8]) {
        let mut waiting = self.lock();
        waiting.finish_lines::<V>();
        let sent = waiting.frames.send_payload(self.socket.as_fd(), message, payload);
        self.has_sent(&waiting, sent);
    }

    /// Sends all that waits, and waits for the kernel to take it.
    pub fn flush(&self) {
        if self.due() != Time::NEVER {
            self.send(&mut self.lock());
        }
    }

    /// When what waits is due.
    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::Relaxed))
    }

    /// For the watchdog: sends what the kernel takes now.
    pub fn flush_due(&self) {
        let Ok(mut waiting) = self.waiting.try_lock() else {
            // The task thread is at it. If it stays at it, because the starter does not read, there is nothing
            // to be done here either.
            self.due.store((clock::now() + RETRY_DELAY).0, Ordering::Relaxed);
            return;
        };
        waiting.finish_lines::<V>();
        if waiting.frames.flush(self.socket.as_fd()).is_err() {
            exit_now(0);
        }
        let due = if waiting.frames.is_empty() {
            Time::NEVER
        } else {
            clock::now() + RETRY_DELAY
        };
        self.due.store(due.0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits is due then, if it is not due before.
    fn schedule(&self, at: Time) {
        if at < self.due() {
            self.due.store(at.0, Ordering::Relaxed);
        }
    }

    fn send(&self, waiting: &mut Waiting) {
        let sent = waiting.frames.send_all(self.socket.as_fd());
        self.has_sent(waiting, sent);
    }

    /// Nothing waits any more, but for what is in unfinished lines.
    fn has_sent(&self, waiting: &Waiting, sent: io::Result<()>) {
        if sent.is_err() {
            // The starter is gone: nobody will ever want to know.
            exit_now(0);
        }
        let rest = waiting.lines.iter().any(|line| !line.is_empty());
        let due = if rest {
            clock::now() + OUTPUT_FLUSH_DELAY
        } else {
            Time::NEVER
        };
        self.due.store(due.0, Ordering::Relaxed);
    }
}

impl<V: Voice> OutputSink for Outbox<V> {
    /// Whole lines are sent at once: what was printed before a kill is not lost.
    fn print(&self, stream: Stream, bytes: &[u8]) {
        let mut waiting = self.lock();
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let (now, later) = bytes.split_at(whole);
        if !now.is_empty() {
            let line = std::mem::take(&mut waiting.lines[stream as usize]);
            waiting.print::<V>(stream, &line);
            waiting.print::<V>(stream, now);
        }
        waiting.lines[stream as usize].extend_from_slice(later);
        if waiting.lines[stream as usize].len() >= OUTPUT_FLUSH_SIZE {
            let line = std::mem::take(&mut waiting.lines[stream as usize]);
            waiting.print::<V>(stream, &line);
        }
        if waiting.frames.is_empty() {
            self.schedule(clock::now() + OUTPUT_FLUSH_DELAY);
        } else {
            self.send(&mut waiting);
        }
        // For what is left: no other message need come for as long as the task runs.
        self.watchdog.wake_by(self.due());
    }

    fn log(&self, level: LogLevel, text: &str) {
        let mut waiting = self.lock();
        waiting.finish_lines::<V>();
        V::log(&mut waiting.frames, level, text);
        self.send(&mut waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Worker;
    use mpwasm_protocol::channel::{Channel, Filled, pair};
    use mpwasm_protocol::messages::FromWorker;

    fn outbox() -> (Outbox<Worker>, Channel) {
        let (ours, theirs) = pair().unwrap();
        (
            Outbox::new(ours, Arc::new(WatchdogHandle::new(Arc::default()).unwrap())),
            Channel::new(theirs, 1 << 20),
        )
    }

    fn received(channel: &mut Channel) -> Vec<String> {
        while channel.fill().unwrap() == Filled::Some {}
        let mut seen = Vec::new();
        while let Some(frame) = channel.inbox().next_message().unwrap() {
            seen.push(match mpwasm_protocol::frame::decode(frame).unwrap() {
                FromWorker::Output { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
                other => format!("{other:?}"),
            });
        }
        seen
    }

    #[test]
    fn a_whole_line_is_sent_at_once_and_the_rest_waits() {
        let (outbox, mut dispatcher) = outbox();
        outbox.print(Stream::Stdout, b"one\ntwo\nthr");
        assert_eq!(received(&mut dispatcher), ["one\ntwo\n"]);
        assert!(outbox.due() <= clock::now() + OUTPUT_FLUSH_DELAY);
        outbox.print(Stream::Stdout, b"ee\n");
        assert_eq!(received(&mut dispatcher), ["thr", "ee\n"]);
        assert_eq!(outbox.due(), Time::NEVER);
    }

    #[test]
    fn a_long_line_does_not_wait_for_its_end() {
        let (outbox, mut dispatcher) = outbox();
        outbox.print(Stream::Stderr, &[b'x'; OUTPUT_FLUSH_SIZE]);
        assert_eq!(received(&mut dispatcher), ["x".repeat(OUTPUT_FLUSH_SIZE)]);
    }

    #[test]
    fn the_watchdog_sends_a_line_without_end() {
        let (outbox, mut dispatcher) = outbox();
        outbox.print(Stream::Stdout, b"prompt> ");
        assert_eq!(received(&mut dispatcher), [""; 0]);
        outbox.flush_due();
        assert_eq!(received(&mut dispatcher), ["prompt> "]);
        assert_eq!(outbox.due(), Time::NEVER);
    }

    #[test]
    fn endings_wait_for_company_but_not_for_long() {
        let (outbox, mut dispatcher) = outbox();
        outbox.print(Stream::Stdout, b"half");
        outbox.put(&FromWorker::Ready, clock::now());
        assert_eq!(received(&mut dispatcher), [""; 0]);
        assert!(outbox.due() <= clock::now() + OUTPUT_FLUSH_DELAY);
        outbox.flush();
        assert_eq!(received(&mut dispatcher), ["half", "Ready"]);
    }

    #[test]
    fn a_message_that_has_waited_goes_with_the_next_one() {
        let (outbox, mut dispatcher) = outbox();
        let now = clock::now();
        outbox.put(&FromWorker::Ready, now);
        outbox.put(&FromWorker::Ready, now + COMPANY_DELAY / 2);
        assert_eq!(received(&mut dispatcher), [""; 0]);
        assert_eq!(outbox.due(), now + ERRAND_DELAY, "should no other come");
        outbox.put(&FromWorker::Ready, now + COMPANY_DELAY);
        assert_eq!(received(&mut dispatcher), ["Ready"; 3]);
        assert_eq!(outbox.due(), Time::NEVER);
    }

    #[test]
    fn the_watchdog_never_waits_for_a_dispatcher_that_does_not_read() {
        let (outbox, mut dispatcher) = outbox();
        let bytes = vec![b'x'; 30_000];
        for _ in 0..100 {
            let mut waiting = outbox.lock();
            waiting.print::<Worker>(Stream::Stdout, &bytes);
        }
        outbox.schedule(clock::now() + ERRAND_DELAY);
        outbox.flush_due();
        assert_ne!(outbox.due(), Time::NEVER, "not all of it fits");
        let mut total = 0;
        while total < 3_000_000 {
            total += received(&mut dispatcher).iter().map(String::len).sum::<usize>();
            outbox.flush_due();
        }
        assert_eq!(total, 3_000_000);
    }
}
