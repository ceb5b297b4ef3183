//! What a process that runs guests has to say to its starter: endings, pushes and prints, in one order, from two
//! threads.
//!
//! Many small messages travel in one write while more tasks are at hand: for some milliseconds, after which the next one
//! takes them along. But none waits for the next task to end: what has waited some milliseconds is sent by the watchdog.
//! The same errand carries prints that have no newline yet. The watchdog never waits, neither for the socket nor for the
//! lock. What the messages look like is for the [`MessageEncoder`] to say.

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

/// Longest time the first message of a batch waits for others: the next message after that sends the batch.
const MAX_BATCH_AGE: Duration = Duration::from_millis(2);
/// A message waits so long if none comes. It is longer, as every time that the watchdog wakes up it takes the processor from
/// the task, and where messages come one after the other it would find nothing to do.
const WATCHDOG_FLUSH_DELAY: Duration = RECHECK_INTERVAL;
/// Time until the watchdog tries again, after the socket did not take everything.
const RETRY_DELAY: Duration = Duration::from_millis(1);
/// Size at which a batch is sent at once, bytes.
const MAX_BATCH_SIZE: usize = 64 << 10;

/// Encodes output and log lines of a guest as messages of a process.
pub trait MessageEncoder: Send + Sync {
    /// A piece of what the guest printed.
    fn output(frames: &mut SendBuffer, stream: Stream, bytes: &[u8]);
    /// A line that the guest logged.
    fn log(frames: &mut SendBuffer, level: LogLevel, text: &str);
}

/// Batches messages from a process that runs guests to its parent.
#[derive(Debug)]
pub struct MessageBatch<E> {
    encoder: PhantomData<E>,
    /// Wakes the watchdog for an unfinished line: the guest may be silent from now on.
    watchdog: Arc<WatchdogHandle>,
    socket: OwnedFd,
    pending: Mutex<Pending>,
    /// When the watchdog sends the pending messages.
    due: AtomicU64,
}

#[derive(Debug)]
struct Pending {
    frames: SendBuffer,
    /// When the first of `frames` came; without meaning while there is none.
    since: Time,
    /// The unfinished lines of stdout and stderr.
    lines: [Vec<u8>; 2],
}

impl Pending {
    fn print<E: MessageEncoder>(&mut self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(OUTPUT_PIECE) {
            E::output(&mut self.frames, stream, bytes);
        }
    }

    /// Turns unfinished lines into messages.
    fn finish_lines<E: MessageEncoder>(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.lines[stream as usize]);
            self.print::<E>(stream, &line);
        }
    }
}

impl<E: MessageEncoder> MessageBatch<E> {
    /// A batch that sends through `socket`, and whose errands the watchdog runs.
    pub fn new(socket: OwnedFd, watchdog: Arc<WatchdogHandle>) -> Self {
        Self {
            encoder: PhantomData,
            watchdog,
            socket,
            pending: Mutex::new(Pending {
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
        let mut pending = self.lock();
        if pending.frames.is_empty() {
            pending.since = now;
        }
        pending.finish_lines::<E>();
        pending.frames.put(message);
        if pending.frames.len() >= MAX_BATCH_SIZE || now.since(pending.since) >= MAX_BATCH_AGE {
            self.send(&mut pending);
        } else {
            self.schedule(now + WATCHDOG_FLUSH_DELAY);
        }
    }

    /// As [`put`](Self::put), but for a message that ends with a payload, empty so far, that is worth calls of its own: it
    /// is sent at once, from where it is.
    pub fn send_payload<M: Serialize>(&self, message: &M, payload: &[u8]) {
        let mut pending = self.lock();
        pending.finish_lines::<E>();
        let sent = pending.frames.send_payload(self.socket.as_fd(), message, payload);
        self.after_send(&pending, sent);
    }

    /// Sends all pending messages, and waits until the socket has taken them.
    pub fn flush(&self) {
        if self.due() != Time::NEVER {
            self.send(&mut self.lock());
        }
    }

    /// Returns when the pending messages are due.
    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::Relaxed))
    }

