//! The page that a worker and the dispatcher share: which of the offered tasks have been claimed.
//!
//! A slot belongs to one task that was sent to the worker. Its word holds the number of the offer and a state. Both sides
//! change it by compare-and-swap: the worker `offered → claimed → done`, the dispatcher `offered → revoked`. So a task is
//! either started by the worker or taken back by the dispatcher, never both, whatever the timing.
//!
//! The dispatcher does not trust the page, since a worker that was taken over can write anything into it. Each index is
//! checked, and the state of a slot is used only for the task in it.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use mpwasm_system::inherited::explained;
use mpwasm_types::ids::{OfferId, TaskId};
use mpwasm_types::time::Time;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Number of slots of a page: 1024. It exceeds the largest window, so that a slot is free whenever a task may be offered.
pub const SLOTS: usize = 1024;

/// An [`OfferId`] packs `number << SLOT_BITS | slot`: the slot that the offer occupies, and a number that no other offer to the
/// same worker has. It is opaque to the scheduler and the worker.
const SLOT_BITS: u32 = 10;
const _: () = assert!(SLOTS == 1 << SLOT_BITS);

/// Returns the index of an offer's slot. It is below [`SLOTS`] for every value of an offer. A transition of an offer that is not
/// in its slot fails.
fn slot_of(offer: OfferId) -> usize {
    (offer.0 & (SLOTS as u64 - 1)) as usize
}

#[repr(u64)]
#[derive(Clone, Copy)]
enum OfferState {
    Offered = 1,
    Claimed = 2,
    Done = 3,
    Revoked = 4,
}

/// Returns the word of a slot: `offer << 3 | state`. The numbers of offers count up, so the highest three bits of an offer
/// are zero.
fn word(offer: OfferId, state: OfferState) -> u64 {
    offer.0 << 3 | state as u64
}

#[repr(C)]
struct OfferSlot {
    word: AtomicU64,
    /// The time at which the worker claimed the task. Written before the word, read after it.
    claimed: AtomicU64,
    /// The id of the item of a chunk that the worker began last.
    begun: AtomicU64,
}

/// The contents of the mapping.
#[repr(C)]
struct PageContents {
    slots: [OfferSlot; SLOTS],
    /// The number of the forbidden system call that ended the worker, plus one; zero before that.
    violation: AtomicU64,
    /// Nanoseconds that the clocks of the dispatcher and its workers do not count ([`mpwasm_types::time`]). Only the
    /// dispatcher writes it, and it never reads it.
    skipped: AtomicU64,
}

const BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<PageContents>()).expect("a page is not empty");

/// The mapping of the shared page in one of the two processes.
#[derive(Debug)]
pub struct SharedPage {
    shared: NonNull<PageContents>,
}

// SAFETY: the mapping is shared memory, which all threads access through atomics only.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

impl std::fmt::Debug for OfferSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({:#x})", self.word.load(Ordering::Relaxed))
    }
}

