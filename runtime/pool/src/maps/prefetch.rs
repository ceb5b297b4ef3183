//! Decides how many inputs a map pulls ahead of the consumer of its outcomes.

use crate::maps::reorder::ReorderBuffer;

/// Inputs that a map reads ahead of the outcomes that were taken from it.
const MAX_INPUTS_AHEAD: u64 = 4096;

/// Most tasks that are pushed together while the workers are busy. A larger batch would not save measurable time.
const BATCH: usize = 64;
/// Most chunks that are pushed together.
const CHUNKS: usize = 8;

/// The number of inputs that a map may have outstanding.
#[derive(Debug)]
pub struct Prefetch {
    workers: u64,
    /// Inputs per chunk.
    pub chunk_size: usize,
    /// The bound that the user set.
    pub fixed: Option<usize>,
}

impl Prefetch {
    /// Returns the default for a pool of `workers` workers.
    pub fn new(workers: u32) -> Self {
        Self {
            workers: workers.into(),
            chunk_size: 1,
            fixed: None,
        }
    }

    /// Returns the number of inputs that keep all workers busy: one running and one waiting chunk for each.
    fn busy_inputs(&self) -> u64 {
        2 * self.workers * self.chunk_size as u64
    }

    /// Returns how many inputs may be outstanding. The bound grows with the outcomes taken, as a consumer that took many
    /// will probably take more.
    fn limit(&self, reorder: &ReorderBuffer) -> u64 {
        match self.fixed {
            Some(fixed) => fixed.max(self.chunk_size) as u64,
            None => (reorder.taken() / 4)
                .min(MAX_INPUTS_AHEAD)
                .max(self.busy_inputs()),
        }
    }

    /// Returns how many further inputs may be outstanding.
    fn room(&self, reorder: &ReorderBuffer) -> u64 {
        self.limit(reorder).saturating_sub(reorder.outstanding())
    }

    /// Returns whether more inputs should be pulled. There must be room for a batch and for a whole chunk, so that inputs
    /// are not pulled one by one as tasks end.
    pub fn wants_more(&self, reorder: &ReorderBuffer) -> bool {
        let most = BATCH.max(CHUNKS * self.chunk_size) as u64;
        let many = (self.limit(reorder) / 4).clamp(1, most);
        self.room(reorder) >= many.max(self.chunk_size as u64)
    }

    /// Returns how many batches to pull now, and how many inputs each has. While a worker may be idle, it is one batch of
    /// one input or chunk.
    pub fn batches(&self, reorder: &ReorderBuffer) -> (usize, usize) {
        let room = usize::try_from(self.room(reorder)).unwrap_or(usize::MAX);
        let is_urgent = reorder.in_flight() < self.busy_inputs();
        match self.chunk_size {
            1 if is_urgent => (1, 1),
            1 => (1, room.clamp(1, BATCH)),
            size if is_urgent => (1, size),
            size => ((room / size).clamp(1, CHUNKS), size),
        }
    }
}
