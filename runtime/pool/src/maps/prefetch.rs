//! How far a map runs ahead of those who take its outcomes.

use crate::maps::reorder::ReorderBuffer;
use mpwasm_types::settings::MAX_INPUTS_AHEAD;

/// Tasks that are pushed together, when there is enough to do meanwhile.
const BATCH: usize = 64;
/// Chunks that are.
const CHUNKS: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Prefetch {
    workers: u64,
    /// Inputs that travel together.
    pub chunk_size: usize,
    /// What the user chose.
    pub fixed: Option<usize>,
}

impl Prefetch {
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
    fn limit(&self, reorder: &ReorderBuffer) -> u64 {
        match self.fixed {
            Some(fixed) => fixed.max(self.chunk_size) as u64,
            None => (reorder.taken() / 4).min(MAX_INPUTS_AHEAD).max(self.busy()),
        }
    }

    fn room(&self, reorder: &ReorderBuffer) -> u64 {
        self.limit(reorder).saturating_sub(reorder.outstanding())
    }

    /// Whether more inputs should be pulled: many at once, rather than a few for each that ends, and always whole chunks.
    pub fn wants_more(&self, reorder: &ReorderBuffer) -> bool {
        let most = BATCH.max(CHUNKS * self.chunk_size) as u64;
        let many = (self.limit(reorder) / 4).clamp(1, most);
        self.room(reorder) >= many.max(self.chunk_size as u64)
    }

    /// What is to be pulled now: so many batches of so many inputs. One, as long as a worker may idle for want of it.
    pub fn batches(&self, reorder: &ReorderBuffer) -> (usize, usize) {
        let room = usize::try_from(self.room(reorder)).unwrap_or(usize::MAX);
        let is_urgent = reorder.in_flight() < self.busy();
        match self.chunk_size {
            1 if is_urgent => (1, 1),
            1 => (1, room.clamp(1, BATCH)),
            size if is_urgent => (1, size),
            size => ((room / size).clamp(1, CHUNKS), size),
        }
    }
}
