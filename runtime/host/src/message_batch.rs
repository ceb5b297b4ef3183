//! Batches messages from a guest process to its parent: results, pushed tasks, output and log lines.
//!
//! Two threads use a batch, and its messages keep their order. The thread that runs guests adds messages, and sends the batch
//! when it is large or [`MAX_BATCH_AGE`] old. The watchdog flushes a batch to which no further message comes, and an output
//! line that has no newline yet. The watchdog never blocks on the socket or on the lock.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use mpwasm_engine::OutputSink;
use mpwasm_engine::watchdog::{RECHECK_INTERVAL, WatchdogHandle};
use mpwasm_protocol::messages::GuestOutput;
use mpwasm_protocol::messages::OUTPUT_PIECE;
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_system::clock;
use mpwasm_system::process::exit_now;
use mpwasm_types::outcome::{LogLevel, Stream};
use mpwasm_types::time::Time;

/// Longest time for which output waits in the worker for a newline.
const OUTPUT_FLUSH_DELAY: Duration = Duration::from_millis(50);
/// Size at which output without a newline is sent.
const OUTPUT_FLUSH_SIZE: usize = 4 << 10;

/// Longest time the first message of a batch waits for company: 2 ms. The next message after that sends the batch.
const MAX_BATCH_AGE: Duration = Duration::from_millis(2);
/// Longest time a message waits until the watchdog flushes the batch. It is longer than [`MAX_BATCH_AGE`], because each
/// wake-up of the watchdog takes CPU time from the task, and while messages follow one another it finds nothing to flush.
const WATCHDOG_FLUSH_DELAY: Duration = RECHECK_INTERVAL;
/// Time until the watchdog retries a flush for which the socket was full or the lock was held: 1 ms.
const RETRY_DELAY: Duration = Duration::from_millis(1);
/// Longest time for which the watchdog tries to send what is pending before it ends the process: 50 ms. The dispatcher, which reads
/// at once if it has a processor, waits longer than that for the end of the task.
const EXIT_FLUSH_TIME: Duration = Duration::from_millis(50);
/// Size at which a batch is sent immediately: 64 KiB.
const MAX_BATCH_SIZE: usize = 64 << 10;

/// Appends output of the guest to the frames, as a message of this process.
pub type OutputEncoder = fn(&mut SendBuffer, GuestOutput<'_>);

/// A batch of messages from a guest process to its parent.
#[derive(Debug)]
pub struct MessageBatch {
    /// Wakes the watchdog to flush an unfinished line, as the guest may print nothing more.
    watchdog: Arc<WatchdogHandle>,
    socket: OwnedFd,
    pending: Mutex<Pending>,
    /// Time at which the watchdog flushes the batch. [`Time::NEVER`] if nothing is pending.
    due: AtomicU64,
}

/// The messages that were not sent yet.
#[derive(Debug)]
struct Pending {
    frames: SendBuffer,
    encoder: OutputEncoder,
    /// Time of the first message of `frames`. Meaningless while `frames` is empty.
    since: Time,
    /// The unfinished lines of stdout and stderr.
    lines: [Vec<u8>; 2],
}

impl Pending {
    /// Turns output into messages.
    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(OUTPUT_PIECE) {
            self.put_output(GuestOutput::Printed { stream, bytes });
        }
    }

    fn put_output(&mut self, output: GuestOutput<'_>) {
        (self.encoder)(&mut self.frames, output);
    }

    /// Turns unfinished lines into messages.
    fn finish_lines(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(&mut self.lines[stream as usize]);
            self.print(stream, &line);
        }
    }
}

impl MessageBatch {
    /// Creates a batch that is sent through `socket`, and that the thread of `watchdog` flushes when it is due.
    pub fn new(socket: OwnedFd, watchdog: Arc<WatchdogHandle>, encoder: OutputEncoder) -> Self {
        Self {
            watchdog,
            socket,
            pending: Mutex::new(Pending {
                frames: SendBuffer::default(),
                encoder,
                since: Time(0),
                lines: Default::default(),
            }),
            due: AtomicU64::new(Time::NEVER.0),
        }
    }

    /// Adds a message after all output so far. `now` is the current time, which most callers have just read.
    pub fn put<M: Serialize>(&self, message: &M, now: Time) {
        let mut pending = self.lock();
        if pending.frames.is_empty() {
            pending.since = now;
        }
        pending.finish_lines();
        pending.frames.put(message);
        if pending.frames.len() >= MAX_BATCH_SIZE || now.since(pending.since) >= MAX_BATCH_AGE {
            self.send(&mut pending);
        } else {
            self.schedule(now + WATCHDOG_FLUSH_DELAY);
        }
    }

