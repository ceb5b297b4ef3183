//! A connection to a client: what it has sent, and the replies that it has not read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use mpwasm_objects::{ClientId, ObjectReply};
use mpwasm_protocol::channel::Channel;
use mpwasm_protocol::messages::{FromManager, OperationReply};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_system::epoll::{Interest, Watched};
use mpwasm_types::ids::RequestId;
use mpwasm_types::objects::{ObjectError, Token};
use mpwasm_types::time::Time;

/// Bytes of unsent replies from which on a client is not read: 1 MiB. One reply may be larger.
const REPLY_HIGH_WATER: usize = 1 << 20;

/// Most file descriptors that a client may have sent without the messages that they belong to. The kernel passes on as many with one
/// message.
const MAX_UNCLAIMED: usize = 253;

/// A connection to a client.
#[derive(Debug)]
pub struct ClientConnection {
    pub client: ClientId,
    pub channel: Watched<Channel>,
    outgoing: SendBuffer,
    /// Since when the connection holds an incomplete frame.
    pub partial_since: Option<Time>,
    /// Bytes of that frame.
    pub partial: usize,
}

impl ClientConnection {
    pub fn new(client: ClientId, channel: Watched<Channel>) -> Self {
        Self {
            client,
            channel,
            outgoing: SendBuffer::default(),
            partial_since: None,
            partial: 0,
        }
    }

    /// Returns whether requests are read: not while too many bytes of replies are unsent.
    pub fn is_reading(&self) -> bool {
        self.outgoing.len() < REPLY_HIGH_WATER
    }

    /// Returns the bytes of replies that its socket has not taken.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Returns whether it has sent more file descriptors than its messages refer to.
    pub fn has_too_many_descriptors(&self) -> bool {
        self.channel.descriptors() > MAX_UNCLAIMED
    }

    /// Adds the reply to a request. `numbers` is the memory of an opened value or array.
    pub fn reply(
        &mut self,
        id: RequestId,
        reply: Result<ObjectReply, ObjectError>,
        numbers: Option<Arc<OwnedFd>>,
    ) {
        match reply {
            Ok(ObjectReply::Opened { object, label, spec }) => {
                let label = &label;
                let message = FromManager::Opened {
                    id,
                    object,
                    spec,
                    label,
                };
                match numbers {
                    Some(memory) => self.outgoing.put_with(&message, memory),
                    None => self.outgoing.put(&message),
                }
            }
            Ok(ObjectReply::Json(json)) => {
                let payload = Bytes::from(json.into_bytes());
                self.outgoing.put_shared(&payload, |json| FromManager::Reply {
                    id,
                    result: OperationReply::Ok(json),
                });
            }
            // `reply_created` replies to these, with the label.
            Ok(ObjectReply::Created(_)) => {}
            Ok(ObjectReply::Status(status)) => self.outgoing.put(&FromManager::Status { id, status }),
            Err(error) => self.outgoing.put(&FromManager::Reply {
                id,
                result: OperationReply::Failed(error),
            }),
        }
    }

    /// Adds the reply to a request that has created an object.
    pub fn reply_created(&mut self, id: RequestId, label: &str, tokens: Vec<Token>) {
        self.outgoing.put(&FromManager::Created { id, label, tokens });
    }

    /// Sends as many bytes of replies as the socket takes, and sets what is waited for.
    ///
    /// # Errors
    /// When the client has closed its end, or the kernel can't watch the socket.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outgoing.flush(self.channel.as_fd())?;
        let interest = Interest::of(self.is_reading(), !self.outgoing.is_empty());
        self.channel.set(interest)
    }
}
