//! Memory that a worker keeps between tasks, and when it gives it back to the kernel.
//!
//! When an instance ends, the engine restores the pages of its memory that are present, up to a bound, and keeps them
//! (`linear_memory_keep_resident`). The next task in this slot can write them without page faults. This has two costs: the
//! memory itself, and the time to restore every page that is present, after each task. The engine can't tell the pages that
//! this task wrote from those that an earlier one did.
//!
//! So [`ResidentMemory`] gives pages back
//!
//! - beyond the bound of all slots together. The engine's bound is for each slot, and counts only pages that the last
//!   instance could access. Pages beyond its memory stay present;
//! - from time to time while tasks run, to see whether they still write as much ([`Probe`]);
//! - all of them, when the worker has had no task for a while ([`ResidentMemory::release`]).
//!
//! Memories of at most [`SMALL`] bytes are not counted. Most tasks have no larger one, and they cost one comparison.

use std::ops::Range;
use std::ptr::{self, NonNull};

use nix::sys::mman::{MmapAdvise, madvise};
use wasmtime::{Engine, PoolingAllocatorMetrics, Store};

use crate::state::InstanceState;

/// Largest size of a memory whose pages are kept without being counted: 2 MiB, twice the memory of a small Rust guest.
const SMALL: usize = 2 << 20;
/// Largest number of tasks between two probes: 128. A probe costs about seven times as much as restoring the pages, and so adds
/// a twentieth to that.
const MAX_INTERVAL: u32 = 128;

/// The pages that the memory slots of a worker's engine keep.
pub(crate) struct ResidentMemory {
    /// `None` if the engine keeps nothing, as it unmaps the memory of an instance that ends.
    metrics: Option<PoolingAllocatorMetrics>,
    /// Largest sum for all slots, in bytes.
    limit: usize,
    /// The slots in which a memory larger than [`SMALL`] has been. There are as many as the engine has slots, at most.
    slots: Vec<MemorySlot>,
}

impl ResidentMemory {
    /// Creates the state for the slots of `engine`, which together may keep `limit` bytes.
    pub(crate) fn new(engine: &Engine, limit: u64) -> Self {
        Self {
            metrics: engine.pooling_allocator_metrics(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            slots: Vec::new(),
        }
    }

    /// Drops the instance in `store`, and gives back what its slot is not to keep. Returns the state.
    #[inline]
    pub(crate) fn end(&mut self, store: Store<InstanceState>) -> InstanceState {
        if store.data().limits.peak() <= SMALL as u64 {
            return store.into_data();
        }
        self.end_large(store)
    }

    fn end_large(&mut self, store: Store<InstanceState>) -> InstanceState {
        // A guest that fails in its `start` function has a memory that can't be reached. The engine's bound holds for its
        // slot, until the next instance there.
        let (Some(metrics), Some(memory)) = (&self.metrics, store.data().memory) else {
            return store.into_data();
        };
        let base = memory.data_ptr(&store).expose_provenance();
        let size = memory.data_size(&store);
        let of_others = metrics.unused_memory_bytes_resident();
        let state = store.into_data();
        let kept = metrics.unused_memory_bytes_resident().saturating_sub(of_others);
        self.account(base, size, kept);
        state
    }

    /// Returns whether [`release`](Self::release) has anything to do.
    pub(crate) fn keeps_pages(&self) -> bool {
        self.slots.iter().any(|slot| slot.bytes() > SMALL)
    }

    /// Gives all pages back.
    pub(crate) fn release(&mut self) {
        if self.is_unused() {
            self.slots.iter_mut().for_each(MemorySlot::release);
        }
    }

    /// Accounts for an instance whose memory of `size` bytes at `base` has ended, of which `kept` bytes are present.
    fn account(&mut self, base: usize, size: usize, kept: usize) {
        let known = self.slots.iter().position(|slot| slot.base == base);
        let index = known.unwrap_or_else(|| {
            self.slots.push(MemorySlot::new(base));
            self.slots.len() - 1
        });
        let is_due = self.slots[index].ended(size, kept);
        if !self.is_unused() {
            return;
        }
        if is_due {
            self.slots[index].release();
        }
        let sum = |slots: &[MemorySlot]| slots.iter().map(MemorySlot::bytes).sum::<usize>();
        if sum(&self.slots) > self.limit {
            let others = self.slots.iter_mut().filter(|slot| slot.base != base);
            others.for_each(MemorySlot::release);
        }
        if sum(&self.slots) > self.limit {
            self.slots[index].release_hidden();
        }
    }

    /// Returns whether no slot is in use. None can come into use during a call of this type, as the executor that owns it makes
    /// all instances of the engine, and is borrowed.
    fn is_unused(&self) -> bool {
        self.metrics
            .as_ref()
            .is_some_and(|metrics| metrics.memories() == 0)
    }
}

/// A memory slot of the engine.
#[derive(Debug)]
struct MemorySlot {
    /// Address of its first byte.
    base: usize,
    /// Size of the memory of the last instance, in bytes.
    size: usize,
    /// Largest size since the pages were given back. No page beyond is present.
    largest: usize,
    /// Bytes of the first `size` that are present.
    kept: usize,
    /// Most bytes that can be present between `size` and `largest`.
    hidden: usize,
    probe: Probe,
}

impl MemorySlot {
    fn new(base: usize) -> Self {
        Self {
            base,
            size: 0,
            largest: 0,
            kept: 0,
            hidden: 0,
            probe: Probe::default(),
        }
    }

