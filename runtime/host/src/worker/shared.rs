//! The state of a worker that its task thread and its watchdog share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ChildError;
use crate::manager_client::WaitReporter;
use crate::message_batch::MessageBatch;
use mpwasm_engine::OpenedObject;
use mpwasm_engine::watchdog::WatchdogHandle;
use mpwasm_protocol::messages::FromWorker;
use mpwasm_sandbox::child::EXIT_FAILURE;
use mpwasm_system::clock;
use mpwasm_system::process::exit_now;
use mpwasm_types::bounded::{MAX_NOTE, cut};
use mpwasm_types::ids::OfferId;

/// State that the two threads of a worker share.
#[derive(Debug)]
pub(super) struct SharedWorkerState {
    pub watchdog: Arc<WatchdogHandle>,
    pub batch: Arc<MessageBatch>,
    /// The offer whose task runs or ran last, as bits. It is set before the deadline is armed, so that the watchdog never
    /// pairs a call with the offer of an earlier one.
    pub running: AtomicU64,
    /// The offer that was cancelled last, as bits.
    pub cancelled: AtomicU64,
}

impl SharedWorkerState {
    /// Sends the dispatcher the reason why this worker can't load its guests, and exits.
    pub fn unable(&self, error: &ChildError) -> ! {
        let text = error.to_string();
        self.batch
            .put(&FromWorker::LoadFailed(cut(&text, MAX_NOTE)), clock::now());
        self.batch.flush();
        exit_now(EXIT_FAILURE)
    }
}

impl WaitReporter for Arc<SharedWorkerState> {
    fn waiting(&self, object: &OpenedObject, operation: &str) {
        let message = FromWorker::Waiting {
            offer: OfferId(self.running.load(Ordering::Relaxed)),
            kind: object.spec.kind(),
            object: &object.label,
            operation,
        };
        self.batch.put(&message, clock::now());
        self.batch.flush();
    }

    fn resumed(&self) {
        let offer = OfferId(self.running.load(Ordering::Relaxed));
        self.batch.put(&FromWorker::Resumed(offer), clock::now());
        self.batch.flush();
    }
}
