//! Translates messages of clients for the state machine.

use std::time::Duration;

use mpwasm_objects::{ClientMessage, Objects};
use mpwasm_protocol::messages::{OwnerRequest, ToManager};
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::GrantedName;

/// A message of a client.
#[derive(Debug)]
pub enum ManagerRequest<'a> {
    /// One that the state machine handles alone.
    Objects(ClientMessage<'a>),
    /// A pool attaches a member, whose socket comes with the message.
    Attach,
    /// The owner attaches a pool, whose socket comes with the message.
    OpenPool {
        /// Number of the request.
        id: RequestId,
        /// The objects that the pool is granted.
        names: Vec<GrantedName>,
    },
    /// The owner names an object that does not exist.
    NoSuchObject {
        /// Number of the request.
        id: RequestId,
        /// The operation.
        operation: &'static str,
    },
}

impl<'a> ManagerRequest<'a> {
    /// Translates a message to a manager with these objects.
    pub fn new(message: ToManager<'a>, objects: &Objects) -> Self {
        let find = |token| objects.find(token).map(|(object, _, _)| object);
        Self::Objects(match message {
            ToManager::Attach => return Self::Attach,
            ToManager::Owner(OwnerRequest::OpenPool { id, names }) => return Self::OpenPool { id, names },
            ToManager::Open { id, target } => ClientMessage::Open { id, target },
            ToManager::CallStarted { call, source } => ClientMessage::CallStarted { call, source },
            ToManager::CallEnded { call, succeeded } => ClientMessage::CallEnded { call, succeeded },
            ToManager::Call {
                id,
                call,
                object,
                timeout,
                operation,
                args,
            } => ClientMessage::Call {
                id,
                call,
                object,
                operation,
                args,
                timeout: timeout.map(Duration::from_nanos),
            },
            ToManager::Cancel { id } => ClientMessage::Cancel { id },
            ToManager::Owner(OwnerRequest::Create { id, spec, label }) => {
                ClientMessage::Create { id, label, spec }
            }
            ToManager::Owner(OwnerRequest::Contents { id, token }) => match find(token) {
                Some(object) => ClientMessage::Contents { id, object },
                None => {
                    let operation = "contents";
                    return Self::NoSuchObject { id, operation };
                }
            },
            ToManager::Owner(OwnerRequest::Restore { id, token, contents }) => match find(token) {
                Some(object) => ClientMessage::Restore { id, object, contents },
                None => {
                    let operation = "restore";
                    return Self::NoSuchObject { id, operation };
                }
            },
            ToManager::Owner(OwnerRequest::Status { id }) => ClientMessage::Status { id },
        })
    }
}
