//! The connections of a manager, and what its state machine asks of them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use mpwasm_objects::{ClientId, Effects, Json, ObjectReply, Objects, OperationError};
use mpwasm_protocol::channel::Channel;
use mpwasm_system::epoll::Epoll;
use mpwasm_system::random;
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{ObjectError, ObjectId, ObjectSpec, Token};

use super::connection::ClientConnection;
use super::numbers::Numbers;

/// The connections, by key of their sockets, and the numbers that are shared over them.
#[derive(Debug)]
pub struct ClientConnections {
    epoll: Rc<Epoll>,
    by_key: BTreeMap<u64, ClientConnection>,
    keys: BTreeMap<ClientId, u64>,
    next: u64,
    /// Keys of connections with new replies.
    replied: BTreeSet<u64>,
    numbers: Numbers,
    /// The objects that the last message has created, whose reply needs their label.
    created: Option<CreatedObject>,
}

/// An object whose creation is not replied to yet.
#[derive(Debug)]
struct CreatedObject {
    key: u64,
    id: RequestId,
    tokens: Vec<Token>,
}

impl ClientConnections {
    pub fn new(epoll: &Rc<Epoll>) -> Self {
        Self {
            epoll: Rc::clone(epoll),
            by_key: BTreeMap::new(),
            keys: BTreeMap::new(),
            next: 0,
            replied: BTreeSet::new(),
            numbers: Numbers::default(),
            created: None,
        }
    }

    /// Adds the connection of a client. Returns its key. Keys are never used again.
    pub fn add(&mut self, client: ClientId, channel: Channel) -> u64 {
        let key = self.next;
        self.next += 1;
        let channel = self.epoll.watch(channel, key);
        self.by_key.insert(key, ClientConnection::new(client, channel));
        self.keys.insert(client, key);
        // The first flush makes the event loop wait for its messages.
        self.replied.insert(key);
        key
    }

    pub fn remove(&mut self, key: u64) -> Option<ClientConnection> {
        let connection = self.by_key.remove(&key)?;
        self.keys.remove(&connection.client);
        Some(connection)
    }

    pub fn get(&mut self, key: u64) -> Option<&mut ClientConnection> {
        self.by_key.get_mut(&key)
    }

    /// Makes [`take_replied`](Self::take_replied) return a connection, whose socket may take more bytes.
    pub fn mark(&mut self, key: u64) {
        self.replied.insert(key);
    }

    /// Returns the keys of connections with new replies, or to be watched anew.
    pub fn take_replied(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.replied)
    }

    /// Replies to the request that has created an object, if the last message was one.
    pub fn reply_created(&mut self, objects: &Objects) {
        if let Some(CreatedObject { key, id, tokens }) = self.created.take()
            && let Some((_, label, _)) = tokens.first().and_then(|&token| objects.find(token))
            && let Some(connection) = self.by_key.get_mut(&key)
        {
            connection.reply_created(id, label, tokens);
            self.replied.insert(key);
        }
    }

    /// Returns the connection that holds an incomplete frame for the longest time, apart from `except`.
    pub fn oldest_partial(&self, except: u64) -> Option<u64> {
        let partial = self.by_key.iter().filter_map(|(&key, connection)| {
            let since = connection.partial_since.filter(|_| key != except)?;
            Some((since, key))
        });
        partial.min().map(|(_, key)| key)
    }
}

impl Effects for ClientConnections {
    fn reply(&mut self, client: ClientId, id: RequestId, reply: Result<ObjectReply, ObjectError>) {
        let Some(&key) = self.keys.get(&client) else {
            return;
        };
        let numbers = match &reply {
            Ok(ObjectReply::Opened { object, .. }) => self.numbers.file(*object),
            Ok(ObjectReply::Created(tokens)) => {
                let tokens = tokens.clone();
                self.created = Some(CreatedObject { key, id, tokens });
                return;
            }
            _ => None,
        };
        if let Some(connection) = self.by_key.get_mut(&key) {
            connection.reply(id, reply, numbers);
            self.replied.insert(key);
        }
    }

    fn new_token(&mut self) -> Token {
        Token::from_bytes(random::bytes().expect("the machine has booted, so the kernel has random numbers"))
    }

    fn create_numbers(&mut self, object: ObjectId, spec: ObjectSpec) -> bool {
        self.numbers.create(object, spec).is_ok()
    }

    fn numbers(&mut self, object: ObjectId, spec: ObjectSpec, most: usize) -> Option<Json> {
        self.numbers.read(object, spec, most)
    }

    fn set_numbers(
        &mut self,
        object: ObjectId,
        spec: ObjectSpec,
        numbers: &Json,
    ) -> Result<(), OperationError> {
        self.numbers.write(object, spec, numbers)
    }
}
