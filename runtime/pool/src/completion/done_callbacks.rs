//! The thread on which [`TaskHandle::on_done`](crate::completion::handle::TaskHandle::on_done) calls back.
//!
//! It is started with the first call. User functions do not run on the receiver's thread: the receiver must continue to
//! handle outcomes, as such a function may wait for a task of the same pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use crate::sync::Mutex;
use mpwasm_types::outcome::Outcome;

/// A function that the user passed to `on_done`.
pub type DoneCallback = Box<dyn FnOnce(Outcome) + Send>;

/// Sends `on_done` functions to their thread, which ends with the pool's last handle.
#[derive(Debug, Default)]
pub struct DoneCallbacks(Mutex<Option<mpsc::Sender<(DoneCallback, Outcome)>>>);

impl DoneCallbacks {
    /// Queues `callback` behind earlier ones.
    pub fn call(&self, callback: DoneCallback, outcome: Outcome) {
        let mut thread = self.0.lock();
        let sender = match &mut *thread {
            Some(sender) => sender,
            none => match start() {
                Ok(sender) => none.insert(sender),
                Err(error) => {
                    tracing::error!("the thread for `on_done` can't be started: {error}");
                    return;
                }
            },
        };
        // The thread ends only when its sender does.
        let _ = sender.send((callback, outcome));
    }
}

fn start() -> std::io::Result<mpsc::Sender<(DoneCallback, Outcome)>> {
    let (sender, calls) = mpsc::channel::<(DoneCallback, Outcome)>();
    let run = move || {
        for (callback, outcome) in calls {
            // The panic hook has printed the panic. The other functions are called nevertheless.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(outcome)));
        }
    };
    std::thread::Builder::new()
        .name("mpwasm-on-done".to_owned())
        .spawn(run)?;
    Ok(sender)
}
