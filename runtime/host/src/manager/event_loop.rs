//! The event loop of the manager: the one thread that owns its state.
//!
//! A turn waits for sockets and for the next timeout, reads once from each socket that is ready, handles a bounded number of messages of
//! each client, and sends the replies. So no client keeps the others waiting: not by a flood, nor by a frame that never ends, nor by
//! not reading its replies.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use mpwasm_objects::{ClientId, Effects, Json, ObjectReply, Objects, PoolError};
use mpwasm_protocol::channel::{Channel, Filled};
use mpwasm_protocol::frame::decode;
use mpwasm_protocol::messages::object_frame;
use mpwasm_protocol::receive_buffer::ReceiveBuffer;
use mpwasm_system::clock;
use mpwasm_system::epoll::{Epoll, Ready};
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{GrantedName, ObjectError, ObjectErrorKind};
use mpwasm_types::time::Time;

use super::connection::ClientConnection;
use super::connections::ClientConnections;
use super::request::ManagerRequest;

/// Most sockets that one turn reads.
const MAX_READY: usize = 256;

/// Most messages of a client that one turn handles.
const MAX_MESSAGES: usize = 64;

/// Time after which a turn handles no more messages of a client: 1 ms. Most take some microseconds, and the longest some tens of
/// milliseconds, of which a turn handles one of each client.
const MAX_CLIENT_TIME: Duration = Duration::from_millis(1);

/// Bytes of incomplete frames of all clients but the owner: 128 MiB, several frames of the largest size. Above that, the client whose frame is the
/// oldest is disconnected: one that is sending completes its frame within milliseconds.
const MAX_PARTIAL: usize = 128 << 20;

/// Key of the owner's connection, the first.
const OWNER: u64 = 0;

/// Turns what clients send into events of the state machine.
#[derive(Debug)]
pub struct ManagerLoop {
    epoll: Rc<Epoll>,
    objects: Objects,
    connections: ClientConnections,
    /// Keys of connections with complete frames that were not handled in their turn.
    backlog: BTreeSet<u64>,
    /// Bytes of incomplete frames.
    partial: usize,
}

/// A client has closed its end, or has broken the protocol. It is disconnected.
struct Disconnected;

impl<E: std::error::Error> From<E> for Disconnected {
    fn from(_: E) -> Self {
        Self
    }
}

impl ManagerLoop {
    /// Creates the loop of a manager without objects, which holds at most `memory` bytes for them.
    pub fn new(epoll: &Rc<Epoll>, owner: Channel, memory: u64) -> Self {
        let (objects, client) = Objects::new(memory);
        let mut connections = ClientConnections::new(epoll);
        let key = connections.add(client, owner);
        debug_assert_eq!(key, OWNER, "the owner is the first client");
        Self {
            epoll: Rc::clone(epoll),
            objects,
            connections,
            // Messages may have come with the first one.
            backlog: BTreeSet::from([key]),
            partial: 0,
        }
    }

    /// Runs until the owner closes its connection.
    ///
    /// # Errors
    /// When the kernel can't wait for the sockets.
    pub fn run(mut self) -> io::Result<()> {
        let mut ready = Ready::with_capacity(MAX_READY);
        loop {
            self.send();
            if self.connections.get(OWNER).is_none() {
                return Ok(());
            }
            let until = match self.backlog.is_empty() {
                true => self.objects.next_deadline().unwrap_or(Time::NEVER),
                false => Time(0),
            };
            self.epoll.wait(&mut ready, until)?;
            let now = clock::now();
            for key in ready.keys() {
                if let Err(Disconnected) = self.read(key, now) {
                    self.disconnect(key);
                }
            }
            for key in std::mem::take(&mut self.backlog) {
                if let Err(Disconnected) = self.handle(key, now) {
                    self.disconnect(key);
                }
            }
            self.objects.expire(now, &mut self.connections);
        }
    }

    /// Reads what a client has sent, once.
    fn read(&mut self, key: u64, now: Time) -> Result<(), Disconnected> {
        let Some(connection) = self.connections.get(key) else {
            return Ok(());
        };
        // Not before its complete frames are handled: a flood of small ones would arrive faster.
        let filled = match connection.is_reading() && !connection.channel.inbox().has_frame() {
            true => connection.channel.fill()?,
            // Its socket takes replies again, or it has sent more.
            false => Filled::Nothing,
        };
        self.connections.mark(key);
        self.backlog.insert(key);
        if filled == Filled::Closed {
            // What it has sent before counts.
            while self.backlog.remove(&key) {
                self.handle(key, now)?;
            }
            return Err(Disconnected);
        }
        Ok(())
    }

