//! Reads the dispatcher's socket, and reaps the dispatcher.
//!
//! The dispatcher is less trusted than this process. The form of each message is checked here. The pool checks whether it can
//! have happened.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};

use crate::backend::local::KillSwitch;
use crate::backend::{BackendDied, BackendEvent, EventError, EventSink, EventSource};
use mpwasm_protocol::call_result;
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::{FrameError, decode};
use mpwasm_protocol::messages::FromDispatcher;
use mpwasm_sandbox::child::Process;
use mpwasm_sandbox::jail::MemoryCgroup;
use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use mpwasm_types::exit_status::describe_exit;
use mpwasm_types::time::Time;

/// Longest time that a dispatcher may take to exit after its last message.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that workers may take to exit after their dispatcher.
const WORKERS_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The dispatcher process and the channel to it.
#[derive(Debug)]
pub struct Dispatcher {
    process: Process,
    channel: Channel,
    kill_switch: Arc<KillSwitch>,
    memory: Option<Arc<MemoryCgroup>>,
    /// Closed when the last of the pool's processes has exited.
    gone: mpsc::Receiver<()>,
    /// Whether its last message was received.
    is_finished: bool,
    /// Why nothing more can be received from it.
    broken: Option<EventReceiveError>,
}

/// Why nothing more can be received from a dispatcher.
#[derive(Debug, thiserror::Error)]
enum EventReceiveError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Dispatcher {
    pub(super) fn new(
        process: Process,
        channel: Channel,
        kill_switch: Arc<KillSwitch>,
        memory: Option<Arc<MemoryCgroup>>,
        gone: mpsc::Receiver<()>,
    ) -> Self {
        Self {
            process,
            channel,
            kill_switch,
            memory,
            gone,
            is_finished: false,
            broken: None,
        }
    }

    /// Passes on messages until the last one, or until the socket is closed.
    fn pass_on(&mut self, sink: &mut impl EventSink) -> Result<(), EventReceiveError> {
        loop {
            while let Some(frame) = self.channel.inbox().next_message()? {
                match event(decode(frame)?) {
                    Some(event) => sink.event(event)?,
                    None => self.is_finished = true,
                }
            }
            if self.is_finished {
                return Ok(());
            }
            sink.batch_ended();
            if self.wait()? == Filled::Closed {
                return Ok(());
            }
        }
    }

    /// Waits for messages. Kills a dispatcher that was told to terminate and has missed its deadline.
    fn wait(&mut self) -> io::Result<Filled> {
        let kill_at = self.kill_switch.at();
        if clock::now() >= kill_at {
            self.process.kill();
            return Ok(Filled::Closed);
        }
        let mut fds =
            [self.channel.as_fd(), self.kill_switch.set.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // The event stays readable once it was set: from then on only the deadline matters.
        let watched = if kill_at == Time::NEVER {
            &mut fds[..]
        } else {
            &mut fds[..1]
        };
        poll_until(watched, kill_at)?;
        if watched[0].any() == Some(true) {
            return self.channel.fill();
        }
        Ok(Filled::Nothing)
    }

    /// Reaps the dispatcher. If it sent its last message, it exits by itself.
    fn reap(&mut self) -> String {
        let status = if self.is_finished {
            self.process.wait_until(clock::now() + EXIT_TIMEOUT)
        } else {
            None
        };
        // A dispatcher that closed its socket is exiting: wait briefly for its status.
        let status = status.or_else(|| self.process.wait_until(clock::now() + Duration::from_millis(500)));
        let status = status.or_else(|| self.process.kill_and_reap(Duration::from_secs(1)));
        let end = status.map_or_else(|| "it did not end after SIGKILL".to_owned(), describe_exit);
        tracing::debug!(pid = self.process.pid(), "dispatcher reaped: {end}");
        end
    }
}

impl EventSource for Dispatcher {
    fn receive(&mut self, sink: &mut impl EventSink) {
        self.broken = self.pass_on(sink).err();
    }

    fn end(mut self) -> Result<(), BackendDied> {
        let end = self.reap();
        let Self {
            process,
            channel,
            kill_switch,
            memory,
            gone,
            is_finished,
            broken,
        } = self;
        drop((process, channel));
        // Workers that lost their dispatcher exit by themselves.
        let _ = gone.recv_timeout(WORKERS_EXIT_TIMEOUT);
        if let Some(memory) = memory {
            memory.remove();
        }
        // A dispatcher that was killed for missing the deadline of a termination did not crash.
        if is_finished || kill_switch.at() != Time::NEVER {
            return Ok(());
        }
        Err(BackendDied {
            why: match broken {
                Some(why) => format!("{why} ({end})"),
                None => end,
            },
        })
    }
}

/// Returns what a message reports; `None` for the last one.
#[inline]
fn event(message: FromDispatcher<'_>) -> Option<BackendEvent<'_>> {
    Some(match message {
        FromDispatcher::AttemptFailed { id, attempt } => BackendEvent::AttemptFailed { id, attempt },
        FromDispatcher::Outcome {
            id,
            ran,
            callback,
            ending,
        } => BackendEvent::Ended {
            id,
            result: call_result::check(ending),
            ran,
            callback,
        },
        FromDispatcher::Output { source, at, output } => BackendEvent::Output { source, at, output },
        FromDispatcher::OutputEnd { source } => BackendEvent::OutputEnded { source },
        FromDispatcher::Final { guest, model, ending } => BackendEvent::Final {
            guest,
            model,
            result: call_result::check(ending),
        },
        FromDispatcher::Loaded => BackendEvent::Loaded,
        FromDispatcher::Warning(text) => BackendEvent::Warning(text),
        FromDispatcher::Event(event) => BackendEvent::Worker(event),
        FromDispatcher::Failed(why) => BackendEvent::Failed(why),
        FromDispatcher::Finished => return None,
    })
}
