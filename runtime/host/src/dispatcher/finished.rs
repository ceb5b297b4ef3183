//! Tasks that have ended: their results, and the messages that report them to the parent.

use bytes::Bytes;

use mpwasm_protocol::messages::{CallResult, Execution, FromDispatcher};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_scheduler::ScheduledTask;
use mpwasm_types::outcome::{CallbackStatus, Failure, TaskError};

/// A task that has ended, and whose callback may not have run yet.
#[derive(Debug)]
pub struct Finished {
    /// The task.
    pub task: ScheduledTask,
    /// Its result (one line of JSON), or why it failed.
    pub ending: Result<Bytes, Failure>,
    /// Where and how long it ran, if it did.
    pub ran: Option<Execution>,
}

impl Finished {
    /// Returns the bytes that it holds.
    pub fn bytes(&self) -> usize {
        let ending = match &self.ending {
            Ok(result) => result.len(),
            Err(failure) => {
                let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
                failure.message.len() + failure.data.as_ref().map_or(0, String::len) + backtrace
            }
        };
        ending + self.task.size()
    }
}

/// Returns the error object that the guest's `error_callback` reads, as JSON.
pub fn error_object(task: &ScheduledTask, failure: &Failure) -> Bytes {
    let args = String::from_utf8_lossy(task.spec.input.bytes());
    let error = TaskError::new(failure.clone(), &args, task.task_id(), task.attempt);
    serde_json::to_vec(&error)
        .expect("an error object has only string keys")
        .into()
}

/// Sends the outcome of a task to the parent.
pub fn report(finished: &Finished, callback: CallbackStatus, uplink: &mut SendBuffer) {
    let outcome = |ending| FromDispatcher::Outcome {
        id: finished.task.task_id(),
        ran: finished.ran,
        callback,
        ending,
    };
    match &finished.ending {
        Ok(result) => uplink.put_shared(result, |result| outcome(CallResult::Ok(result))),
        Err(failure) => uplink.put(&outcome(CallResult::Failed(failure.clone()))),
    }
}
