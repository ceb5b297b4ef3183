//! How far a map runs ahead of those who take its outcomes.

use super::sorter::Sorter;
use crate::settings::MAX_AHEAD;

/// Tasks that are pushed together, when there is enough to do meanwhile.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Ahead {
    workers: u64,
    /// Inputs that travel together.
    pub chunk_size: usize,
    /// What the user chose.
    pub fixed: Option<usize>,
}

impl Ahead {
    /// For a pool of so many workers.
    pub fn new(workers: u32) -> Self {
        Self {
            workers: workers.into(),
            chunk_size: 1,
            fixed: None,
        }
    }

    /// What keeps all workers busy: a chunk that each runs, and one that waits for it.
    fn busy(&self) -> u64 {
        2 * self.workers * self.chunk_size as u64
    }

    /// Inputs that may be outstanding. Who has taken many outcomes will take more.
    fn limit(&self, sorter: &Sorter) -> u64 {
        match self.fixed {
            Some(fixed) => fixed.max(self.chunk_size) as u64,
            None => (sorter.taken() / 4).min(MAX_AHEAD).max(self.busy()),
        }
    }

    /// Whether more inputs should be pulled: a whole batch at once, rather than one for each that ends.
    pub fn wants_more(&self, sorter: &Sorter) -> bool {
        let limit = self.limit(sorter);
        let room = limit.saturating_sub(sorter.outstanding());
        room >= (limit / 4).max(1).min(self.chunk_size.max(BATCH) as u64)
    }

    /// How many: one chunk, or what a worker that idles should have now, or what travels well together.
    pub fn batch(&self, sorter: &Sorter) -> usize {
        let room = self.limit(sorter).saturating_sub(sorter.outstanding());
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        match self.chunk_size {
            1 if sorter.in_flight() < self.busy() => 1,
            1 => room.clamp(1, BATCH),
            size => size.min(room.max(1)),
        }
    }
}