    /// Handles complete frames of a client.
    fn handle(&mut self, key: u64, now: Time) -> Result<(), Disconnected> {
        let Some(connection) = self.connections.get(key) else {
            return Ok(());
        };
        let client = connection.client;
        // The buffer is taken out during the call: frames are handled in place, while the connections are borrowed, too.
        let mut inbox = connection.channel.inbox().lend();
        let handled = self.handle_frames(&mut inbox, key, client, now);
        let Some(connection) = self.connections.get(key) else {
            return Ok(());
        };
        let (is_whole, pending) = (inbox.has_frame(), inbox.pending());
        // The owner, which is trusted, has larger frames. They must not make others lose their connections.
        let pending = if key == OWNER { 0 } else { pending };
        *connection.channel.inbox() = inbox;
        let before = std::mem::replace(&mut connection.partial, pending);
        connection.partial_since = (pending > 0).then(|| connection.partial_since.unwrap_or(now));
        if is_whole && connection.is_reading() {
            self.backlog.insert(key);
        }
        let has_too_many = connection.has_too_many_descriptors();
        self.partial = self.partial + pending - before;
        while self.partial > MAX_PARTIAL
            && let Some(oldest) = self.connections.oldest_partial(OWNER)
        {
            self.disconnect(oldest);
        }
        match has_too_many {
            true => Err(Disconnected),
            false => handled,
        }
    }

    fn handle_frames(
        &mut self,
        inbox: &mut ReceiveBuffer,
        key: u64,
        client: ClientId,
        now: Time,
    ) -> Result<(), Disconnected> {
        let mut until = None;
        for _ in 0..MAX_MESSAGES {
            let is_reading = |connection: &mut ClientConnection| connection.is_reading();
            if !self.connections.get(key).is_some_and(is_reading) {
                return Ok(());
            }
            let began = clock::now();
            if began > *until.get_or_insert(began + MAX_CLIENT_TIME) {
                return Ok(());
            }
            let Some(frame) = inbox.next_message()? else {
                return Ok(());
            };
            match ManagerRequest::new(decode(frame)?, &self.objects) {
                ManagerRequest::Objects(message) => {
                    self.objects.handle(now, client, message, &mut self.connections)?;
                    self.connections.reply_created(&self.objects);
                }
                ManagerRequest::NoSuchObject { id, operation } => {
                    let error = ObjectError::new(ObjectErrorKind::NoSuchObject, "", operation);
                    self.connections.reply(client, id, Err(error));
                }
                ManagerRequest::Attach => {
                    let socket = self.take_socket(key)?;
                    match self.objects.attach(client) {
                        Ok(member) => {
                            self.connections.add(member, Channel::new(socket, object_frame()));
                        }
                        // The member finds its socket closed.
                        Err(PoolError::Object(_)) => {}
                        Err(_) => return Err(Disconnected),
                    }
                }
                ManagerRequest::OpenPool { id, names } => self.open_pool(key, client, id, &names)?,
            }
        }
        Ok(())
    }

    fn open_pool(
        &mut self,
        key: u64,
        owner: ClientId,
        id: RequestId,
        names: &[GrantedName],
    ) -> Result<(), Disconnected> {
        let socket = self.take_socket(key)?;
        let reply = match self.objects.open_pool(owner, names) {
            Ok(pool) => {
                let channel = Channel::with_descriptors(socket, object_frame());
                self.connections.add(pool, channel);
                Ok(ObjectReply::Json(Json::null()))
            }
            Err(PoolError::Object(error)) => Err(error),
            Err(_) => return Err(Disconnected),
        };
        self.connections.reply(owner, id, reply);
        Ok(())
    }

    /// Takes the socket that has come with a message.
    fn take_socket(&mut self, key: u64) -> Result<OwnedFd, Disconnected> {
        let connection = self.connections.get(key);
        connection
            .and_then(|connection| connection.channel.take_descriptor())
            .ok_or(Disconnected)
    }

    /// Sends replies, as far as the sockets take them.
    fn send(&mut self) {
        // A client that is disconnected may end waits of others.
        loop {
            let replied = self.connections.take_replied();
            if replied.is_empty() {
                return;
            }
            for key in replied {
                self.flush(key);
            }
        }
    }

    fn flush(&mut self, key: u64) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let was_reading = connection.is_reading();
        if connection.flush().is_err() {
            return self.disconnect(key);
        }
        if !was_reading && connection.is_reading() {
            self.backlog.insert(key);
        }
        let (client, unsent) = (connection.client, connection.unsent() as u64);
        self.objects.set_unsent(client, unsent);
    }

    /// Ends a connection. The calls of its client end as failed.
    fn disconnect(&mut self, key: u64) {
        if let Some(connection) = self.connections.remove(key) {
            self.partial -= connection.partial;
            self.backlog.remove(&key);
            self.objects
                .disconnected(connection.client, &mut self.connections);
        }
    }
}