    /// Returns the most bytes that can be present.
    fn bytes(&self) -> usize {
        self.kept + self.hidden
    }

    /// Accounts for an instance that ended here. Returns whether the pages are to be given back, as a probe.
    fn ended(&mut self, size: usize, kept: usize) -> bool {
        if size < self.size {
            self.hidden += self.kept;
        }
        self.largest = self.largest.max(size);
        self.hidden = self.hidden.min(self.largest - size);
        (self.size, self.kept) = (size, kept);
        self.probe.ended(kept)
    }

    /// Gives all pages back. The slot must not be in use.
    fn release(&mut self) {
        self.give_back(0..self.largest);
        (self.size, self.largest, self.kept, self.hidden) = (0, 0, 0, 0);
    }

    /// Gives the pages back that the last instance could not access. The slot must not be in use.
    fn release_hidden(&mut self) {
        self.give_back(self.size..self.largest);
        (self.largest, self.hidden) = (self.size, 0);
    }

    fn give_back(&self, range: Range<usize>) {
        let Some(start) = NonNull::new(ptr::with_exposed_provenance_mut(self.base + range.start)) else {
            return;
        };
        // SAFETY: an instance had a memory at `base` that was at least `range.end` bytes long, so this is part of a slot of
        // the engine, which stays mapped while the engine lives. The slot is not in use, so there is no reference to its bytes.
        // Between instances each byte has its initial value, zero or that of a private mapping of the guest's image. After
        // MADV_DONTNEED the kernel provides just these values, and access rights stay as they are, so nothing changes for
        // the engine, which itself resets slots in this way.
        let result = unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED) };
        if let Err(errno) = result {
            // The pages stay. They are restored after the next task as before.
            debug_assert!(range.is_empty(), "{errno}");
        }
    }
}

/// Finds out whether tasks write as many pages as are kept.
///
/// The pages are given back after a number of tasks, and what is present after the next one shows how much that one
/// wrote. If it is as much, the next interval is twice as long, otherwise an eighth. The first interval is one task, so
/// that a single task that writes much costs those after it nothing.
#[derive(Debug)]
struct Probe {
    /// Tasks since the last probe.
    tasks: u32,
    interval: u32,
    /// Bytes that the current probe gave back. `None` if no probe waits for its result.
    given_back: Option<usize>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            tasks: 0,
            interval: 1,
            given_back: None,
        }
    }
}