    /// Sends what the socket takes without waiting. The watchdog calls it.
    pub fn flush_due(&self) {
        let Ok(mut pending) = self.pending.try_lock() else {
            // The task thread is at it. If it stays at it, because the starter does not read, there is nothing
            // to be done here either.
            self.due.store((clock::now() + RETRY_DELAY).0, Ordering::Relaxed);
            return;
        };
        pending.finish_lines::<E>();
        if pending.frames.flush(self.socket.as_fd()).is_err() {
            exit_now(0);
        }
        let due = if pending.frames.is_empty() {
            Time::NEVER
        } else {
            clock::now() + RETRY_DELAY
        };
        self.due.store(due.0, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits is due then, if it is not due before.
    fn schedule(&self, at: Time) {
        if at < self.due() {
            self.due.store(at.0, Ordering::Relaxed);
        }
    }

    fn send(&self, pending: &mut Pending) {
        let sent = pending.frames.send_all(self.socket.as_fd());
        self.after_send(pending, sent);
    }

    /// Nothing waits any more, but for what is in unfinished lines.
    fn after_send(&self, pending: &Pending, sent: io::Result<()>) {
        if sent.is_err() {
            // The parent has ended.
            exit_now(0);
        }
        let rest = pending.lines.iter().any(|line| !line.is_empty());
        let due = if rest {
            clock::now() + OUTPUT_FLUSH_DELAY
        } else {
            Time::NEVER
        };
        self.due.store(due.0, Ordering::Relaxed);
    }
}

impl<E: MessageEncoder> OutputSink for MessageBatch<E> {
    /// Whole lines are sent at once: what was printed before a kill is not lost.
    fn print(&self, stream: Stream, bytes: &[u8]) {
        let mut pending = self.lock();
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let (now, later) = bytes.split_at(whole);
        if !now.is_empty() {
            let line = std::mem::take(&mut pending.lines[stream as usize]);
            pending.print::<E>(stream, &line);
            pending.print::<E>(stream, now);
        }
        pending.lines[stream as usize].extend_from_slice(later);
        if pending.lines[stream as usize].len() >= OUTPUT_FLUSH_SIZE {
            let line = std::mem::take(&mut pending.lines[stream as usize]);
            pending.print::<E>(stream, &line);
        }
        if pending.frames.is_empty() {
            self.schedule(clock::now() + OUTPUT_FLUSH_DELAY);
        } else {
            self.send(&mut pending);
        }
        // For what is left: no other message need come for as long as the task runs.
        self.watchdog.wake_by(self.due());
    }

    fn log(&self, level: LogLevel, text: &str) {
        let mut pending = self.lock();
        pending.finish_lines::<E>();
        E::log(&mut pending.frames, level, text);
        self.send(&mut pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::WorkerEncoder;
    use mpwasm_protocol::channel::{Channel, Filled, pair};
    use mpwasm_protocol::messages::FromWorker;

    fn batch() -> (MessageBatch<WorkerEncoder>, Channel) {
        let (ours, theirs) = pair().unwrap();
        (
            MessageBatch::new(ours, Arc::new(WatchdogHandle::new(Arc::default()).unwrap())),
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
        let (batch, mut dispatcher) = batch();
        batch.print(Stream::Stdout, b"one\ntwo\nthr");
        assert_eq!(received(&mut dispatcher), ["one\ntwo\n"]);
        assert!(batch.due() <= clock::now() + OUTPUT_FLUSH_DELAY);
        batch.print(Stream::Stdout, b"ee\n");
        assert_eq!(received(&mut dispatcher), ["thr", "ee\n"]);
        assert_eq!(batch.due(), Time::NEVER);
    }

    #[test]
    fn a_long_line_does_not_wait_for_its_end() {
        let (batch, mut dispatcher) = batch();
        batch.print(Stream::Stderr, &[b'x'; OUTPUT_FLUSH_SIZE]);
        assert_eq!(received(&mut dispatcher), ["x".repeat(OUTPUT_FLUSH_SIZE)]);
    }

    #[test]
    fn the_watchdog_sends_a_line_without_end() {
        let (batch, mut dispatcher) = batch();
        batch.print(Stream::Stdout, b"prompt> ");
        assert_eq!(received(&mut dispatcher), [""; 0]);
        batch.flush_due();
        assert_eq!(received(&mut dispatcher), ["prompt> "]);
        assert_eq!(batch.due(), Time::NEVER);
    }

    #[test]
    fn endings_wait_for_company_but_not_for_long() {
        let (batch, mut dispatcher) = batch();
        batch.print(Stream::Stdout, b"half");
        batch.put(&FromWorker::Ready, clock::now());
        assert_eq!(received(&mut dispatcher), [""; 0]);
        assert!(batch.due() <= clock::now() + OUTPUT_FLUSH_DELAY);
        batch.flush();
        assert_eq!(received(&mut dispatcher), ["half", "Ready"]);
    }

    #[test]
    fn a_message_that_has_waited_goes_with_the_next_one() {
        let (batch, mut dispatcher) = batch();
        let now = clock::now();
        batch.put(&FromWorker::Ready, now);
        batch.put(&FromWorker::Ready, now + MAX_BATCH_AGE / 2);
        assert_eq!(received(&mut dispatcher), [""; 0]);
        assert_eq!(batch.due(), now + WATCHDOG_FLUSH_DELAY, "should no other come");
        batch.put(&FromWorker::Ready, now + MAX_BATCH_AGE);
        assert_eq!(received(&mut dispatcher), ["Ready"; 3]);
        assert_eq!(batch.due(), Time::NEVER);
    }

    #[test]
    fn the_watchdog_never_waits_for_a_dispatcher_that_does_not_read() {
        let (batch, mut dispatcher) = batch();
        let bytes = vec![b'x'; 30_000];
        for _ in 0..100 {
            let mut pending = batch.lock();
            pending.print::<WorkerEncoder>(Stream::Stdout, &bytes);
        }
        batch.schedule(clock::now() + WATCHDOG_FLUSH_DELAY);
        batch.flush_due();
        assert_ne!(batch.due(), Time::NEVER, "not all of it fits");
        let mut total = 0;
        while total < 3_000_000 {
            total += received(&mut dispatcher).iter().map(String::len).sum::<usize>();
            batch.flush_due();
        }
        assert_eq!(total, 3_000_000);
    }
}
