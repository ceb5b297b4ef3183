//! Ids of clients, calls and waits.

use mpwasm_types::objects::CallNumber;

/// Id of a connection to the manager. It is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

/// Identifies a call among those of all clients. Locks, permits and leased items belong to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallKey {
    pub client: ClientId,
    pub call: CallNumber,
}

/// Id of a set of names that was granted to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScopeId(pub u64);

/// Id of a request that waits, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaitId(pub u64);