impl SharedPage {
    /// Creates a page. Returns it with the file descriptor by which a worker maps it. Its size is sealed: otherwise a worker
    /// could truncate it, and the next access of the dispatcher would raise SIGBUS.
    ///
    /// # Errors
    /// When no memory or file descriptor is left.
    pub fn create() -> std::io::Result<(Self, OwnedFd)> {
        let fd = memfd_create(
            c"mpwasm-page",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        let file = File::from(fd);
        file.set_len(BYTES.get() as u64).map_err(explained)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let page = Self::map(&file)?;
        Ok((page, file.into()))
    }

    /// Maps the page of a file descriptor that [`SharedPage::create`] has returned.
    ///
    /// # Errors
    /// When the descriptor is not that of a page, or can't be mapped.
    pub fn map(fd: impl AsFd) -> std::io::Result<Self> {
        let len = nix::sys::stat::fstat(fd.as_fd())?.st_size;
        if usize::try_from(len) != Ok(BYTES.get()) {
            return Err(std::io::Error::other("the shared page has a wrong size"));
        }
        // SAFETY: a new mapping of its own, of the file's whole length, whose size is sealed; it is unmapped only
        // when `self` is dropped.
        let pointer = unsafe {
            mmap(
                None,
                BYTES,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                fd,
                0,
            )?
        };
        Ok(Self {
            shared: pointer.cast(),
        })
    }

    fn shared(&self) -> &PageContents {
        // SAFETY: the mapping is as large as a `PageContents`, aligned to a page, zeroed by the kernel, lives as long as
        // `self`, and a `PageContents` is atomics, which are valid for any bytes.
        unsafe { self.shared.as_ref() }
    }

    /// Returns the slot of an offer.
    fn slot(&self, offer: OfferId) -> &OfferSlot {
        &self.shared().slots[slot_of(offer)]
    }

    /// Returns the cell in which the worker's sandbox stores the number of a forbidden system call.
    #[must_use]
    pub fn violation_cell(&self) -> &AtomicU64 {
        &self.shared().violation
    }

    /// Returns the cell with the nanoseconds that the worker's clock does not count.
    #[must_use]
    pub fn skipped_cell(&self) -> &AtomicU64 {
        &self.shared().skipped
    }

    /// Marks the slot of `offer` as offered. The dispatcher calls it before it sends the task.
    fn offer(&self, offer: OfferId) {
        let slot = self.slot(offer);
        // Relaxed is enough: the worker reads the word after it has received the frame, through the kernel.
        slot.begun.store(0, Ordering::Relaxed);
        slot.word
            .store(word(offer, OfferState::Offered), Ordering::Relaxed);
    }

    /// Revokes an offer, for the dispatcher. Returns false if the worker has claimed the task. Otherwise it can no longer claim
    /// it.
    #[must_use]
    pub fn revoke(&self, offer: OfferId) -> bool {
        self.transition(offer, OfferState::Offered, OfferState::Revoked)
    }

    /// Returns when the worker has claimed the task; `None` if it has not. The worker writes the time, so the dispatcher does
    /// not trust it.
    #[must_use]
    pub fn claimed(&self, offer: OfferId) -> Option<Time> {
        let slot = self.slot(offer);
        // Acquire pairs with the transition in `claim`, which makes the time visible that was stored before it.
        let now = slot.word.load(Ordering::Acquire);
        let claimed = now == word(offer, OfferState::Claimed) || now == word(offer, OfferState::Done);
        claimed.then(|| Time(slot.claimed.load(Ordering::Relaxed)))
    }

    /// Returns the id of the item of a claimed chunk that the worker began last. The dispatcher does not trust it.
    #[must_use]
    pub fn begun(&self, offer: OfferId) -> TaskId {
        // Acquire pairs with the store in `begin`.
        TaskId(self.slot(offer).begun.load(Ordering::Acquire))
    }

    /// Stores the item of a claimed chunk that the worker is about to begin.
    pub fn begin(&self, offer: OfferId, id: TaskId) {
        self.slot(offer).begun.store(id.0, Ordering::Release);
    }

    /// Claims the task at time `now`, for the worker. Returns false if it was revoked.
    #[must_use]
    pub fn claim(&self, offer: OfferId, now: Time) -> bool {
        self.slot(offer).claimed.store(now.0, Ordering::Relaxed);
        self.transition(offer, OfferState::Offered, OfferState::Claimed)
    }

    /// Marks a claimed task as done, for the worker, which then reports the result in a frame.
    pub fn done(&self, offer: OfferId) {
        let _ = self.transition(offer, OfferState::Claimed, OfferState::Done);
    }

    fn transition(&self, offer: OfferId, from: OfferState, to: OfferState) -> bool {
        self.slot(offer)
            .word
            .compare_exchange(
                word(offer, from),
                word(offer, to),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: `map` has created the mapping with this length, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.shared.cast(), BYTES.get()) };
    }
}

/// Allocates the slots of a page, for the dispatcher.
#[derive(Debug)]
pub struct Slots {
    page: SharedPage,
    free: Vec<u16>,
    next: u64,
}

impl Slots {
    /// Creates an allocator of the slots of `page`, all of which are free.
    #[must_use]
    pub fn new(page: SharedPage) -> Self {
        Self {
            page,
            free: (0..SLOTS as u16).rev().collect(),
            next: 1,
        }
    }

