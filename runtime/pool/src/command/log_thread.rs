//! Sends a child's log lines and mpwasm's warnings about it to `tracing`, on a thread of their own.
//!
//! A subscriber may block, which must not delay the end of the child. Waiting lines are bounded by [`MAX_UNREAD_LOG`], as a
//! compromised dispatcher may send warnings without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::report::event::{LogLine, Source};
use mpwasm_types::escape::escape;
use mpwasm_types::ids::WorkerNumber;
use mpwasm_types::outcome::LogLevel;
use mpwasm_types::output::{MAX_UNREAD_LOG, UNREAD_OUTPUT_TIMEOUT};

/// Sends messages to the log thread, which is started with the first one.
#[derive(Debug, Default)]
pub struct LogThread(Option<RunningLogThread>);

/// A message for the log thread.
#[derive(Debug)]
enum LogMessage {
    /// A line that the command logged.
    Line(OwnedLogLine),
    /// A warning of mpwasm.
    Warning(String),
}

impl LogMessage {
    /// Returns the number of bytes that the message takes while it waits.
    fn cost(&self) -> usize {
        let (Self::Line(OwnedLogLine { text, .. }) | Self::Warning(text)) = self;
        text.len() + size_of::<Self>()
    }
}

#[derive(Debug)]
struct RunningLogThread {
    messages: Sender<LogMessage>,
    /// Size of the messages that wait for the thread, bytes.
    waiting: Arc<AtomicUsize>,
    /// Closed when all messages were logged.
    done: Receiver<()>,
}

#[derive(Debug)]
struct OwnedLogLine {
    source: Source,
    level: LogLevel,
    text: String,
    worker: Option<WorkerNumber>,
    attempt: Option<u32>,
}

impl OwnedLogLine {
    fn trace(&self) {
        LogLine {
            source: self.source,
            level: self.level,
            text: &self.text,
            worker: self.worker,
            attempt: self.attempt,
        }
        .trace();
    }
}

impl LogThread {
    /// Queues a line.
    pub fn log(&mut self, line: &LogLine<'_>) {
        self.send(LogMessage::Line(OwnedLogLine {
            source: line.source,
            level: line.level,
            text: line.text.to_owned(),
            worker: line.worker,
            attempt: line.attempt,
        }));
    }

    /// Queues a warning.
    pub fn warn(&mut self, text: &str) {
        self.send(LogMessage::Warning(text.to_owned()));
    }

    fn send(&mut self, message: LogMessage) {
        if self.0.is_none() {
            self.0 = start();
        }
        let Some(thread) = &self.0 else { return };
        let cost = message.cost();
        if thread.waiting.load(Ordering::Relaxed) + cost > MAX_UNREAD_LOG {
            return;
        }
        thread.waiting.fetch_add(cost, Ordering::Relaxed);
        // The thread runs until `finish` drops the sender.
        let _ = thread.messages.send(message);
    }

    /// Waits until all messages were logged, at most for [`UNREAD_OUTPUT_TIMEOUT`].
    pub fn finish(&mut self) {
        if let Some(RunningLogThread { messages, done, .. }) = self.0.take() {
            drop(messages);
            let _ = done.recv_timeout(UNREAD_OUTPUT_TIMEOUT);
        }
    }
}

fn start() -> Option<RunningLogThread> {
    let (messages, received) = mpsc::channel::<LogMessage>();
    let (closed_at_end, done) = mpsc::channel();
    let waiting = Arc::<AtomicUsize>::default();
    let waiting_here = Arc::clone(&waiting);
    let work = move || {
        let _closed_at_end = closed_at_end;
        for message in received {
            let cost = message.cost();
            match message {
                LogMessage::Line(line) => line.trace(),
                LogMessage::Warning(text) => tracing::warn!("{}", escape(&text)),
            }
            waiting_here.fetch_sub(cost, Ordering::Relaxed);
        }
    };
    let started = thread::Builder::new().name("mpwasm-log".to_owned()).spawn(work);
    started.ok().map(|_| RunningLogThread {
        messages,
        waiting,
        done,
    })
}
