//! Limits of memory and tables of an instance.
//!
//! The engine calls [`InstanceLimits`] before it makes or grows a memory or a table. A refusal is remembered until the call has
//! ended: a guest that traps because its memory is full ends as `memory`, not as `trap`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use mpwasm_types::memory::TABLE_ELEMENT_SIZE;

/// Bytes of linear memory and tables that the kept callback instances of one guest use together.
///
/// Only the thread that owns the executor accesses it. It is atomic because stores must be `Send`. `Relaxed` is enough.
#[derive(Debug, Default)]
pub(crate) struct SharedBudget {
    used: AtomicU64,
}

/// The limits of one instance.
#[derive(Debug)]
pub(crate) struct InstanceLimits {
    /// Most bytes of memory, or of memory and tables of all instances that share a budget.
    cap: u64,
    /// Most elements of a table.
    max_table: u32,
    /// The budget of a kept instance.
    shared: Option<Arc<SharedBudget>>,
    /// Bytes of `shared` that the memory of this instance uses.
    reserved: u64,
    /// Bytes of `shared` that its tables use.
    tables: u64,
    /// Largest size of the memory so far, in bytes.
    peak: u64,
    /// Whether memory was refused in this call.
    refused: bool,
    /// Whether the last request for memory in this call was refused.
    refused_last: bool,
}

impl InstanceLimits {
    /// Creates limits for an instance that may use `cap` bytes of linear memory, and tables of `max_table` elements each.
    pub(crate) fn new(cap: u64, max_table: u32) -> Self {
        Self {
            cap,
            max_table,
            shared: None,
            reserved: 0,
            tables: 0,
            peak: 0,
            refused: false,
            refused_last: false,
        }
    }

    /// Creates limits for an instance that shares `cap` bytes with others.
    pub(crate) fn sharing(cap: u64, max_table: u32, budget: Arc<SharedBudget>) -> Self {
        Self {
            shared: Some(budget),
            ..Self::new(cap, max_table)
        }
    }

    /// Starts a new call on an instance that lives on. Its size stays, refusals are forgotten.
    pub(crate) fn begin(&mut self, cap: u64) {
        self.cap = cap;
        self.refused = false;
        self.refused_last = false;
    }

    /// Returns the largest size that the instance's memory may have, in bytes.
    pub(crate) fn cap(&self) -> u64 {
        self.cap
    }

    /// Returns the largest size of the instance's memory so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// Returns whether the instance was refused memory in this call.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Returns whether the instance's last request for memory in this call was refused.
    pub(crate) fn was_refused_last(&self) -> bool {
        self.refused_last
    }

    /// Returns whether the memory may grow from `current` to `desired` bytes. Counts it in a shared budget.
    fn allows(&mut self, current: u64, desired: u64) -> bool {
        let Some(shared) = &self.shared else {
            return desired <= self.cap;
        };
        // The reservation may include a growth that the system refused after it was allowed here. `current` is right.
        let used = shared.used.load(Ordering::Relaxed) - self.reserved;
        let allowed = used.checked_add(desired).is_some_and(|sum| sum <= self.cap);
        self.reserved = if allowed { desired } else { current };
        shared.used.store(used + self.reserved, Ordering::Relaxed);
        allowed
    }

    /// Returns whether a table may grow by `more` elements. Tables of a fresh instance have a cap of their own. Those of kept
    /// instances, of which there can be many, also count as memory.
    fn allows_elements(&mut self, more: usize) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        let bytes = TABLE_ELEMENT_SIZE.saturating_mul(more as u64);
        let used = shared.used.load(Ordering::Relaxed).saturating_add(bytes);
        if used > self.cap {
            self.refused = true;
            return false;
        }
        self.tables += bytes;
        shared.used.store(used, Ordering::Relaxed);
        true
    }
}

