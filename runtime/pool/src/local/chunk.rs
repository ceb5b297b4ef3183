//! A chunk: many items of a map that travel as one message and share an instance. Each item is a task with an id and
//! an outcome of its own; here is what the ledger knows of those that have not ended.

use std::sync::Arc;

use crate::completion::cancellation::CancellationToken;
use crate::guest::Guest;
use crate::local::ledger::{Recipient, TaskContext};
use crate::maps::ResultQueue;
use mpwasm_types::items;
use mpwasm_types::time::Time;

/// What the items of a chunk have in common.
#[derive(Debug)]
pub struct Chunk {
    /// Their guest.
    pub guest: Guest,
    /// Their model, in the order of the guest's.
    pub model: u32,
    /// The args of each, see [`items`].
    pub args: Vec<u8>,
    /// How many they are.
    pub items: u32,
    /// When they were accepted.
    pub accepted: Time,
    /// Who takes their outcomes, and the first one's place there.
    pub results: (Arc<ResultQueue>, u64),
    /// What cancels them.
    pub token: Option<CancellationToken>,
}

/// A chunk in the ledger.
#[derive(Debug)]
pub struct OpenChunk {
    chunk: Arc<Chunk>,
    /// By item: whether it has ended.
    ended: Box<[bool]>,
    left: u32,
    /// Bytes that the dispatcher has output_bytes of the output and log of all items.
    output_bytes: u64,
}

/// An item that ends.
#[derive(Debug)]
pub struct ChunkItem {
    chunk: Arc<Chunk>,
    index: u32,
    /// The others had ended before.
    is_last: bool,
}

impl OpenChunk {
    /// None of its items has ended.
    pub fn new(chunk: Arc<Chunk>) -> Self {
        Self {
            ended: vec![false; chunk.items as usize].into(),
            left: chunk.items,
            output_bytes: 0,
            chunk,
        }
    }

    /// Whether this item is one of the chunk's and has not ended.
    pub fn has(&self, index: u64) -> bool {
        usize::try_from(index).is_ok_and(|index| self.ended.get(index) == Some(&false))
    }

    /// How many items it has, with those that have ended.
    pub fn items(&self) -> u64 {
        self.ended.len() as u64
    }

    /// Bytes that the dispatcher has output_bytes of the output and log of all items.
    pub fn output_bytes(&mut self) -> &mut u64 {
        &mut self.output_bytes
    }

    /// Whether its outcomes go there.
    pub fn is_for(&self, results: &Arc<ResultQueue>) -> bool {
        Arc::ptr_eq(&self.chunk.results.0, results)
    }

    /// The item ends. `None` when there is no such one, or it has ended before.
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

    /// All items that have not ended do now.
    pub fn end_all(mut self) -> Vec<(u64, ChunkItem)> {
        let all = 0..u64::from(self.chunk.items);
        all.filter_map(|index| Some((index, self.end(index)?))).collect()
    }
}

impl ChunkItem {
    /// Whether its chunk has ended with it.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// What its outcome says of it.
    pub fn context(&self, is_error: bool) -> TaskContext<'_> {
        let Chunk {
            guest,
            model,
            args,
            accepted,
            ..
        } = &*self.chunk;
        // They are looked for only where they are shown: their place is behind all those before.
        let args = is_error
            .then(|| items::iter(args).nth(self.index as usize))
            .flatten();
        TaskContext {
            guest,
            model: *model,
            key: None,
            args: args
                .and_then(|args| str::from_utf8(args).ok())
                .unwrap_or_default(),
            accepted: *accepted,
        }
    }

    /// Who takes its outcome.
    pub fn recipient(&self) -> Recipient {
        let (results, first) = &self.chunk.results;
        Recipient::Results(Arc::clone(results), first + u64::from(self.index))
    }

    /// What cancels its chunk.
    pub fn token(&self) -> Option<&CancellationToken> {
        self.chunk.token.as_ref()
    }

    /// The id of its chunk's first item, when its own is `id`.
    pub fn first(&self, id: u64) -> u64 {
        id - u64::from(self.index)
    }
}
