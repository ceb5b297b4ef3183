//! Chunks: tasks that are offered together. The scheduler treats a chunk as one task that ends item by item. Each item that ends
//! becomes a [`ScheduledTask`] with its own id and args.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::task::ScheduledTask;
use mpwasm_types::ids::{DispatchId, TaskId};
use mpwasm_types::items;
use mpwasm_types::memory::LARGE_PAYLOAD;
use mpwasm_types::task::{TaskInput, TaskSpec};

impl ScheduledTask {
    /// Removes the first item from a chunk that has at least two.
    pub(super) fn split_first(&mut self) -> Option<Self> {
        let TaskInput::Chunk { items: left, args } = &mut self.spec.input else {
            return None;
        };
        if *left < 2 {
            return None;
        }
        let (first, _) = items::split_first(args)?;
        let (len, first) = (first.len(), keep(args, first));
        args.advance(items::HEADER + len);
        *left -= 1;
        let item = self.item(first);
        self.task_id = self.task_id + 1;
        Some(item)
    }

    /// Returns the first item of this chunk as a task with these args.
    fn item(&self, args: Bytes) -> Self {
        let spec = TaskSpec {
            input: TaskInput::Json(args),
            ..self.spec
        };
        Self::new(DispatchId::from_first(self.task_id), spec, None)
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
        let TaskInput::Chunk { args, .. } = &self.spec.input else {
            return self;
        };
        let last = items::split_first(args).map_or(&[][..], |(last, _)| last);
        self.item(keep(args, last))
    }

    /// Splits a claimed task into the items that may have begun and the rest. `begun` is the last item that has begun, as the
    /// worker claims. The first item has begun in any case.
    pub(super) fn split_begun(mut self, begun: TaskId) -> (Vec<Self>, Option<Self>) {
        let mut items = Vec::new();
        loop {
            let is_last = self.task_id >= begun;
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

    /// Adds the run time of an item that ended, and returns the total. For a task that is not a chunk it returns `length`.
    pub(super) fn note_length(&mut self, length: Duration) -> Duration {
        if !self.spec.input.is_chunk() {
            return length;
        }
        self.items_length = self.items_length.saturating_add(length);
        self.items_length
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
