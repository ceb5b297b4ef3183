//! Ids of tasks, guests, models, workers, offers and requests: a type per kind, so that none is taken for another.
//!
//! Each is a number, and encoded as one. [`TaskId`] and [`DispatchId`] count in the same sequence.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Defines an id that is a number.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for $number {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// Defines an id that is also an index of a list.
macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        id! { $(#[$doc])* $name(u32) }

        impl $name {
            /// Returns the place in a list that is ordered by these ids.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// Id of a pool among those that a process has started.
    PoolId(u64)
}

id! {
    /// Id of a task in its pool, from 0 in the order of acceptance.
    TaskId(u64)
}

id! {
    /// Id by which the dispatcher knows a task or a chunk: that of the task, or of the chunk's first item.
    DispatchId(u64)
}

id! {
    /// Id of an offer of one task to one worker process, unique per process.
    OfferId(u64)
}

id! {
    /// Number of a request, which the reply repeats.
    RequestId(u64)
}

index! {
    /// Index of a guest in its pool, in the order of loading.
    GuestId
}

index! {
    /// Index of a model in its guest, in the order of [`GuestInfo::models`](crate::guest_info::GuestInfo::models).
    ModelId
}

index! {
    /// Index of a worker slot, from 0. The slot stays when its process is replaced.
    WorkerId
}

index! {
    /// Number of a worker as users see it, from 0. It stays when its process is replaced.
    WorkerNumber
}

impl Add<u64> for TaskId {
    type Output = Self;

    /// Returns the id of the task that was accepted `count` tasks later. Saturates.
    fn add(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl Sub for TaskId {
    type Output = u64;

    /// Returns how many tasks were accepted from `first` to this one. 0 if this one is older.
    fn sub(self, first: Self) -> u64 {
        self.0.saturating_sub(first.0)
    }
}

impl DispatchId {
    /// Returns the id of the task or chunk that begins with this task.
    #[must_use]
    pub const fn from_first(task: TaskId) -> Self {
        Self(task.0)
    }

    /// Returns the id of the task, or of the chunk's first item.
    #[must_use]
    pub const fn first(self) -> TaskId {
        TaskId(self.0)
    }
}

impl WorkerId {
    /// Returns the number of slots in a pool of `size` workers. If processes are replaced after a number of tasks, each worker
    /// has two slots, so that the next process can start while the previous one exits.
    #[must_use]
    pub const fn slots(size: u32, tasks_per_process: Option<u32>) -> u32 {
        match tasks_per_process {
            None => size,
            Some(_) => 2 * size,
        }
    }

    /// Returns the worker of this slot in a pool of `size` workers. The two slots of a worker are `size` apart.
    #[must_use]
    pub const fn worker_number(self, size: u32) -> WorkerNumber {
        WorkerNumber(self.0 % size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_encoded_and_shown_as_its_number() {
        assert_eq!(serde_json::to_string(&TaskId(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<GuestId>("3").unwrap(), GuestId(3));
        assert_eq!(format!("{:>4}", TaskId(7)), "   7");
    }

    #[test]
    fn the_two_slots_of_a_worker_have_its_number() {
        assert_eq!(WorkerId::slots(3, Some(5)), 6);
        assert_eq!(WorkerId(1).worker_number(3), WorkerNumber(1));
        assert_eq!(WorkerId(4).worker_number(3), WorkerNumber(1));
    }
}
