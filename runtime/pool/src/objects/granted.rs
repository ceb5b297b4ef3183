//! What a pool has of a manager: its connection, and the objects that it is granted by name.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::error::Error;
use crate::invalid_setting::InvalidSetting;
use crate::objects::client::OwnerClient;
use crate::objects::proxy::Proxy;
use mpwasm_protocol::channel::{Channel, pair};
use mpwasm_protocol::messages::ToManager;
use mpwasm_system::inherited::explained;
use mpwasm_types::objects::{GrantedName, MAX_LABEL, MAX_OBJECT_NAMES};

/// The manager and the objects that a pool's builder was given.
#[derive(Clone, Debug, Default)]
pub struct GrantedObjects {
    client: Option<Arc<OwnerClient>>,
    /// Whether they are of several managers.
    is_mixed: bool,
    names: Vec<GrantedName>,
}

impl GrantedObjects {
    /// Sets the manager.
    pub fn set_manager(&mut self, client: &Arc<OwnerClient>) {
        let known = self.client.get_or_insert_with(|| Arc::clone(client));
        self.is_mixed |= !Arc::ptr_eq(known, client);
    }

    /// Adds an object under a name.
    pub fn add(&mut self, name: String, proxy: &Proxy) {
        self.set_manager(proxy.client());
        let token = proxy.token();
        self.names.push(GrantedName { name, token });
    }

    /// Checks the names and that there is one manager.
    ///
    /// # Errors
    /// See [`InvalidSetting`].
    pub fn check(&self) -> Result<(), InvalidSetting> {
        if self.is_mixed {
            return Err(InvalidSetting::SeveralManagers);
        }
        if self.names.len() > MAX_OBJECT_NAMES {
            return Err(InvalidSetting::TooManyObjects(self.names.len()));
        }
        for (at, granted) in self.names.iter().enumerate() {
            let name = &granted.name;
            if name.is_empty() || name.len() > MAX_LABEL || name.starts_with('{') {
                return Err(InvalidSetting::ObjectName(name.clone()));
            }
            if self.names[..at].iter().any(|other| other.name == *name) {
                return Err(InvalidSetting::ObjectTwice(name.clone()));
            }
        }
        Ok(())
    }

    /// Opens the connections of a pool. Returns `None` for a pool without a manager.
    ///
    /// # Errors
    /// [`Error::Object`] when the manager has ended.
    pub fn open(&self) -> Result<Option<PoolObjects>, Error> {
        let Some(client) = &self.client else {
            return Ok(None);
        };
        let open = || {
            let opened = client.open_pool(&self.names);
            opened.map_err(|failed| Error::Object(failed.of("manager", "open a pool")))
        };
        Ok(Some(PoolObjects {
            dispatcher: open()?,
            parent: ParentObjects(open()?),
        }))
    }
}

/// The connections of a pool to its manager.
#[derive(Debug)]
pub struct PoolObjects {
    /// That of the dispatcher.
    pub dispatcher: OwnedFd,
    /// That of this process.
    pub parent: ParentObjects,
}

/// A pool's connection to its manager, by which this process attaches the processes that run a guest's `tasks`.
#[derive(Debug)]
pub struct ParentObjects(OwnedFd);

impl ParentObjects {
    /// Attaches a member of the pool, and returns its end of the connection. Without a manager that end is closed.
    ///
    /// # Errors
    /// [`Error::Io`] when no descriptors are left.
    pub fn attach(&self) -> Result<OwnedFd, Error> {
        let (ours, theirs) = pair().map_err(explained)?;
        // If the manager has ended, each operation of the member fails as unavailable.
        let _ = Channel::send_over(self.0.as_fd(), &ToManager::Attach, &[theirs.as_fd()]);
        Ok(ours)
    }
}
