//! Chunks: tasks that are offered together. The scheduler treats a chunk as one task that ends item by item. Each item that ends
//! becomes a [`Task`] with its own id and args.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::Task;
use mpwasm_types::ids::{DispatchId, GuestId, ModelId, TaskId};
use mpwasm_types::items;
use mpwasm_types::settings::LARGE_PAYLOAD;

/// The items of a chunk that have not ended.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// Id of the first item.
    next: TaskId,
    /// Number of items.
    left: u32,
    /// Total run time of the items that ended since the chunk was offered.
    length: Duration,
}

impl Task {
    /// Creates a chunk of `count` items with ids from `id`. `None` if the args do not have exactly `count` items.
    #[must_use]
    pub fn chunk(
        id: DispatchId,
        guest: GuestId,
        model: ModelId,
        timeout: Duration,
        count: u32,
        args: Bytes,
    ) -> Option<Self> {
        let found = items::iter(&args).count();
        let bytes: usize = items::iter(&args).map(|args| items::HEADER + args.len()).sum();
        if count == 0 || found as u64 != u64::from(count) || bytes != args.len() {
            return None;
        }
        let items = Items {
            next: id.first(),
            left: count,
            length: Duration::ZERO,
        };
        let mut chunk = Self::new(id, guest, model, timeout, args);
        chunk.items = Some(items);
        Some(chunk)
    }

    /// Returns whether this is a chunk.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.items.is_some()
    }

    /// Returns the id of its first item, or its own id if it is not a chunk.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.items.map_or_else(|| self.id.first(), |items| items.next)
    }

    /// Removes the first item from a chunk that has at least two.
    pub(super) fn split_first(&mut self) -> Option<Self> {
        let left = self.items.as_mut().filter(|items| items.left > 1)?;
        let (args, _) = items::split_first(&self.args)?;
        let (len, args) = (args.len(), keep(&self.args, args));
        let item = Self::new(
            DispatchId::from_first(left.next),
            self.guest,
            self.model,
            self.timeout,
            args,
        );
        self.args.advance(items::HEADER + len);
        left.next = left.next + 1;
        left.left -= 1;
        Some(item)
    }

    /// Splits a chunk into its items. A task that is not a chunk is the only item.
    pub fn into_items(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || match rest.as_mut()?.split_first() {
            Some(item) => Some(item),
            None => rest.take().map(Self::into_last),
        })
    }

    /// Converts a chunk to its last item. A task that is not a chunk is returned unchanged.
    pub(super) fn into_last(self) -> Self {
        if !self.is_chunk() {
            return self;
        }
        let args = items::split_first(&self.args).map_or(&[][..], |(args, _)| args);
        let args = keep(&self.args, args);
        Self::new(
            DispatchId::from_first(self.task_id()),
            self.guest,
            self.model,
            self.timeout,
            args,
        )
    }

    /// Splits a claimed task into the items that may have begun and the rest. `begun` is the last item that has begun, as the
    /// worker claims. The first item has begun in any case.
    pub(super) fn split_begun(mut self, begun: TaskId) -> (Vec<Self>, Option<Self>) {
        let mut items = Vec::new();
        loop {
            let is_last = self.task_id() >= begun;
            let Some(item) = self.split_first() else {
                items.push(self.into_last());
                return (items, None);
            };
            items.push(item);
            if is_last {
                return (items, Some(self));
            }
        }
    }

    /// Adds the run time of an item that ended, and returns the total since the chunk was offered.
    pub(super) fn note_length(&mut self, length: Duration) -> Duration {
        match &mut self.items {
            Some(items) => {
                items.length = items.length.saturating_add(length);
                items.length
            }
            None => length,
        }
    }
}

/// Returns the args of one item without keeping the chunk's other args in memory.
fn keep(all: &Bytes, args: &[u8]) -> Bytes {
    match args.len() {
        // A chunk is full at less, so the other items are smaller than this one.
        LARGE_PAYLOAD.. => all.slice_ref(args),
        _ => Bytes::copy_from_slice(args),
    }
}
