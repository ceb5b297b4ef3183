//! Requests and their replies, over a connection of their own.
//!
//! Messages that stream in one direction may wait: outcomes wait for a slow reporter, output for a slow terminal. A reply
//! must not wait behind them, so it does not share their socket. The [`Requester`] sends one request at a time and waits
//! for its reply until a deadline. The [`Responder`] belongs to an event loop and never waits.
//!
//! Neither end can make the other allocate memory without a bound. The frames of a connection are bounded by its
//! [`RequestLimits`]. At most one unsent request is kept. While the unsent replies are as large as the largest reply may be, no
//! request is read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use mpwasm_types::ids::RequestId;
use mpwasm_types::time::Time;
use nix::poll::{PollFd, PollFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::channel::{Channel, Filled};
use super::frame::{FrameError, decode, decode_prefix};
use super::send_buffer::SendBuffer;

/// Asks the process at the other end of a connection for a [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<B> {
    /// Its number on this connection.
    pub id: RequestId,
    /// What is asked.
    pub body: B,
}

/// Answers a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<B> {
    /// The number of the request. Always the first field: of a late reply, only the number is decoded.
    pub id: RequestId,
    /// The answer.
    pub body: B,
}

/// The largest frames of a connection.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Largest request, bytes.
    pub request: usize,
    /// Largest reply, bytes. Also the high-water mark of unsent replies.
    pub reply: usize,
}

/// Reports why a request has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The other process has closed its end or ended.
    #[error("the other end was closed")]
    Closed,
    /// The reply has not arrived before the deadline.
    #[error("no reply came in time")]
    Late,
    /// The other process has sent an invalid frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other process has sent a reply to a request that was never sent.
    #[error("a reply to request {0}, which was never sent")]
    Unasked(RequestId),
    /// A system call has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The end of a connection that sends requests.
#[derive(Debug)]
pub struct Requester {
    channel: Channel,
    /// The last request, as far as it was not sent.
    outgoing: SendBuffer,
    next: RequestId,
}

impl Requester {
    /// Creates the end that sends requests through `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd, limits: RequestLimits) -> Self {
        Self {
            channel: Channel::new(socket, limits.reply),
            outgoing: SendBuffer::default(),
            next: RequestId(0),
        }
    }

    /// Sends a request and waits for its reply, at most until `deadline`. A late reply to an earlier request is dropped.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn ask<B: Serialize, R: DeserializeOwned>(
        &mut self,
        body: B,
        deadline: Time,
    ) -> Result<R, RequestError> {
        // The rest of an earlier request, whose deadline passed before the socket had taken all of it.
        while !self.outgoing.is_empty() {
            self.exchange(deadline)?;
        }
        let id = self.next;
        self.next = RequestId(id.0 + 1);
        self.outgoing.put(&Request { id, body });
        loop {
            if let Some(reply) = self.received(id)? {
                return Ok(reply);
            }
            self.exchange(deadline)?;
        }
    }

    /// Returns the reply to this request, if it has arrived.
    fn received<R: DeserializeOwned>(&mut self, id: RequestId) -> Result<Option<R>, RequestError> {
        while let Some(frame) = self.channel.inbox().next_message()? {
            let replied: RequestId = decode_prefix(frame)?;
            if replied == id {
                let reply: Reply<R> = decode(frame)?;
                return Ok(Some(reply.body));
            }
            if replied > id {
                return Err(RequestError::Unasked(replied));
            }
        }
        Ok(None)
    }

    /// Sends what the socket takes, and waits for bytes in either direction.
    fn exchange(&mut self, deadline: Time) -> Result<(), RequestError> {
        // A closed end is noticed below.
        let _ = self.outgoing.flush(self.channel.as_fd());
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
        let mut fds = [PollFd::new(self.channel.as_fd(), interest)];
        poll_until(&mut fds, deadline)?;
        let is_ready = fds[0].any() == Some(true);
        match self.channel.fill()? {
            Filled::Closed => Err(RequestError::Closed),
            // A reply that arrived while this process was not running counts, although the deadline has passed.
            Filled::Nothing if !is_ready && clock::now() >= deadline => Err(RequestError::Late),
            Filled::Some | Filled::Nothing => Ok(()),
        }
    }
}

/// The end of a connection that answers requests. Part of an event loop, which waits for its descriptor ([`AsFd`]).
#[derive(Debug)]
pub struct Responder {
    channel: Channel,
    outgoing: SendBuffer,
    limits: RequestLimits,
}

