//! Who waits for an object, and who holds it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::MAX_LABEL;
use super::call_source::CallSource;
use super::error::MAX_OPERATION;
use super::spec::ObjectKind;
use crate::{bounded, nanos};

/// Most waits, and most holders, in an [`ObjectsStatus`].
pub const MAX_STATUS_CALLS: usize = 1000;

/// What a manager knows about the calls of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsStatus {
    /// Bytes that the objects take.
    pub memory: u64,
    /// Most bytes that they may take.
    pub memory_cap: u64,
    /// Number of objects.
    pub objects: u64,
    /// Calls that wait, the longest wait first. At most [`MAX_STATUS_CALLS`] are listed.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STATUS_CALLS>")]
    pub waiting: Vec<WaitingCall>,
    /// Calls that hold a lock, permits or leased items. At most [`MAX_STATUS_CALLS`] are listed.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_STATUS_CALLS>")]
    pub holders: Vec<HoldingCall>,
}

/// A call that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingCall {
    /// What the call belongs to.
    pub source: CallSource,
    /// What the object is.
    pub kind: ObjectKind,
    /// The object's label.
    #[serde(deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub object: String,
    /// The operation.
    #[serde(deserialize_with = "bounded::text::<_, MAX_OPERATION>")]
    pub operation: String,
    /// For how long.
    #[serde(with = "nanos")]
    pub waited: Duration,
}

/// A call that holds something of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingCall {
    /// What the call belongs to.
    pub source: CallSource,
    /// What the object is.
    pub kind: ObjectKind,
    /// The object's label.
    #[serde(deserialize_with = "bounded::text::<_, MAX_LABEL>")]
    pub object: String,
}
