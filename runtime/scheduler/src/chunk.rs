//! Chunks: tasks that travel together. To the scheduler a chunk is one task that ends step by step: each item that
//! comes out of it is a [`Task`] like any other, with an id and args of its own.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::Task;
use mpwasm_types::items;
use mpwasm_types::settings::LARGE_PAYLOAD;

/// The items of a chunk, as far as they are still together.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// The first one's id.
    next: u64,
    /// How many they are.
    left: u32,
    /// The length of those that ended, since the chunk was offered.
    length: Duration,
}

impl Task {
    /// A chunk of so many items, whose ids count from `id`. `None` when the args are not those of so many.
    #[must_use]
    pub fn chunk(
        id: u64,
        guest: u32,
        model: u32,
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
            next: id,
            left: count,
            length: Duration::ZERO,
        };
        let mut chunk = Self::new(id, guest, model, timeout, args);
        chunk.items = Some(items);
        Some(chunk)
    }

    /// Whether it is a chunk.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.items.is_some()
    }

    /// The id of what runs first: its own, or that of its first item.
    #[must_use]
    pub fn first_id(&self) -> u64 {
        self.items.map_or(self.id, |items| items.next)
    }

    /// Takes the first item out of a chunk that has others.
    pub(super) fn split_first(&mut self) -> Option<Self> {
        let left = self.items.as_mut().filter(|items| items.left > 1)?;
        let (args, _) = items::split_first(&self.args)?;
        let (len, args) = (args.len(), keep(&self.args, args));
        let item = Self::new(left.next, self.guest, self.model, self.timeout, args);
        self.args.advance(items::HEADER + len);
        left.next += 1;
        left.left -= 1;
        Some(item)
    }

    /// A task, or the items of a chunk.
    pub fn into_items(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || match rest.as_mut()?.split_first() {
            Some(item) => Some(item),
            None => rest.take().map(Self::into_last),
        })
    }

    /// The last item of a chunk; a task that is none as it is.
    pub(super) fn into_last(self) -> Self {
        if !self.is_chunk() {
            return self;
        }
        let args = items::split_first(&self.args).map_or(&[][..], |(args, _)| args);
        let args = keep(&self.args, args);
        Self::new(self.first_id(), self.guest, self.model, self.timeout, args)
    }

    /// What may have begun of a task that was claimed, and what has not: `begun` is the last item of a chunk that has, if
    /// the worker says so. The first one has in any case.
    pub(super) fn split_begun(mut self, begun: u64) -> (Vec<Self>, Option<Self>) {
        let mut items = Vec::new();
        loop {
            let is_last = self.first_id() >= begun;
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

    /// An item of this length ended. The length of all that ended since the chunk was offered.
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

/// The args of one item. It is held to account for these only, so it does not hold the others.
fn keep(all: &Bytes, args: &[u8]) -> Bytes {
    match args.len() {
        // The others are less: a chunk is full before.
        LARGE_PAYLOAD.. => all.slice_ref(args),
        _ => Bytes::copy_from_slice(args),
    }
}