impl Drop for InstanceLimits {
    /// Returns the bytes of the instance to the shared budget.
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared
                .used
                .fetch_sub(self.reserved + self.tables, Ordering::Relaxed);
        }
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within_type = maximum.is_none_or(|maximum| desired <= maximum);
        let allowed = within_type && self.allows(current as u64, desired as u64);
        if allowed {
            self.peak = self.peak.max(desired as u64);
        } else {
            self.refused = true;
        }
        self.refused_last = !allowed;
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        self.refused_last = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within_limits =
            desired <= self.max_table as usize && maximum.is_none_or(|maximum| desired <= maximum);
        Ok(within_limits && self.allows_elements(desired.saturating_sub(current)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Ok(())
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65536;

    fn grow(limits: &mut InstanceLimits, current: usize, desired: usize) -> bool {
        limits
            .memory_growing(current * PAGE, desired * PAGE, None)
            .expect("the limits never trap")
    }

    #[test]
    fn memory_grows_up_to_the_cap() {
        let mut limits = InstanceLimits::new(4 * PAGE as u64, 0);
        assert!(grow(&mut limits, 0, 1));
        assert!(grow(&mut limits, 1, 4));
        assert!(!limits.was_refused());
        assert!(!grow(&mut limits, 4, 5));
        assert_eq!(limits.peak(), 4 * PAGE as u64);
        assert!(limits.was_refused() && limits.was_refused_last());
    }

    #[test]
    fn a_growth_that_is_allowed_after_a_refusal_is_remembered_as_such() {
        let mut limits = InstanceLimits::new(4 * PAGE as u64, 0);
        assert!(!grow(&mut limits, 1, 9));
        assert!(grow(&mut limits, 1, 2));
        assert!(limits.was_refused() && !limits.was_refused_last());
        limits.begin(4 * PAGE as u64);
        assert!(!limits.was_refused());
    }

    #[test]
    fn the_memorys_own_maximum_refuses_too() {
        let mut limits = InstanceLimits::new(u64::MAX, 0);
        assert!(!limits.memory_growing(PAGE, 3 * PAGE, Some(2 * PAGE)).unwrap());
        assert!(limits.was_refused());
    }

    #[test]
    fn instances_share_a_budget_and_give_it_back() {
        let budget = Arc::new(SharedBudget::default());
        let cap = 10 * PAGE as u64;
        let mut first = InstanceLimits::sharing(cap, 0, budget.clone());
        let mut second = InstanceLimits::sharing(cap, 0, budget.clone());
        assert!(grow(&mut first, 0, 6));
        assert!(!grow(&mut second, 0, 5));
        assert!(grow(&mut second, 0, 4));
        assert!(!grow(&mut first, 6, 7));
        drop(second);
        assert!(grow(&mut first, 6, 10));
        drop(first);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_growth_that_the_system_refused_is_not_charged_for_ever() {
        let budget = Arc::new(SharedBudget::default());
        let mut limits = InstanceLimits::sharing(10 * PAGE as u64, 0, budget.clone());
        assert!(grow(&mut limits, 0, 1));
        assert!(grow(&mut limits, 1, 9));
        limits
            .memory_grow_failed(wasmtime::Error::msg("no memory"))
            .unwrap();
        assert!(!grow(&mut limits, 1, 11));
        assert_eq!(budget.used.load(Ordering::Relaxed), PAGE as u64);
    }

    #[test]
    fn tables_of_kept_instances_count_as_their_memory() {
        let budget = Arc::new(SharedBudget::default());
        let limits = || InstanceLimits::sharing(2 * PAGE as u64, 20_000, Arc::clone(&budget));
        let (mut first, mut second) = (limits(), limits());
        assert!(first.table_growing(0, 10_000, None).unwrap());
        assert!(grow(&mut second, 0, 0) && !second.table_growing(0, 10_000, None).unwrap());
        assert!(second.was_refused());
        drop(first);
        assert!(grow(&mut second, 0, 1) && second.table_growing(0, 8_000, None).unwrap());
        assert!(!grow(&mut second, 1, 2));
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn tables_have_a_cap_of_their_own() {
        let mut limits = InstanceLimits::new(0, 1000);
        assert!(limits.table_growing(0, 1000, None).unwrap());
        assert!(!limits.table_growing(0, 1001, None).unwrap());
        assert!(!limits.table_growing(0, 3, Some(2)).unwrap());
        assert!(!limits.was_refused(), "a table is not linear memory");
    }
}
