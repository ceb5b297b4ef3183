//! The descriptors that the event loop waits for.

use mpwasm_types::ids::WorkerId;

/// A descriptor that the event loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedDescriptor {
    /// The socket of the parent.
    Parent,
    /// The connection for requests of the parent.
    Requests,
    /// The pipe of tasks.
    Tasks,
    /// The wake-up of the callback thread.
    Callbacks,
    /// The socket of a worker.
    Worker(WorkerId),
    /// The process of a worker.
    Exit(WorkerId),
}

/// Smallest key of a descriptor of a worker.
const FIRST_WORKER: u64 = 4;

impl WatchedDescriptor {
    /// Returns the number of descriptors of a pool with this many slots of workers.
    pub fn count(slots: usize) -> usize {
        FIRST_WORKER as usize + 2 * slots
    }

    /// Returns the key by which it is registered. The keys are in the order in which the event loop handles them.
    pub fn key(self) -> u64 {
        match self {
            Self::Parent => 0,
            Self::Requests => 1,
            Self::Tasks => 2,
            Self::Callbacks => 3,
            Self::Worker(worker) => FIRST_WORKER + 2 * u64::from(worker.0),
            Self::Exit(worker) => FIRST_WORKER + 2 * u64::from(worker.0) + 1,
        }
    }

    /// Returns the descriptor with this key.
    pub fn of(key: u64) -> Self {
        match key {
            0 => Self::Parent,
            1 => Self::Requests,
            2 => Self::Tasks,
            3 => Self::Callbacks,
            key => {
                let worker = WorkerId(((key - FIRST_WORKER) / 2) as u32);
                match (key - FIRST_WORKER).is_multiple_of(2) {
                    true => Self::Worker(worker),
                    false => Self::Exit(worker),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_has_a_key_of_its_own_below_their_count() {
        let workers = (0..5).map(WorkerId);
        let of_workers =
            workers.flat_map(|worker| [WatchedDescriptor::Worker(worker), WatchedDescriptor::Exit(worker)]);
        let all = [
            WatchedDescriptor::Parent,
            WatchedDescriptor::Requests,
            WatchedDescriptor::Tasks,
            WatchedDescriptor::Callbacks,
        ]
        .into_iter()
        .chain(of_workers);
        let mut count = 0;
        for (key, descriptor) in all.enumerate() {
            assert_eq!(descriptor.key(), key as u64);
            assert_eq!(WatchedDescriptor::of(key as u64), descriptor);
            count += 1;
        }
        assert_eq!(WatchedDescriptor::count(5), count);
    }
}
