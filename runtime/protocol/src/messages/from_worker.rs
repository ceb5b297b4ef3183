//! Messages from a worker to the dispatcher.

use std::time::Duration;

use mpwasm_types::bounded;
use mpwasm_types::bounded::MAX_NOTE;
use mpwasm_types::ids::OfferId;
use mpwasm_types::nanos;
use mpwasm_types::objects::{MAX_LABEL, MAX_OPERATION, ObjectKind};
use serde::{Deserialize, Serialize};

use super::call::{CallResult, GuestOutput, ResourceUsage};

/// Reports to the dispatcher what a worker does.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker<'a> {
    /// Its guests are loaded.
    Ready,
    /// A guest can't be loaded, and the worker exits. Holds the reason.
    LoadFailed(#[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NOTE>")] &'a str),
    /// The task of this offer has ended, or the next item of its chunk.
    Ended {
        /// The offer of the task.
        offer: OfferId,
        /// Wall time from the claim to the end.
        #[serde(with = "nanos")]
        run: Duration,
        /// What the call used.
        measured: ResourceUsage,
        /// Its result or failure. The last field, since a large payload is sent without copying it.
        #[serde(borrow)]
        ending: CallResult<'a>,
    },
    /// The offer had been revoked before the worker could claim it.
    Skipped(OfferId),
    /// The running task waits for a shared object, and has done so for a while.
    Waiting {
        /// The offer of the task.
        offer: OfferId,
        /// What the object is.
        kind: ObjectKind,
        /// The object's label.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_LABEL>")]
        object: &'a str,
        /// The operation that waits.
        #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_OPERATION>")]
        operation: &'a str,
    },
    /// The wait that was reported last is over. The end of the task ends it, too.
    Resumed(OfferId),
    /// The running task has printed or logged.
    #[serde(borrow)]
    Output(GuestOutput<'a>),
}
