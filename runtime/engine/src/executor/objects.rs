//! Objects that calls share with others.

use std::io;

use super::Executor;
use crate::object_client::ObjectClient;
use crate::open_objects::OpenObjects;

impl Executor {
    /// Sets the client through which all calls reach shared objects. Until then, opening one fails. Call it before the sandbox is
    /// entered.
    ///
    /// # Errors
    /// Returns an error if the process has no file descriptor left.
    pub fn set_object_client(&mut self, client: Box<dyn ObjectClient>) -> io::Result<()> {
        self.deadline.allow_waits()?;
        self.idle_state().objects = Some(Box::new(OpenObjects::new(client)));
        Ok(())
    }
}