    /// Allocates a slot, and marks it as offered.
    ///
    /// # Panics
    /// When no slot is free, which can't be, since the scheduler's window is smaller than a page.
    pub fn offer(&mut self) -> OfferId {
        let slot = self.free.pop().expect("the window is smaller than the page");
        let offer = OfferId(self.next << SLOT_BITS | u64::from(slot));
        self.next += 1;
        self.page.offer(offer);
        offer
    }

    /// Revokes an offer, see [`SharedPage::revoke`]. A revoked offer's slot is free at once, as no later offer has the same
    /// number.
    pub fn revoke(&mut self, offer: OfferId) -> bool {
        let revoked = self.page.revoke(offer);
        if revoked {
            self.free.push(slot_of(offer) as u16);
        }
        revoked
    }

    /// Frees the slot of a task that has ended.
    pub fn release(&mut self, offer: OfferId) {
        self.free.push(slot_of(offer) as u16);
    }

    /// Returns when the worker has claimed the task, see [`SharedPage::claimed`].
    #[must_use]
    pub fn claimed(&self, offer: OfferId) -> Option<Time> {
        self.page.claimed(offer)
    }

    /// Returns the item that the worker began last, see [`SharedPage::begun`].
    #[must_use]
    pub fn begun(&self, offer: OfferId) -> TaskId {
        self.page.begun(offer)
    }

    /// Sets the nanoseconds that the worker's clock does not count.
    pub fn set_skipped(&self, nanos: u64) {
        self.page.skipped_cell().store(nanos, Ordering::Relaxed);
    }

    /// Returns the number of the forbidden system call that ended the worker. The dispatcher does not trust it.
    #[must_use]
    pub fn violation(&self) -> Option<u64> {
        self.page.violation_cell().load(Ordering::Acquire).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn shared() -> (Slots, SharedPage) {
        let (page, fd) = SharedPage::create().unwrap();
        (Slots::new(page), SharedPage::map(fd).unwrap())
    }

    #[test]
    fn a_claimed_task_can_not_be_revoked_and_has_the_time_of_its_claim() {
        let (mut dispatcher, worker) = shared();
        let offer = dispatcher.offer();
        assert_eq!(dispatcher.claimed(offer), None);
        assert!(worker.claim(offer, Time(17)));
        assert!(!dispatcher.revoke(offer));
        assert_eq!(dispatcher.claimed(offer), Some(Time(17)));
        worker.done(offer);
        assert_eq!(dispatcher.claimed(offer), Some(Time(17)));
    }

    #[test]
    fn a_revoked_task_can_not_be_claimed_even_when_its_slot_was_offered_again() {
        let (mut dispatcher, worker) = shared();
        let first = dispatcher.offer();
        assert!(dispatcher.revoke(first));
        let second = dispatcher.offer();
        assert_eq!(slot_of(first), slot_of(second));
        assert!(!worker.claim(first, Time(1)));
        assert!(worker.claim(second, Time(2)));
    }

    #[test]
    fn of_a_claim_and_a_revocation_exactly_one_wins() {
        let (mut dispatcher, worker) = shared();
        for _ in 0..2000 {
            let offer = dispatcher.offer();
            let start = Barrier::new(2);
            let (claimed, revoked) = std::thread::scope(|scope| {
                let claim = scope.spawn(|| {
                    start.wait();
                    worker.claim(offer, Time(1))
                });
                start.wait();
                let revoked = dispatcher.revoke(offer);
                (claim.join().unwrap(), revoked)
            });
            assert!(claimed != revoked);
            if claimed {
                dispatcher.release(offer);
            }
        }
    }

    #[test]
    fn the_size_of_a_page_can_not_be_changed() {
        let (_page, fd) = SharedPage::create().unwrap();
        assert!(File::from(fd).set_len(0).is_err());
    }

    #[test]
    fn a_descriptor_of_another_size_is_refused() {
        let fd = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(SharedPage::map(fd).is_err());
    }
}
