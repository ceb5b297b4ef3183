//! The page that a worker and the dispatcher share: which of the offered tasks have been claimed.
//!
//! A slot stands for one task sent to the worker. Its word holds the offer's number and its state, and both sides
//! move it by compare-and-swap: `offered → claimed → done` by the worker, `offered → revoked` by the dispatcher.
//! So "the worker starts it" and "the dispatcher takes it back" can't both happen, and no timing is trusted.
//!
//! To the dispatcher the page is a hint from a lower level of trust: a worker that was taken over can write what
//! it likes into it. Every index is checked, and what a slot says is believed for no task but the one in it.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use serde::{Deserialize, Serialize};

use mpwasm_system::inherited::explained;
use mpwasm_types::time::Time;

/// Slots of a page: more than the largest window, so that one is free whenever a task may be offered.
pub const SLOTS: usize = 1024;

/// The offer of a task to a worker: the slot it occupies, and a number that no other offer to the same worker
/// ever had. Opaque to the scheduler and to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer(u64);

/// `Offer` packs `number << SLOT_BITS | slot`.
const SLOT_BITS: u32 = 10;
const _: () = assert!(SLOTS == 1 << SLOT_BITS);

impl Offer {
    /// As a number, for a message of fixed size.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The offer behind a number. Any number is one: the slot is masked, and no swap succeeds with a wrong one.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn slot(self) -> usize {
        (self.0 & (SLOTS as u64 - 1)) as usize
    }
}

#[repr(u64)]
#[derive(Clone, Copy)]
enum State {
    Offered = 1,
    Claimed = 2,
    Done = 3,
    Revoked = 4,
}

/// A slot's word: `offer << 3 | state`. Offers count up from zero, so the three bits on top are never missed.
fn word(offer: Offer, state: State) -> u64 {
    offer.0 << 3 | state as u64
}

#[repr(C)]
struct Slot {
    word: AtomicU64,
    /// When the worker claimed the task. Written before the word, read after it.
    claimed: AtomicU64,
    /// The id of the item of a chunk that it began last.
    begun: AtomicU64,
}

/// What the mapping holds.
#[repr(C)]
struct Shared {
    slots: [Slot; SLOTS],
    /// The system call for which the worker's jail ended it, plus one; zero before that.
    violation: AtomicU64,
    /// Nanoseconds that the clocks of the dispatcher and its workers do not count ([`mpwasm_types::time`]). The dispatcher writes it,
    /// and never reads it.
    skipped: AtomicU64,
}

const BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<Shared>()).expect("a page is not empty");

/// A mapping of the shared page, in either of the two processes.
#[derive(Debug)]
pub struct Page {
    shared: NonNull<Shared>,
}

// SAFETY: the mapping is shared memory that is only ever accessed through atomics, from any thread.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({:#x})", self.word.load(Ordering::Relaxed))
    }
}

impl Page {
    /// A new page, and the descriptor with which a worker maps it. Its size is sealed: a worker could otherwise
    /// truncate it, and the dispatcher's next access would be a SIGBUS.
    ///
    /// # Errors
    /// When the kernel has no memory or descriptor to give.
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

    /// Maps the page behind a descriptor that [`Page::create`] made.
    ///
    /// # Errors
    /// When it is none, or can't be mapped.
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

    fn shared(&self) -> &Shared {
        // SAFETY: the mapping is as large as a `Shared`, aligned to a page, zeroed by the kernel, lives as long as
        // `self`, and a `Shared` is atomics, which are valid for any bytes.
        unsafe { self.shared.as_ref() }
    }

    /// `Offer::slot` is below SLOTS for every value of an offer.
    fn slot(&self, offer: Offer) -> &Slot {
        &self.shared().slots[offer.slot()]
    }

    /// Worker: where the jail leaves the system call for which it ends the process.
    #[must_use]
    pub fn violation_cell(&self) -> &AtomicU64 {
        &self.shared().violation
    }

    /// Worker: what its clock does not count.
    #[must_use]
    pub fn skipped_cell(&self) -> &AtomicU64 {
        &self.shared().skipped
    }

    /// Dispatcher: the task behind `offer` is about to be sent.
    fn offer(&self, offer: Offer) {
        let slot = self.slot(offer);
        // Release is not needed for what the worker reads: the frame itself arrives later, through the kernel.
        slot.begun.store(0, Ordering::Relaxed);
        slot.word.store(word(offer, State::Offered), Ordering::Relaxed);
    }