    /// Sends the batch, `message` and `payload`, without a copy of the payload. The message must end with an empty payload,
    /// which this one replaces. Meant for payloads so large that the copy would cost more than a system call.
    pub fn send_payload<M: Serialize>(&self, message: &M, payload: &[u8]) {
        let mut pending = self.lock();
        pending.finish_lines();
        let sent = pending.frames.send_payload(self.socket.as_fd(), message, payload);
        self.after_send(&pending, sent);
    }

    /// Sends all pending messages. Blocks until the socket has taken them.
    pub fn flush(&self) {
        if self.due() != Time::NEVER {
            self.send(&mut self.lock());
        }
    }

    /// Returns the time at which the watchdog must flush the batch.
    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::Relaxed))
    }

    /// Sends as much as the socket takes without blocking. The watchdog calls it.
    pub fn flush_due(&self) {
        let Ok(mut pending) = self.pending.try_lock() else {
            // The task thread is sending. If it blocks because the parent does not read, the watchdog can't send either.
            self.due.store((clock::now() + RETRY_DELAY).0, Ordering::Relaxed);
            return;
        };
        pending.finish_lines();
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

    /// Sends what is pending, for at most [`EXIT_FLUSH_TIME`]. The watchdog calls it before it ends the process.
    pub fn flush_before_exit(&self) {
        let until = clock::now() + EXIT_FLUSH_TIME;
        loop {
            // The lock is held while the task thread sends.
            let is_sent = match self.pending.try_lock() {
                Ok(mut pending) => {
                    pending.finish_lines();
                    pending.frames.flush(self.socket.as_fd()).is_err() || pending.frames.is_empty()
                }
                Err(_) => false,
            };
            if is_sent || clock::now() >= until {
                return;
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the batch due at `at` at the latest.
    fn schedule(&self, at: Time) {
        if at < self.due() {
            self.due.store(at.0, Ordering::Relaxed);
        }
    }

    /// Sends all complete messages.
    fn send(&self, pending: &mut Pending) {
        let sent = pending.frames.send_all(self.socket.as_fd());
        self.after_send(pending, sent);
    }

    /// Updates the due time after a send: only unfinished lines are still pending.
    fn after_send(&self, pending: &Pending, sent: io::Result<()>) {
        if sent.is_err() {
            // The parent has closed the socket.
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

impl OutputSink for MessageBatch {
    /// Sends whole lines immediately, so that they are not lost if the process is killed.
    fn print(&self, stream: Stream, bytes: &[u8]) {
        let mut pending = self.lock();
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let (now, later) = bytes.split_at(whole);
        if !now.is_empty() {
            let line = std::mem::take(&mut pending.lines[stream as usize]);
            pending.print(stream, &line);
            pending.print(stream, now);
        }
        pending.lines[stream as usize].extend_from_slice(later);
        if pending.lines[stream as usize].len() >= OUTPUT_FLUSH_SIZE {
            let line = std::mem::take(&mut pending.lines[stream as usize]);
            pending.print(stream, &line);
        }
        if pending.frames.is_empty() {
            self.schedule(clock::now() + OUTPUT_FLUSH_DELAY);
        } else {
            self.send(&mut pending);
        }
        // For the unfinished line, as the task may send no further message.
        self.watchdog.wake_by(self.due());
    }

    fn log(&self, level: LogLevel, text: &str) {
        let mut pending = self.lock();
        pending.finish_lines();
        pending.put_output(GuestOutput::Logged { level, text });
        self.send(&mut pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_protocol::channel::{Channel, Filled, pair};
    use mpwasm_protocol::messages::FromWorker;

    fn batch() -> (MessageBatch, Channel) {
        let (ours, theirs) = pair().unwrap();
        let watchdog = Arc::new(WatchdogHandle::new(Arc::default()).unwrap());
        let batch = MessageBatch::new(ours, watchdog, |frames, output| {
            frames.put(&FromWorker::Output(output));
        });
        (batch, Channel::new(theirs, 1 << 20))
    }

    fn received(channel: &mut Channel) -> Vec<String> {
        while channel.fill().unwrap() == Filled::Some {}
        let mut seen = Vec::new();
        while let Some(frame) = channel.inbox().next_message().unwrap() {
            seen.push(match mpwasm_protocol::frame::decode(frame).unwrap() {
                FromWorker::Output(GuestOutput::Printed { bytes, .. }) => {
                    String::from_utf8(bytes.to_vec()).unwrap()
                }
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
    fn before_the_process_ends_everything_is_sent_that_the_socket_takes() {
        let (batch, mut dispatcher) = batch();
        batch.print(Stream::Stdout, b"half");
        batch.put(&FromWorker::Ready, clock::now());
        batch.print(Stream::Stderr, b"prompt> ");
        batch.flush_before_exit();
        assert_eq!(received(&mut dispatcher), ["half", "Ready", "prompt> "]);
        // The task thread may be blocked by a full socket, and holds the lock then.
        let _sending = batch.lock();
        batch.flush_before_exit();
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
            pending.print(Stream::Stdout, &bytes);
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
