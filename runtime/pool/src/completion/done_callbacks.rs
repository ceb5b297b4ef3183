//! The thread on which [`TaskHandle::on_done`](crate::completion::handle::TaskHandle::on_done) calls back.
//!
//! A thread of its own, started with the first call: the receiver must go on hearing outcomes whatever a user's
//! function does, or that function could wait for ever for a task of the same pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};

use mpwasm_types::outcome::Outcome;

/// A user's function.
pub type Hook = Box<dyn FnOnce(Outcome) + Send>;

/// See the module. The thread ends with the pool's last handle.
#[derive(Debug, Default)]
pub struct Hooks(Mutex<Option<mpsc::Sender<(Hook, Outcome)>>>);

impl Hooks {
    /// Calls `hook`, after those that were given before it.
    pub fn call(&self, hook: Hook, outcome: Outcome) {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let _ = sender.send((hook, outcome));
    }
}

fn start() -> std::io::Result<mpsc::Sender<(Hook, Outcome)>> {
    let (sender, calls) = mpsc::channel::<(Hook, Outcome)>();
    let run = move || {
        for (hook, outcome) in calls {
            // The panic was printed where it happened; the functions of other tasks are called all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| hook(outcome)));
        }
    };
    std::thread::Builder::new()
        .name("mpwasm-on-done".to_owned())
        .spawn(run)?;
    Ok(sender)
}