impl Probe {
    /// Accounts for a task after which `kept` bytes are present. Returns whether a probe begins.
    fn ended(&mut self, kept: usize) -> bool {
        if let Some(before) = self.given_back.take() {
            self.interval = match kept >= before / 2 {
                true => (self.interval * 2).min(MAX_INTERVAL),
                false => (self.interval / 8).max(1),
            };
        }
        if kept <= SMALL {
            self.tasks = 0;
            return false;
        }
        self.tasks += 1;
        if self.tasks < self.interval {
            return false;
        }
        self.tasks = 0;
        self.given_back = Some(kept);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineRole;
    use crate::abi::call::Export;
    use crate::testing::{Rig, guest, settings};
    use mpwasm_types::engine_settings::EngineSettings;
    use mpwasm_types::ids::GuestId;

    const MIB: usize = 1 << 20;

    /// Grows its memory to 20 MiB, finds each byte zero but those of its data segment, and overwrites all of them.
    /// Fails with the address of the first that is another.
    fn writer(initial_pages: u32) -> String {
        let pages = 320 - initial_pages;
        guest(&format!(
            r#"(data (i32.const 70000) "0123456789abcdef")
               (func (export "runnable") (result i32) (local $at i32)
                 (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (unreachable)))
                 (if (i64.ne (i64.load (i32.const 70000)) (i64.const 0x3736353433323130)) (then (return (i32.const 1))))
                 (if (i64.ne (i64.load (i32.const 70008)) (i64.const 0x6665646362613938)) (then (return (i32.const 2))))
                 (memory.fill (i32.const 70000) (i32.const 0) (i32.const 16))
                 (local.set $at (i32.const 8192))
                 (loop $all
                   (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (return (local.get $at))))
                   (br_if $all (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {end}))))
                 (memory.fill (i32.const 0) (i32.const 0xa5) (i32.const {end}))
                 (i32.const 0))"#,
            end = 20 * MIB,
        ))
        .replace("\"memory\") 1", &format!("\"memory\") {initial_pages}"))
    }

    fn worker(wat: &str) -> Rig {
        let settings = EngineSettings {
            memory: 64 << 20,
            keep_resident: 32 << 20,
            ..settings()
        };
        Rig::with(EngineRole::Worker, &settings, wat)
    }

    fn run(rig: &mut Rig) {
        let report = rig.call(Export::Runnable, "[]");
        assert_eq!(report.result.as_deref(), Ok("null"));
    }

    /// Returns whether this machine has the scan without which next to nothing is kept.
    fn keeps(rig: &Rig) -> bool {
        rig.executor.resident_memory().keeps_pages()
    }

    #[test]
    fn nothing_of_a_task_that_wrote_20_mib_is_left_for_the_next() {
        for initial_pages in [2, 320] {
            let mut rig = worker(&writer(initial_pages));
            // Pages are given back after some of these, and kept after the others.
            for _ in 0..10 {
                run(&mut rig);
            }
            rig.executor.release_memory();
            for _ in 0..2 {
                run(&mut rig);
            }
        }
    }

    #[test]
    fn pages_are_kept_until_they_are_released() {
        let mut rig = worker(&writer(2));
        run(&mut rig);
        assert!(!keeps(&rig), "a single task");
        run(&mut rig);
        if !keeps(&rig) {
            return; // a machine with swap, or an old kernel
        }
        let slot = rig.executor.resident_memory().slots[0].base;
        let present = || present_pages(slot, 20 * MIB);
        assert_eq!(present(), 20 * MIB / 4096);
        rig.executor.release_memory();
        assert_eq!((keeps(&rig), present()), (false, 0));
        run(&mut rig);
        run(&mut rig);
        assert!(keeps(&rig));
    }

    #[test]
    fn no_more_than_the_bound_is_kept_in_all_slots_together() {
        let mut rig = worker(&writer(2));
        for pages in [3, 4, 5] {
            rig.load(&writer(pages));
        }
        for guest in [0, 0, 1, 1, 2, 2, 3, 3, 0] {
            let report = rig.call_of(GuestId(guest), Export::Runnable, "[]");
            assert_eq!(report.result.as_deref(), Ok("null"));
            let kept: usize = (rig.executor.resident_memory().slots.iter())
                .map(|slot| present_pages(slot.base, 64 * MIB) * 4096)
                .sum();
            assert!(kept <= 32 * MIB, "{kept}");
        }
    }

    #[test]
    fn pages_beyond_a_smaller_memory_are_counted_until_a_larger_one_shows_them() {
        let mut slot = MemorySlot::new(4096);
        slot.ended(20 * MIB, 16 * MIB);
        assert_eq!(slot.bytes(), 16 * MIB);
        slot.ended(4 * MIB, 3 * MIB);
        assert_eq!(slot.bytes(), 19 * MIB);
        slot.ended(3 * MIB, 0);
        assert_eq!(slot.bytes(), 17 * MIB, "there is no more room for them");
        slot.ended(20 * MIB, 16 * MIB);
        assert_eq!(slot.bytes(), 16 * MIB);
    }

    #[test]
    fn probes_become_rare_while_tasks_write_as_much_and_frequent_when_they_do_not() {
        let mut probe = Probe::default();
        let mut begun = Vec::new();
        for task in 1..=600 {
            if probe.ended(16 * MIB) {
                begun.push(task);
            }
        }
        assert_eq!(begun, [1, 3, 7, 15, 31, 63, 127, 255, 383, 511]);
        while !probe.ended(16 * MIB) {}
        for (kept, interval) in [(0, 16), (16 * MIB, 16)] {
            assert!(!probe.ended(kept));
            assert_eq!(probe.interval, interval);
        }
        assert_eq!((2..100).find(|_| probe.ended(16 * MIB)), Some(16));
    }

    #[test]
    fn the_pages_of_rare_tasks_that_write_much_are_not_restored_after_others() {
        let mut probe = Probe::default();
        for _ in 0..10 {
            assert!(probe.ended(16 * MIB));
            assert!((0..10).all(|_| !probe.ended(0)));
        }
    }

    /// Returns how many pages of a range are present, as the kernel's page map says.
    fn present_pages(start: usize, length: usize) -> usize {
        use std::os::unix::fs::FileExt;
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        let mut entries = vec![0; length / 4096 * 8];
        map.read_exact_at(&mut entries, (start / 4096 * 8) as u64)
            .unwrap();
        entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }
}