impl Responder {
    /// Creates the end that answers the requests that arrive through `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd, limits: RequestLimits) -> Self {
        Self {
            channel: Channel::new(socket, limits.request),
            outgoing: SendBuffer::default(),
            limits,
        }
    }

    /// Returns whether requests are read: not while too many bytes of replies are unsent.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.outgoing.len() < self.limits.reply
    }

    /// Returns whether replies wait until the socket takes them.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Reads what has arrived, without waiting.
    ///
    /// # Errors
    /// As [`Channel::fill`].
    pub fn fill(&mut self) -> io::Result<Filled> {
        self.channel.fill()
    }

    /// Returns the next request that has arrived, and `None` while none are read.
    ///
    /// # Errors
    /// When the other process has sent an invalid frame.
    pub fn next_request<B: DeserializeOwned>(&mut self) -> Result<Option<Request<B>>, FrameError> {
        if !self.is_reading() {
            return Ok(None);
        }
        self.channel.inbox().next_message()?.map(decode).transpose()
    }

    /// Adds the reply to a request. [`Responder::flush`] sends it.
    pub fn reply<B: Serialize>(&mut self, id: RequestId, body: B) {
        self.outgoing.put(&Reply { id, body });
    }

    /// Sends as many bytes of replies as the socket takes without waiting.
    ///
    /// # Errors
    /// When the other end is closed or broken.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outgoing.flush(self.channel.as_fd())
    }
}

impl AsFd for Responder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::pair;
    use std::time::Duration;

    const LIMITS: RequestLimits = RequestLimits {
        request: 1 << 10,
        reply: 1 << 16,
    };

    fn connection() -> (Requester, Responder) {
        let (ours, theirs) = pair().unwrap();
        (Requester::new(ours, LIMITS), Responder::new(theirs, LIMITS))
    }

    fn soon() -> Time {
        clock::now() + Duration::from_secs(60)
    }

    /// Reads a request for a text, and returns its number and the text.
    fn requested(responder: &mut Responder) -> (RequestId, String) {
        loop {
            if let Some(Request { id, body }) = responder.next_request().unwrap() {
                return (id, body);
            }
            let mut fds = [PollFd::new(responder.as_fd(), PollFlags::POLLIN)];
            poll_until(&mut fds, Time::NEVER).unwrap();
            responder.fill().unwrap();
        }
    }

    #[test]
    fn a_request_gets_its_own_reply_and_not_a_late_one_to_an_earlier_request() {
        let (mut requester, mut responder) = connection();
        assert!(matches!(
            requester.ask::<_, String>("first", clock::now()),
            Err(RequestError::Late)
        ));
        let answers = std::thread::spawn(move || {
            let (first, _) = requested(&mut responder);
            let (second, text) = requested(&mut responder);
            // Of another type than the second request wants.
            responder.reply(first, 7_u8);
            responder.reply(second, format!("to {text}"));
            responder.flush().unwrap();
            responder
        });
        let reply: String = requester.ask("second", soon()).unwrap();
        assert_eq!(reply, "to second");
        drop(answers.join().unwrap());
        assert!(matches!(
            requester.ask::<_, String>("third", soon()),
            Err(RequestError::Closed)
        ));
    }

    #[test]
    fn a_reply_to_no_request_and_one_that_is_too_large_are_errors() {
        let (mut requester, mut responder) = connection();
        responder.reply(RequestId(9), "x");
        responder.flush().unwrap();
        let error = requester.ask::<_, String>("x", soon()).unwrap_err();
        assert!(matches!(error, RequestError::Unasked(RequestId(9))), "{error}");
        let (mut requester, mut responder) = connection();
        responder.reply(RequestId(0), "x".repeat(LIMITS.reply + 1));
        responder.flush().unwrap();
        let error = requester.ask::<_, String>("x", soon()).unwrap_err();
        assert!(
            matches!(error, RequestError::Frame(FrameError::TooLarge { .. })),
            "{error}"
        );
    }

    #[test]
    fn requests_without_a_reader_take_bounded_memory() {
        let (mut requester, _responder) = connection();
        let body = "x".repeat(LIMITS.request / 2);
        for _ in 0..10_000 {
            let error = requester.ask::<_, String>(&body, clock::now()).unwrap_err();
            assert!(matches!(error, RequestError::Late), "{error}");
        }
        assert!(requester.outgoing.len() <= LIMITS.request);
        assert!(requester.next.0 < 5_000, "the socket has taken all");
    }

    #[test]
    fn no_request_is_read_while_too_many_replies_are_unsent() {
        let (mut requester, mut responder) = connection();
        let late = |requester: &mut Requester| requester.ask::<_, String>("x", clock::now()).unwrap_err();
        late(&mut requester);
        late(&mut requester);
        let (id, _) = requested(&mut responder);
        responder.reply(id, "x".repeat(LIMITS.reply));
        assert!(!responder.is_reading() && responder.is_sending());
        assert_eq!(responder.next_request::<String>().unwrap(), None);
        while responder.is_sending() {
            responder.flush().unwrap();
            late(&mut requester);
        }
        assert!(responder.next_request::<String>().unwrap().is_some());
    }
}
