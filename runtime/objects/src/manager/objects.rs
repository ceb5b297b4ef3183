//! The state of the manager.

use std::collections::{BTreeMap, HashMap};

use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, Token};
use mpwasm_types::time::Time;

use crate::bounds::CLIENT_OVERHEAD;
use crate::budget::Budget;
use crate::channels::Side;
use crate::client::{Client, ClientRole};
use crate::json::Json;
use crate::keys::{ClientId, ScopeId};
use crate::message::{Effects, ObjectReply};
use crate::object::ObjectState;
use crate::operation_error::OperationError;
use crate::wait::Waits;

/// All objects, and the clients that use them.
///
/// See the documentation of this crate for its invariants.
#[derive(Debug)]
pub struct Objects {
    pub(super) budget: Budget,
    /// What is known of each object. A pipe has an entry for each end.
    pub(super) directory: BTreeMap<ObjectId, ObjectEntry>,
    /// The objects, by [`ObjectEntry::home`].
    pub(super) objects: BTreeMap<ObjectId, ObjectState>,
    pub(super) tokens: HashMap<Token, ObjectId>,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) scopes: BTreeMap<ScopeId, PoolScope>,
    pub(super) waits: Waits,
    next_client: u64,
    next_object: u64,
    pub(super) next_scope: u64,
}

/// What is known of an object beside its state.
#[derive(Debug)]
pub(super) struct ObjectEntry {
    pub label: String,
    pub spec: ObjectSpec,
    /// Under which id the state is: that of the first end for both ends of a pipe, otherwise its own.
    pub home: ObjectId,
    /// Which end of a pipe it is.
    pub side: Side,
}

/// The names of a pool.
#[derive(Debug)]
pub(super) struct PoolScope {
    pub names: BTreeMap<String, ObjectId>,
    /// Clients of the pool. The names go with the last one.
    pub clients: usize,
    /// Bytes that are counted for the names.
    pub cost: u64,
}

impl Objects {
    /// Creates a manager without objects, which holds at most `memory_cap` bytes for them, and its owner's connection.
    #[must_use]
    pub fn new(memory_cap: u64) -> (Self, ClientId) {
        let mut objects = Self {
            budget: Budget::new(memory_cap),
            directory: BTreeMap::new(),
            objects: BTreeMap::new(),
            tokens: HashMap::new(),
            clients: BTreeMap::new(),
            scopes: BTreeMap::new(),
            waits: Waits::default(),
            next_client: 0,
            next_object: 0,
            next_scope: 0,
        };
        let owner = objects.add_client(ClientRole::Owner);
        (objects, owner)
    }

    /// Returns the bytes that are held for clients.
    #[must_use]
    pub const fn memory(&self) -> u64 {
        self.budget.used()
    }

    /// Returns when [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.waits.first_deadline().map(|(deadline, _)| deadline)
    }

    /// Returns the id, the label and the spec of the object that a token gives access to.
    #[must_use]
    pub fn find(&self, token: Token) -> Option<(ObjectId, &str, ObjectSpec)> {
        let id = *self.tokens.get(&token)?;
        let entry = self.directory.get(&id)?;
        Some((id, &entry.label, entry.spec))
    }

    /// Counts the bytes of replies that the socket of a client has not taken. They are held for the client, too.
    pub fn set_unsent(&mut self, client: ClientId, bytes: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            self.budget.give_back(client.unsent);
            self.budget.take_always(bytes);
            client.unsent = bytes;
        }
    }

    pub(super) fn add_client(&mut self, role: ClientRole) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        self.budget.take_always(CLIENT_OVERHEAD);
        self.clients.insert(id, Client::new(role));
        id
    }

    /// Returns the id that the next object will have.
    pub(super) const fn next_object_id(&self) -> ObjectId {
        ObjectId(self.next_object)
    }

    pub(super) const fn new_object_id(&mut self) -> ObjectId {
        let id = ObjectId(self.next_object);
        self.next_object += 1;
        id
    }

    /// Returns the entry of an object that the client has opened.
    pub(super) fn opened(
        &self,
        client: ClientId,
        object: ObjectId,
        operation: &str,
    ) -> Result<&ObjectEntry, ObjectError> {
        let is_opened = self
            .clients
            .get(&client)
            .is_some_and(|client| client.opened.contains(&object));
        if !is_opened {
            let error = ObjectError::new(ObjectErrorKind::NoSuchObject, &object.to_string(), operation);
            return Err(error.with_detail("the client has not opened it"));
        }
        self.existing(object, operation)
    }

    /// Returns the entry of an object.
    pub(super) fn existing(&self, object: ObjectId, operation: &str) -> Result<&ObjectEntry, ObjectError> {
        let entry = self.directory.get(&object);
        entry.ok_or_else(|| ObjectError::new(ObjectErrorKind::NoSuchObject, &object.to_string(), operation))
    }

    /// Names the object and the operation that an error is about.
    pub(super) fn error(&self, object: ObjectId, operation: &str, error: &OperationError) -> ObjectError {
        let entry = self.directory.get(&object);
        let label = entry.map_or("", |entry| &entry.label);
        let named = ObjectError::new(error.kind, label, operation).with_detail(&error.detail);
        match entry {
            Some(entry) => named.on(entry.spec.kind()),
            None => named,
        }
    }

    /// Sends the reply to a request, unless its client is gone.
    pub(super) fn reply(
        &self,
        client: ClientId,
        id: RequestId,
        reply: Result<ObjectReply, ObjectError>,
        effects: &mut dyn Effects,
    ) {
        if self.clients.contains_key(&client) {
            effects.reply(client, id, reply);
        }
    }

    /// Sends the result of an operation.
    pub(super) fn reply_result(
        &self,
        client: ClientId,
        id: RequestId,
        result: Result<Json, ObjectError>,
        effects: &mut dyn Effects,
    ) {
        self.reply(client, id, result.map(ObjectReply::Json), effects);
    }
}
