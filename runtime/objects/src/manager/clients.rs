//! Clients: how they connect, what they open, and their end.

use std::collections::BTreeMap;

use mpwasm_types::objects::{
    GrantedName, MAX_LABEL, MAX_OBJECT_NAMES, ObjectError, ObjectErrorKind, RequestedObject,
};

use super::objects::{Objects, PoolScope};
use crate::bounds::{CLIENT_OVERHEAD, ENTRY_OVERHEAD, MAX_CLIENTS};
use crate::client::ClientRole;
use crate::keys::{CallKey, ClientId, ScopeId};
use crate::message::{ClientFault, Effects, ObjectReply};

/// Reports why a pool was not opened, or a member not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// An honest client cannot request it. The caller disconnects the client.
    #[error(transparent)]
    Fault(#[from] ClientFault),
    /// A token is of no object, or there are too many clients or names. The client stays.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl Objects {
    /// Opens a pool with its names, on behalf of the owner. Returns the connection of its dispatcher.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn open_pool(&mut self, owner: ClientId, names: &[GrantedName]) -> Result<ClientId, PoolError> {
        if self.clients.get(&owner).map(|client| client.role) != Some(ClientRole::Owner) {
            return Err(ClientFault::Forbidden.into());
        }
        if names.len() > MAX_OBJECT_NAMES || names.iter().any(|granted| granted.name.len() > MAX_LABEL) {
            return Err(ClientFault::OutOfBounds.into());
        }
        self.check_client_count()?;
        let mut objects = BTreeMap::new();
        let mut cost = 0;
        for GrantedName { name, token } in names {
            let object = self.tokens.get(token).ok_or_else(|| {
                ObjectError::new(ObjectErrorKind::NoSuchObject, name, "grant")
                    .with_detail("no object of this manager has its token")
            })?;
            cost += ENTRY_OVERHEAD + name.len() as u64;
            objects.insert(name.clone(), *object);
        }
        self.budget
            .take(cost)
            .map_err(|error| ObjectError::new(error.kind, "", "grant").with_detail(&error.detail))?;
        let id = ScopeId(self.next_scope);
        self.next_scope += 1;
        self.scopes.insert(
            id,
            PoolScope {
                names: objects,
                clients: 1,
                cost,
            },
        );
        Ok(self.add_client(ClientRole::Pool(id)))
    }

    /// Attaches a process that runs guests of a pool, on behalf of its dispatcher. Returns the connection of the process.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn attach(&mut self, pool: ClientId) -> Result<ClientId, PoolError> {
        let Some(ClientRole::Pool(id)) = self.clients.get(&pool).map(|client| client.role) else {
            return Err(ClientFault::Forbidden.into());
        };
        self.check_client_count()?;
        if let Some(scope) = self.scopes.get_mut(&id) {
            scope.clients += 1;
        }
        Ok(self.add_client(ClientRole::Member(id)))
    }

    fn check_client_count(&self) -> Result<(), ObjectError> {
        if self.clients.len() < MAX_CLIENTS {
            return Ok(());
        }
        let detail = format!("{MAX_CLIENTS} processes are connected");
        Err(ObjectError::new(ObjectErrorKind::OutOfMemory, "", "connect").with_detail(&detail))
    }

    /// Takes note of the end of a connection. Its calls end as failed.
    pub fn disconnected(&mut self, id: ClientId, effects: &mut dyn Effects) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        for (call, state) in client.calls {
            self.give_back(CallKey { client: id, call }, state, false, effects);
        }
        self.budget
            .give_back(CLIENT_OVERHEAD + client.unsent + ENTRY_OVERHEAD * client.opened.len() as u64);
        if let Some(id) = client.role.scope()
            && let Some(scope) = self.scopes.get_mut(&id)
        {
            scope.clients -= 1;
            if scope.clients == 0 {
                self.budget.give_back(scope.cost);
                self.scopes.remove(&id);
            }
        }
    }

    pub(super) fn open(
        &mut self,
        id: ClientId,
        target: RequestedObject<'_>,
    ) -> Result<ObjectReply, ObjectError> {
        let scope = self.clients.get(&id).and_then(|client| client.role.scope());
        let (object, name, detail) = match target {
            RequestedObject::Token(token) => (
                self.tokens.get(&token),
                "",
                "no object of this manager has this token",
            ),
            RequestedObject::Name(name) => (
                scope
                    .and_then(|scope| self.scopes.get(&scope))
                    .and_then(|scope| scope.names.get(name)),
                name,
                "no object of this name was granted to the pool",
            ),
        };
        let error = |kind, detail: &str| ObjectError::new(kind, name, "open").with_detail(detail);
        let object = *object.ok_or_else(|| error(ObjectErrorKind::NoSuchObject, detail))?;
        let (Some(entry), Some(client)) = (self.directory.get(&object), self.clients.get_mut(&id)) else {
            return Err(error(ObjectErrorKind::NoSuchObject, detail));
        };
        if !client.opened.contains(&object) {
            self.budget
                .take(ENTRY_OVERHEAD)
                .map_err(|full| error(full.kind, &full.detail))?;
            client.opened.insert(object);
        }
        Ok(ObjectReply::Opened {
            object,
            label: entry.label.clone(),
            spec: entry.spec,
        })
    }
}
