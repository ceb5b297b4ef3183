//! The clients of a manager, and their calls.

use std::collections::{BTreeMap, BTreeSet};

use mpwasm_types::objects::{CallNumber, CallSource, ObjectId};

use crate::bounds::{MAX_MEMBER_CALLS, MAX_OWNER_CALLS};
use crate::keys::{ScopeId, WaitId};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRole {
    /// The program that started the manager: everything.
    Owner,
    /// A pool's dispatcher: attach members, and read the status.
    Pool(ScopeId),
    /// A process that runs guests: open objects and use them.
    Member(ScopeId),
}

impl ClientRole {
    /// Returns whether the client opens and uses objects.
    pub(crate) const fn uses_objects(self) -> bool {
        matches!(self, Self::Owner | Self::Member(_))
    }

    /// Returns the names that the client may open.
    pub(crate) const fn scope(self) -> Option<ScopeId> {
        match self {
            Self::Owner => None,
            Self::Pool(scope) | Self::Member(scope) => Some(scope),
        }
    }

    /// Returns how many calls it may have at once.
    pub(crate) const fn max_calls(self) -> usize {
        match self {
            Self::Owner => MAX_OWNER_CALLS,
            Self::Pool(_) => 0,
            Self::Member(_) => MAX_MEMBER_CALLS,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub role: ClientRole,
    /// The objects that it has opened, and no others, can be used.
    pub opened: BTreeSet<ObjectId>,
    /// Its calls that have not ended.
    pub calls: BTreeMap<CallNumber, CallState>,
    /// Bytes of replies that its socket has not taken.
    pub unsent: u64,
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) struct CallState {
    pub source: CallSource,
    /// Its request that waits. It has one at most.
    pub waiting: Option<WaitId>,
    /// Objects of which it may hold something.
    pub touched: BTreeSet<ObjectId>,
}

impl Client {
    pub(crate) const fn new(role: ClientRole) -> Self {
        Self {
            role,
            opened: BTreeSet::new(),
            calls: BTreeMap::new(),
            unsent: 0,
        }
    }
}
