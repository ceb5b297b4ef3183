//! Requests to the dispatcher, over a connection of their own, and the threads that wait for the replies.
//!
//! The thread that asks reads its reply itself. So a reply waits neither behind outcomes nor for a reporter that blocks.

use std::time::Instant;

use crate::sync::{Condvar, Mutex};
use mpwasm_protocol::request::{RequestError, Requester};
use mpwasm_system::clock;
use mpwasm_types::time::Time;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The connection to the dispatcher. One thread uses it at a time.
#[derive(Debug)]
pub struct Requests {
    /// `None` while a thread waits for its reply.
    requester: Mutex<Option<Requester>>,
    returned: Condvar,
}

impl Requests {
    /// Creates the state of a connection that no thread uses.
    pub fn new(requester: Requester) -> Self {
        Self {
            requester: Mutex::new(Some(requester)),
            returned: Condvar::new(),
        }
    }

    /// Sends a request and waits for the reply, at most until `deadline`. Waits for the requests of other threads first.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn ask<B: Serialize, R: DeserializeOwned>(&self, body: B, deadline: Time) -> Result<R, RequestError> {
        let until = Instant::now().checked_add(deadline.since(clock::now()));
        let mut free = self
            .returned
            .wait_while_until(self.requester.lock(), until, |requester| requester.is_none());
        let mut requester = free.take().ok_or(RequestError::Late)?;
        drop(free);
        let reply = requester.ask(body, deadline);
        *self.requester.lock() = Some(requester);
        self.returned.notify_one();
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use mpwasm_protocol::channel::pair;
    use mpwasm_protocol::messages::STATUS_LIMITS;
    use mpwasm_protocol::request::{Request, Responder};

    use super::*;

    fn connection() -> (Requests, OwnedFd) {
        let (ours, theirs) = pair().unwrap();
        (Requests::new(Requester::new(ours, STATUS_LIMITS)), theirs)
    }

    #[test]
    fn each_of_many_threads_gets_the_reply_to_its_own_request() {
        let (requests, theirs) = connection();
        let mut responder = Responder::new(theirs, STATUS_LIMITS);
        let deadline = clock::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            for number in 0..8_u32 {
                let requests = &requests;
                scope.spawn(move || {
                    let reply: u32 = requests.ask(number, deadline).unwrap();
                    assert_eq!(reply, number + 100);
                });
            }
            let mut answered = 0;
            while answered < 8 {
                responder.fill().unwrap();
                while let Some(Request { id, body }) = responder.next_request::<u32>().unwrap() {
                    responder.reply(id, body + 100);
                    answered += 1;
                }
                responder.flush().unwrap();
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn no_thread_waits_beyond_its_deadline() {
        let (requests, _theirs) = connection();
        let wait = Duration::from_millis(50);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let late = || requests.ask::<_, u32>((), clock::now() + wait).unwrap_err();
                scope.spawn(move || assert!(matches!(late(), RequestError::Late)));
            }
        });
    }
}
