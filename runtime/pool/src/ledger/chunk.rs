//! Chunks in the ledger: many items of a map that are sent as one message and share an instance. Each item is a task with an id
//! and an outcome of its own.

use std::sync::Arc;

use crate::completion::cancellation::CancellationToken;
use crate::completion::queue::ResultQueue;
use crate::guest::Guest;
use crate::ledger::task::{Recipient, TaskContext};
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::items;
use mpwasm_types::task::TaskSpec;
use mpwasm_types::time::Time;

/// Data that the items of a chunk share.
#[derive(Debug)]
pub struct Chunk {
    /// Their guest.
    pub guest: Guest,
    /// What they run: a [`TaskInput::Chunk`](mpwasm_types::task::TaskInput::Chunk).
    pub spec: TaskSpec<Vec<u8>>,
    /// When they were accepted.
    pub accepted: Time,
    /// Queue for their outcomes, and the number of the first item's input there.
    pub results: (Arc<ResultQueue>, u64),
    /// The token that cancels them.
    pub token: Option<CancellationToken>,
}

/// A chunk in the ledger.
#[derive(Debug)]
pub struct OpenChunk {
    chunk: Arc<Chunk>,
    /// Whether each item has ended.
    ended: Box<[bool]>,
    /// Number of items that have not ended.
    left: u32,
    /// Bytes of output and log received for all items.
    output_bytes: u64,
}

/// An item that ends.
#[derive(Debug)]
pub struct ChunkItem {
    chunk: Arc<Chunk>,
    index: u32,
    /// Whether all other items had ended before.
    is_last: bool,
}

impl OpenChunk {
    /// Creates a chunk of which no item has ended.
    pub fn new(chunk: Arc<Chunk>) -> Self {
        Self {
            ended: vec![false; chunk.spec.input.count() as usize].into(),
            left: chunk.spec.input.count(),
            output_bytes: 0,
            chunk,
        }
    }

    /// Returns whether the chunk has this item and it has not ended.
    pub fn has(&self, index: u64) -> bool {
        usize::try_from(index).is_ok_and(|index| self.ended.get(index) == Some(&false))
    }

    /// Returns the number of items, including ended ones.
    pub fn items(&self) -> u64 {
        self.ended.len() as u64
    }

    /// Returns the counter of bytes of output and log received for all items.
    pub fn output_bytes(&mut self) -> &mut u64 {
        &mut self.output_bytes
    }

    /// Returns whether its outcomes go to `results`.
    pub fn is_for(&self, results: &Arc<ResultQueue>) -> bool {
        Arc::ptr_eq(&self.chunk.results.0, results)
    }

    /// Ends an item. Returns `None` when it does not exist or has ended before.
    pub fn end(&mut self, index: u64) -> Option<ChunkItem> {
        let ended = self.ended.get_mut(usize::try_from(index).ok()?)?;
        if std::mem::replace(ended, true) {
            return None;
        }
        self.left -= 1;
        Some(ChunkItem {
            chunk: Arc::clone(&self.chunk),
            index: u32::try_from(index).ok()?,
            is_last: self.left == 0,
        })
    }

    /// Ends all items that have not ended.
    pub fn end_all(mut self) -> Vec<(u64, ChunkItem)> {
        let all = 0..u64::from(self.chunk.spec.input.count());
        all.filter_map(|index| Some((index, self.end(index)?))).collect()
    }
}

impl ChunkItem {
    /// Returns whether it is the last item of its chunk to end.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Returns the parts of the outcome that describe the item. The args are included only for an error.
    pub fn context(&self, is_error: bool) -> TaskContext<'_> {
        let Chunk {
            guest,
            spec,
            accepted,
            ..
        } = &*self.chunk;
        // Finding the args takes a scan over all items before, so this is done only when they are shown.
        let args = is_error
            .then(|| items::iter(spec.input.bytes()).nth(self.index as usize))
            .flatten();
        TaskContext {
            guest,
            model: spec.model,
            key: None,
            args: args
                .and_then(|args| str::from_utf8(args).ok())
                .unwrap_or_default(),
            accepted: *accepted,
        }
    }

    /// Returns the recipient of the outcome.
    pub fn recipient(&self) -> Recipient {
        let (results, first) = &self.chunk.results;
        Recipient::Results(Arc::clone(results), first + u64::from(self.index))
    }

    /// Returns the token that cancels its chunk.
    pub fn token(&self) -> Option<&CancellationToken> {
        self.chunk.token.as_ref()
    }

    /// Returns the id of the chunk, given the item's own.
    pub fn chunk_id(&self, id: TaskId) -> DispatchId {
        DispatchId(id.0 - u64::from(self.index))
    }
}
