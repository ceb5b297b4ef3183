//! Waits for many file descriptors (epoll(7)).
//!
//! The kernel keeps what is waited for from one wait to the next, so that a wait costs no more with many idle descriptors than
//! with few. All descriptors are level-triggered: a wait reports a descriptor as long as it is ready.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use mpwasm_types::time::Time;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::clock;

/// What is waited for on a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interest {
    /// Nothing: the kernel does not watch the descriptor, not even for its end.
    #[default]
    None,
    /// Until it can be read, or the other end is closed.
    Read,
    /// Until it can be written, or the other end is closed.
    Write,
    /// Until it can be read or written, or the other end is closed.
    ReadAndWrite,
}

impl Interest {
    /// Returns the interest in reading and in writing.
    #[must_use]
    pub const fn of(reads: bool, writes: bool) -> Self {
        match (reads, writes) {
            (false, false) => Self::None,
            (true, false) => Self::Read,
            (false, true) => Self::Write,
            (true, true) => Self::ReadAndWrite,
        }
    }

    fn flags(self) -> EventFlags {
        match self {
            Self::None => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::ReadAndWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}

/// A source of events whose descriptor an [`Epoll`] can wait for.
///
/// Dropping it first removes the descriptor from the [`Epoll`]. Otherwise the kernel would continue to report a descriptor of which
/// another process has a copy.
#[derive(Debug)]
pub struct Watched<T: AsFd> {
    source: T,
    epoll: Rc<Epoll>,
    key: u64,
    interest: Interest,
}

impl<T: AsFd> Watched<T> {
    /// Sets what is waited for. Makes a system call only if that changes.
    ///
    /// # Errors
    /// Fails if the kernel has no memory for another descriptor, or the user has too many (`max_user_watches`). Only a change
    /// from [`Interest::None`] can fail.
    pub fn set(&mut self, wanted: Interest) -> io::Result<()> {
        let (epoll, fd) = (&self.epoll.fd, self.source.as_fd());
        let (data, flags) = (EventData::new_u64(self.key), wanted.flags());
        match (self.interest, wanted) {
            (before, wanted) if before == wanted => return Ok(()),
            (_, Interest::None) => epoll::delete(epoll, fd)?,
            (Interest::None, _) => epoll::add(epoll, fd, data, flags)?,
            (_, _) => epoll::modify(epoll, fd, data, flags)?,
        }
        self.interest = wanted;
        Ok(())
    }
}

impl<T: AsFd> Deref for Watched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.source
    }
}

impl<T: AsFd> DerefMut for Watched<T> {
    /// The caller must not replace the source.
    fn deref_mut(&mut self) -> &mut T {
        &mut self.source
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        // It can't fail: the descriptor is open, and was added.
        let _ = self.set(Interest::None);
    }
}

/// Waits for the descriptors of the sources that it watches.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// Creates one without sources. It is closed on exec.
    ///
    /// # Errors
    /// Fails if no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let fd = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { fd })
    }

    /// Adds a source of events, of which nothing is waited for yet. A wait reports it by `key`.
    pub fn watch<T: AsFd>(self: &Rc<Self>, source: T, key: u64) -> Watched<T> {
        Watched {
            source,
            epoll: Rc::clone(self),
            key,
            interest: Interest::None,
        }
    }

    /// Waits until a descriptor is ready, at most until `until`, and stores the ready descriptors in `ready`. A signal does not
    /// end the wait.
    ///
    /// # Errors
    /// Fails if the kernel refuses, which happens only without memory.
    pub fn wait(&self, ready: &mut Ready, until: Time) -> io::Result<()> {
        ready.events.clear();
        loop {
            let timeout = (until != Time::NEVER).then(|| until.since(clock::now()));
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(&self.fd, spare_capacity(&mut ready.events), timeout.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        ready.events.sort_unstable_by_key(|event| event.data.u64());
        Ok(())
    }
}

/// The descriptors that a wait has found ready.
pub struct Ready {
    events: Vec<Event>,
}

impl Ready {
    /// Creates room for `count` descriptors, at least one. If more are ready, another wait reports the others.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        let events = Vec::with_capacity(count.max(1));
        Self { events }
    }

    /// Returns the keys of the descriptors, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.events.iter().map(|event| event.data.u64())
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// Returns the keys of the descriptors that are ready now.
    fn ready_now(epoll: &Epoll) -> Vec<u64> {
        let mut ready = Ready::with_capacity(8);
        epoll.wait(&mut ready, clock::now()).unwrap();
        ready.keys().collect()
    }

    #[test]
    fn a_source_is_reported_by_its_key_while_it_is_ready_and_watched() {
        let epoll = Rc::new(Epoll::new().unwrap());
        let ((first, mut to_first), (second, mut to_second)) = (pipe().unwrap(), pipe().unwrap());
        let (mut first, mut second) = (epoll.watch(first, 7), epoll.watch(second, 3));
        first.set(Interest::Read).unwrap();
        second.set(Interest::Read).unwrap();
        assert_eq!(ready_now(&epoll), [0; 0]);
        to_first.write_all(b"x").unwrap();
        to_second.write_all(b"x").unwrap();
        assert_eq!(ready_now(&epoll), [3, 7]);
        assert_eq!(ready_now(&epoll), [3, 7], "nothing was read");
        second.set(Interest::None).unwrap();
        assert_eq!(ready_now(&epoll), [7]);
        drop(to_second);
        assert_eq!(ready_now(&epoll), [7], "not even its end is watched");
        second.set(Interest::Read).unwrap();
        assert_eq!(ready_now(&epoll), [3, 7]);
    }

    #[test]
    fn a_dropped_source_is_not_reported_though_a_copy_of_its_descriptor_is_open() {
        let epoll = Rc::new(Epoll::new().unwrap());
        let (reader, _) = pipe().unwrap();
        let _copy = reader.try_clone().unwrap();
        let mut watched = epoll.watch(reader, 1);
        watched.set(Interest::Read).unwrap();
        assert_eq!(ready_now(&epoll), [1]);
        drop(watched);
        assert_eq!(ready_now(&epoll), [0; 0]);
    }

    #[test]
    fn a_source_that_can_be_written_is_reported_if_it_is_watched_for_that() {
        let epoll = Rc::new(Epoll::new().unwrap());
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut socket = epoll.watch(socket, 1);
        for (interest, found) in [
            (Interest::Read, &[][..]),
            (Interest::ReadAndWrite, &[1]),
            (Interest::Write, &[1]),
            (Interest::Read, &[]),
        ] {
            socket.set(interest).unwrap();
            assert_eq!(ready_now(&epoll), found, "{interest:?}");
        }
    }

    #[test]
    fn a_wait_ends_at_its_time_to_less_than_a_millisecond() {
        let epoll = Epoll::new().unwrap();
        let mut ready = Ready::with_capacity(1);
        let wait = Duration::from_micros(100);
        // The machine may be busy, but not each time.
        let shortest = (0..50).map(|_| {
            let start = clock::now();
            epoll.wait(&mut ready, start + wait).unwrap();
            clock::now().since(start)
        });
        let shortest = shortest.min().unwrap();
        assert!(
            wait <= shortest && shortest < Duration::from_millis(1),
            "{shortest:?}"
        );
    }
}
