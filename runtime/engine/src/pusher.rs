//! Where the tasks go that a guest's `tasks` export pushes.

use mpwasm_types::ids::TaskId;

/// Takes the tasks that a guest's `tasks` export pushes.
pub trait Pusher: Send {
    /// Accepts one task, the JSON object of the guest ABI as the guest wrote it, and returns its id.
    ///
    /// May block for backpressure. An implementation then pauses the deadline meanwhile
    /// ([`WatchdogHandle::pause`](crate::watchdog::WatchdogHandle::pause)).
    ///
    /// # Errors
    /// Returns the reason if the JSON is no task, or if no more tasks are accepted. The guest traps with that text.
    fn push(&mut self, task: &[u8]) -> Result<TaskId, String>;
}
