//! Requests for a status to the dispatcher, and the threads that wait for the replies.
//!
//! A reply is sent after the outcomes that were on their way. While these are not taken it does not arrive, so a wait has
//! a timeout.

use std::collections::HashMap;
use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard};

use mpwasm_protocol::messages::StatusReply;
use mpwasm_types::ids::RequestId;
use mpwasm_types::settings::REPLY_TIMEOUT;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum StatusError {
    /// The pool has ended.
    Ended,
    /// No reply has arrived within [`REPLY_TIMEOUT`].
    Late,
}

/// Requests that wait for their replies.
#[derive(Debug, Default)]
pub struct StatusRequests {
    state: Mutex<OpenRequests>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct OpenRequests {
    next: RequestId,
    /// The replies to the requests that a caller waits for: `None` until one arrives.
    open: HashMap<RequestId, Option<StatusReply>>,
    ended: bool,
}

impl StatusRequests {
    fn state(&self) -> MutexGuard<'_, OpenRequests> {
        self.state.lock()
    }

    /// Sends a request and waits for the reply. `tell` sends the request with this number to the dispatcher.
    pub fn ask(&self, tell: impl FnOnce(RequestId)) -> Result<StatusReply, StatusError> {
        let mut state = self.state();
        let request = state.next;
        state.next = RequestId(request.0 + 1);
        state.open.insert(request, None);
        drop(state);
        tell(request);
        let waiting =
            |state: &mut OpenRequests| !state.ended && matches!(state.open.get(&request), Some(None));
        let until = Instant::now().checked_add(REPLY_TIMEOUT);
        let mut state = self.changed.wait_while_until(self.state(), until, waiting);
        match state.open.remove(&request).flatten() {
            Some(answer) => Ok(answer),
            None if state.ended => Err(StatusError::Ended),
            None => Err(StatusError::Late),
        }
    }

    /// Stores a reply and wakes its waiter. A reply without a waiter is dropped.
    pub fn answer(&self, request: RequestId, answer: StatusReply) {
        if let Some(open) = self.state().open.get_mut(&request) {
            *open = Some(answer);
        }
        self.changed.notify_all();
    }

    /// Records that the pool has ended, which ends all waits.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpwasm_types::status::Status;

    fn pool(queued: u64) -> StatusReply {
        StatusReply::Pool(Status {
            queued,
            ..Status::default()
        })
    }

    #[test]
    fn everybody_gets_the_answer_to_their_own_request() {
        let status_requests = StatusRequests::default();
        let answer = status_requests.ask(|first| {
            let second = status_requests.ask(|second| {
                status_requests.answer(first, pool(1));
                status_requests.answer(second, pool(2));
            });
            assert!(matches!(second, Ok(StatusReply::Pool(status)) if status.queued == 2));
        });
        assert!(matches!(answer, Ok(StatusReply::Pool(status)) if status.queued == 1));
    }

    #[test]
    fn nobody_waits_for_what_will_not_come_and_what_comes_too_late_is_dropped() {
        let status_requests = StatusRequests::default();
        assert_eq!(status_requests.ask(|_| {}).unwrap_err(), StatusError::Late);
        status_requests.answer(RequestId(0), pool(0));
        assert!(status_requests.state().open.is_empty());
        status_requests.end();
        assert_eq!(status_requests.ask(|_| {}).unwrap_err(), StatusError::Ended);
    }
}
