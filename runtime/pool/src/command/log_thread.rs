//! What a child logs, and what mpwasm has to say about it, on its way to `tracing`.
//!
//! A subscriber may be slow, or write to what nobody reads; neither may keep the child from its end, or its owner from
//! seeing that. So a thread of its own hands the lines on. Those that wait are bounded by [`MAX_UNREAD_LOG`]: a dispatcher
//! that was taken over may warn without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::report::LogLine;
use crate::report::Source;
use mpwasm_types::escape::escape;
use mpwasm_types::outcome::LogLevel;
use mpwasm_types::settings::{MAX_UNREAD_LOG, UNREAD_OUTPUT_TIMEOUT};

/// See the module. The thread is started with the first line.
#[derive(Debug, Default)]
pub struct LogThread(Option<RunningLogThread>);

/// What is handed on.
#[derive(Debug)]
enum LogMessage {
    /// The command logged it.
    Line(OwnedLogLine),
    /// mpwasm warns of it.
    Warning(String),
}

impl LogMessage {
    /// What it takes while it waits.
    fn cost(&self) -> usize {
        let (Self::Line(OwnedLogLine { text, .. }) | Self::Warning(text)) = self;
        text.len() + size_of::<Self>()
    }
}

#[derive(Debug)]
struct RunningLogThread {
    messages: Sender<LogMessage>,
    /// Bytes that wait for the thread.
    waiting: Arc<AtomicUsize>,
    /// Closed when all lines were handed on.
    done: Receiver<()>,
}

#[derive(Debug)]
struct OwnedLogLine {
    source: Source,
    level: LogLevel,
    text: String,
    worker: Option<u32>,
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
    /// Hands on a line, some time.
    pub fn log(&mut self, line: &LogLine<'_>) {
        self.send(LogMessage::Line(OwnedLogLine {
            source: line.source,
            level: line.level,
            text: line.text.to_owned(),
            worker: line.worker,
            attempt: line.attempt,
        }));
    }

    /// Warns, some time.
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
        // It can't have ended: its end is ours to bring about.
        let _ = thread.messages.send(message);
    }

    /// No more lines come. Waits until all were handed on, but not for long.
    pub fn finish(&mut self) {
        if let Some(RunningLogThread { messages, done, .. }) = self.0.take() {
            drop(messages);
            let _ = done.recv_timeout(UNREAD_OUTPUT_TIMEOUT);
        }
    }
}

fn start() -> Option<RunningLogThread> {
    let (messages, received) = mpsc::channel::<LogMessage>();
    let (doing, done) = mpsc::channel();
    let waiting = Arc::<AtomicUsize>::default();
    let untaken = Arc::clone(&waiting);
    let work = move || {
        let _until_the_last = doing;
        for message in received {
            let cost = message.cost();
            match message {
                LogMessage::Line(line) => line.trace(),
                LogMessage::Warning(text) => tracing::warn!("{}", escape(&text)),
            }
            untaken.fetch_sub(cost, Ordering::Relaxed);
        }
    };
    let started = thread::Builder::new().name("mpwasm-log".to_owned()).spawn(work);
    started.ok().map(|_| RunningLogThread {
        messages,
        waiting,
        done,
    })
}
