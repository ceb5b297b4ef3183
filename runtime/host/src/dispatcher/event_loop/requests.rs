//! Answers the requests of the parent, over a connection of their own.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags};

use super::{EventLoop, ParentLost};
use crate::dispatcher::status;
use mpwasm_protocol::channel::Filled;
use mpwasm_protocol::messages::{StatusReply, StatusRequest};
use mpwasm_protocol::request::Request;
use mpwasm_system::clock;
use mpwasm_system::poll::poll_until;
use mpwasm_types::status::TaskStatus;
use mpwasm_types::time::Time;

impl EventLoop {
    /// Reads the requests that have arrived.
    pub(super) fn read_requests(&mut self) -> Result<(), ParentLost> {
        match self.requests.fill() {
            Ok(Filled::Closed) | Err(_) => Err(ParentLost),
            Ok(Filled::Some | Filled::Nothing) => Ok(()),
        }
    }

    /// Answers the requests that were read, and sends as many replies as the socket takes.
    pub(super) fn answer_requests(&mut self) -> Result<(), ParentLost> {
        while let Some(Request { id, body }) = self.requests.next_request().map_err(|_| ParentLost)? {
            let reply = self.status(body);
            self.requests.reply(id, reply);
        }
        self.requests.flush().map_err(|_| ParentLost)
    }

    fn status(&mut self, request: StatusRequest) -> StatusReply {
        let all = (&mut self.scheduler, &mut self.workers, &self.callbacks);
        let now = clock::now();
        match request {
            StatusRequest::Pool => StatusReply::Pool {
                status: status::of_pool(all, now),
                outcomes: self.callbacks.reported(),
            },
            StatusRequest::Task(id) if id >= self.pipe.next_id => StatusReply::Task(None),
            // Its outcome may still be on its way to the parent.
            StatusRequest::Task(id) => {
                StatusReply::Task(Some(status::of_task(id, all, now).unwrap_or(TaskStatus::Done)))
            }
        }
    }

    /// Waits for the parent alone, while the pool is paused or has ended, and answers its requests. Returns the events of its
    /// socket, for which `interest` waits.
    pub(super) fn wait_for_parent(&mut self, interest: PollFlags) -> Result<PollFlags, ParentLost> {
        self.answer_requests()?;
        let for_requests = self.interest_in_requests();
        let mut fds = [
            PollFd::new(self.parent.as_fd(), interest),
            PollFd::new(self.requests.as_fd(), for_requests),
        ];
        poll_until(&mut fds, Time::NEVER).map_err(|_| ParentLost)?;
        let found = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !found[1].is_empty() {
            self.read_requests()?;
        }
        Ok(found[0])
    }

    /// Returns what is waited for on the connection of requests.
    pub(super) fn interest_in_requests(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::POLLIN, self.requests.is_reading());
        interest.set(PollFlags::POLLOUT, self.requests.is_sending());
        interest
    }
}
