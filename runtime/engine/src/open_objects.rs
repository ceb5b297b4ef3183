//! The shared objects that a call has open, and the reply to its last request.
//!
//! A guest names an open object by a descriptor, a number which is valid until the end of its call. A guest whose instance lives
//! on may still have descriptors of an earlier call, so descriptors of different calls are different numbers.

use std::time::Duration;

use crate::object_client::{ObjectCallError, ObjectCaller, ObjectClient, ObjectTarget, OpenedObject};
use mpwasm_types::memory::MAX_RETAINED_BUFFER;
use mpwasm_types::objects::{ObjectError, ObjectErrorKind};

/// Bits of a descriptor that are the index into the table of open objects.
const INDEX_BITS: u32 = 10;
/// Most objects that a call may have open: 1024, more than a task has use for, and few enough to look through.
const MAX_OPEN: usize = 1 << INDEX_BITS;
/// The bits of a descriptor above the index, of which the highest stays 0: a negative number is an error.
const CALL_MASK: u32 = (1 << (31 - INDEX_BITS)) - 1;

/// The shared objects that a call has open. One call uses it at a time.
#[derive(Default)]
pub(crate) struct OpenObjects {
    /// `None` in a process that has no objects.
    client: Option<Box<dyn ObjectClient>>,
    /// Number of calls that have used objects.
    calls: u32,
    /// Whether the running call has used objects.
    in_use: bool,
    open: Vec<OpenedObject>,
    reply: Vec<u8>,
}

impl OpenObjects {
    /// Creates a table of objects that `client` opens.
    pub(crate) fn new(client: Box<dyn ObjectClient>) -> Self {
        Self {
            client: Some(client),
            ..Self::default()
        }
    }

    /// Opens an object for the call `caller`, and returns its descriptor. An object that is open already keeps its descriptor.
    pub(crate) fn open(
        &mut self,
        caller: ObjectCaller,
        target: ObjectTarget<'_>,
    ) -> Result<i32, ObjectCallError> {
        let label = match target {
            ObjectTarget::Handle(handle) => &*handle.label,
            ObjectTarget::Name(name) => name,
        };
        let error = |kind, detail| ObjectError::new(kind, label, "open").with_detail(detail);
        let Some(client) = &mut self.client else {
            return Err(error(ObjectErrorKind::Unavailable, "this pool has no shared objects").into());
        };
        if !std::mem::replace(&mut self.in_use, true) {
            self.calls = self.calls.wrapping_add(1);
            client.start_call(caller);
        }
        let object = client.open(target)?;
        let index = match self.open.iter().position(|open| open.id == object.id) {
            Some(index) => index,
            None if self.open.len() == MAX_OPEN => {
                return Err(error(ObjectErrorKind::TooLarge, "1024 objects are open already").into());
            }
            None => {
                self.open.push(object);
                self.open.len() - 1
            }
        };
        // 21 bits above 10 bits: the sum fits 31.
        Ok((((self.calls & CALL_MASK) << INDEX_BITS) | index as u32).cast_signed())
    }

    /// Returns the object with this descriptor, or `None` if this call has not opened it.
    #[inline]
    pub(crate) fn get(&self, descriptor: i32) -> Option<&OpenedObject> {
        self.open.get(self.index(descriptor)?)
    }

    /// Returns the index of a descriptor of this call.
    #[inline]
    fn index(&self, descriptor: i32) -> Option<usize> {
        let descriptor = descriptor.cast_unsigned();
        let is_of_this_call = descriptor >> INDEX_BITS == self.calls & CALL_MASK;
        is_of_this_call.then_some(descriptor as usize & (MAX_OPEN - 1))
    }

    /// Calls an operation of an open object, and keeps its reply, which has the returned length.
    pub(crate) fn call(
        &mut self,
        descriptor: i32,
        operation: &str,
        args: &[u8],
        timeout: Option<Duration>,
    ) -> Result<usize, ObjectCallError> {
        self.reply = Vec::new();
        let object = self.index(descriptor).and_then(|index| self.open.get(index));
        let (Some(object), Some(client)) = (object, &mut self.client) else {
            return Err(ObjectError::new(ObjectErrorKind::Invalid, "", operation).into());
        };
        self.reply = client.call(object, operation, args, timeout)?;
        Ok(self.reply.len())
    }

    /// Returns the reply to the last request.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Replaces the reply to the last request.
    pub(crate) fn set_reply(&mut self, reply: Vec<u8>) {
        self.reply = reply;
    }

    /// Ends the running call: closes its objects and gives back what it holds.
    pub(crate) fn end_call(&mut self, succeeded: bool) {
        if !self.in_use && self.reply.is_empty() {
            return;
        }
        self.open.clear();
        self.reply.clear();
        if self.reply.capacity() > MAX_RETAINED_BUFFER {
            self.reply = Vec::new();
        }
        if std::mem::take(&mut self.in_use)
            && let Some(client) = &mut self.client
        {
            client.end_call(succeeded);
        }
    }
}