    /// Dispatcher: takes the task back. True when the worker has not claimed it and now never can.
    #[must_use]
    pub fn revoke(&self, offer: Offer) -> bool {
        self.swap(offer, State::Offered, State::Revoked)
    }

    /// Dispatcher: when the worker says it claimed the task; `None` when it did not.
    #[must_use]
    pub fn claimed(&self, offer: Offer) -> Option<Time> {
        let slot = self.slot(offer);
        // Acquire pairs with the swap in `claim`: the time that was stored before it is visible.
        let now = slot.word.load(Ordering::Acquire);
        let claimed = now == word(offer, State::Claimed) || now == word(offer, State::Done);
        claimed.then(|| Time(slot.claimed.load(Ordering::Relaxed)))
    }

    /// Dispatcher: the id of the item of a claimed chunk that the worker says it began last.
    #[must_use]
    pub fn begun(&self, offer: Offer) -> u64 {
        // Acquire pairs with the store in `begin`. It is asked for when the worker is dead, or of no other use.
        self.slot(offer).begun.load(Ordering::Acquire)
    }

    /// Worker: is about to begin this item of a chunk that it has claimed.
    pub fn begin(&self, offer: Offer, id: u64) {
        self.slot(offer).begun.store(id, Ordering::Release);
    }

    /// Worker: claims the task at time `now`. False when it has been revoked.
    #[must_use]
    pub fn claim(&self, offer: Offer, now: Time) -> bool {
        self.slot(offer).claimed.store(now.0, Ordering::Relaxed);
        self.swap(offer, State::Offered, State::Claimed)
    }

    /// Worker: the task has ended. What it reports follows in a frame.
    pub fn done(&self, offer: Offer) {
        let _ = self.swap(offer, State::Claimed, State::Done);
    }

    fn swap(&self, offer: Offer, from: State, to: State) -> bool {
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

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made, of this length; nothing borrows from it any more.
        let _ = unsafe { munmap(self.shared.cast(), BYTES.get()) };
    }
}

/// The dispatcher's side of a page: it hands out the slots.
#[derive(Debug)]
pub struct Slots {
    page: Page,
    free: Vec<u16>,
    next: u64,
}

impl Slots {
    /// All slots of `page`, free.
    #[must_use]
    pub fn new(page: Page) -> Self {
        Self {
            page,
            free: (0..SLOTS as u16).rev().collect(),
            next: 1,
        }
    }

    /// Marks a slot as offered.
    ///
    /// # Panics
    /// When none is free: the scheduler's window is smaller than the page.
    pub fn offer(&mut self) -> Offer {
        let slot = self.free.pop().expect("the window is smaller than the page");
        let offer = Offer(self.next << SLOT_BITS | u64::from(slot));
        self.next += 1;
        self.page.offer(offer);
        offer
    }

    /// See [`Page::revoke`]; a slot that was revoked is free again at once, as no other offer has its number.
    pub fn revoke(&mut self, offer: Offer) -> bool {
        let revoked = self.page.revoke(offer);
        if revoked {
            self.free.push(offer.slot() as u16);
        }
        revoked
    }

    /// The task behind the offer has ended: its slot is free again.
    pub fn release(&mut self, offer: Offer) {
        self.free.push(offer.slot() as u16);
    }

    /// See [`Page::claimed`].
    #[must_use]
    pub fn claimed(&self, offer: Offer) -> Option<Time> {
        self.page.claimed(offer)
    }

    /// See [`Page::begun`].
    #[must_use]
    pub fn begun(&self, offer: Offer) -> u64 {
        self.page.begun(offer)
    }

    /// The worker's clock does not count these nanoseconds.
    pub fn set_skipped(&self, nanos: u64) {
        self.page.skipped_cell().store(nanos, Ordering::Relaxed);
    }

    /// The system call for which the worker's jail ended it, as the worker has it.
    #[must_use]
    pub fn violation(&self) -> Option<u64> {
        self.page.violation_cell().load(Ordering::Acquire).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn shared() -> (Slots, Page) {
        let (page, fd) = Page::create().unwrap();
        (Slots::new(page), Page::map(fd).unwrap())
    }

    #[test]
    fn a_claimed_task_can_not_be_revoked_and_says_when_it_was_claimed() {
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
        assert_eq!(first.slot(), second.slot());
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
    fn the_size_of_a_page_can_not_be_changed_by_who_maps_it() {
        let (_page, fd) = Page::create().unwrap();
        assert!(File::from(fd).set_len(0).is_err());
    }

    #[test]
    fn a_descriptor_of_another_size_is_refused() {
        let fd = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(Page::map(fd).is_err());
    }
}
