//! Takes messages of clients.

use mpwasm_types::objects::MAX_LABEL;
use mpwasm_types::time::Time;

use super::calls::OperationRequest;
use super::objects::Objects;
use crate::client::ClientRole;
use crate::keys::ClientId;
use crate::message::{ClientFault, ClientMessage, Effects, ObjectReply};

impl Objects {
    /// Takes a message of a client. Messages of a client that is not connected are ignored.
    ///
    /// # Errors
    /// Fails if an honest client cannot send the message. The caller then calls [`disconnected`](Self::disconnected).
    pub fn handle(
        &mut self,
        now: Time,
        client: ClientId,
        message: ClientMessage<'_>,
        effects: &mut dyn Effects,
    ) -> Result<(), ClientFault> {
        let Some(role) = self.clients.get(&client).map(|client| client.role) else {
            return Ok(());
        };
        if !may_send(role, &message) {
            return Err(ClientFault::Forbidden);
        }
        match message {
            ClientMessage::Open { id, target } => {
                let reply = self.open(client, target);
                self.reply(client, id, reply, effects);
            }
            ClientMessage::Call {
                id,
                call,
                object,
                operation,
                args,
                timeout,
            } => {
                let request = OperationRequest {
                    id,
                    object,
                    operation,
                    args,
                    timeout,
                };
                self.call(now, client, call, &request, effects)?;
            }
            ClientMessage::CallStarted { call, source } => self.call_started(client, call, source)?,
            ClientMessage::CallEnded { call, succeeded } => {
                self.call_ended(client, call, succeeded, effects)?;
            }
            ClientMessage::Cancel { id } => self.cancel(client, id, effects),
            ClientMessage::Create { id, label, spec } => {
                if label.len() > MAX_LABEL {
                    return Err(ClientFault::OutOfBounds);
                }
                let created = self.create(label, spec, effects);
                self.reply(client, id, created.map(ObjectReply::Created), effects);
            }
            ClientMessage::Contents { id, object } => {
                let contents = self.contents(object, effects);
                self.reply_result(client, id, contents, effects);
            }
            ClientMessage::Restore { id, object, contents } => {
                let restored = self.restore(object, contents, effects);
                self.reply_result(client, id, restored, effects);
            }
            ClientMessage::Status { id } => {
                let status = self.status(now, role);
                self.reply(client, id, Ok(ObjectReply::Status(status)), effects);
            }
        }
        Ok(())
    }
}

/// Returns whether a client with this role may send a message.
const fn may_send(role: ClientRole, message: &ClientMessage<'_>) -> bool {
    match message {
        ClientMessage::Open { .. }
        | ClientMessage::Call { .. }
        | ClientMessage::CallStarted { .. }
        | ClientMessage::CallEnded { .. }
        | ClientMessage::Cancel { .. } => role.uses_objects(),
        ClientMessage::Create { .. } | ClientMessage::Contents { .. } | ClientMessage::Restore { .. } => {
            matches!(role, ClientRole::Owner)
        }
        ClientMessage::Status { .. } => matches!(role, ClientRole::Owner | ClientRole::Pool(_)),
    }
}
