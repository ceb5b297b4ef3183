//! Calls in instances that are kept, one per model, for callbacks that accumulate state.

use super::{Executor, KeptInstance, lookup, result_of, unknown};
use crate::abi::call::{Call, CallReport};
use crate::instance;
use crate::limits::InstanceLimits;
use crate::state::InstanceState;
use mpwasm_types::ids::{GuestId, ModelId};

impl Executor {
    /// Runs `call` in the instance that is kept for its model, or in a new one which is then kept. All instances of a guest
    /// share `memory` bytes. The caller has armed the deadline.
    ///
    /// A failure discards the instance, unless the export returned normally with an error code.
    pub fn run_kept(&mut self, call: &Call<'_>, memory: u64) -> CallReport {
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            return CallReport::not_started(unknown());
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());
        // The instruction budget is for tasks. Callbacks have a deadline only.
        let fuel = self.settings.fuel.map(|_| u64::MAX);
        let key = (call.guest, call.model);

        let (mut store, instance) = match self.kept.remove(&key) {
            Some(kept) => (kept.store, Some(kept.instance)),
            None => {
                let mut state =
                    InstanceState::new(&self.settings, self.deadline.clone(), self.output.clone());
                state.renew(InstanceLimits::sharing(
                    memory,
                    self.settings.max_table,
                    guest.budget.clone(),
                ));
                (instance::store(&self.engine, state), None)
            }
        };
        store.data_mut().exchange(&mut self.buffers);
        store.data_mut().objects = self.state.as_mut().and_then(|idle| idle.objects.take());
        store.data_mut().begin(call);
        store.data_mut().limits.begin(memory);
        let returned = instance::arm_interrupts(&mut store, fuel, "before it began").and_then(|()| {
            let instance = match instance {
                Some(instance) => instance,
                None => instance::instantiate(&mut store, &guest.loaded)?,
            };
            let code = instance::invoke(&mut store, instance, &entry.export, &entry.place)?;
            Ok((instance, code))
        });
        let (result, instance) = match returned {
            Err(failure) => (Err(failure), None),
            Ok((instance, code)) => (result_of(code, call.export, store.data_mut()), Some(instance)),
        };
        let report = store.data().report(result);
        store.data_mut().end(report.result.is_ok());
        if let Some(idle) = &mut self.state {
            idle.objects = store.data_mut().objects.take();
        }
        // An instance is counted against `memory`. A buffer would not be, so the instance must not keep any.
        store.data_mut().exchange(&mut self.buffers);
        if let Some(instance) = instance {
            self.kept.insert(key, KeptInstance { store, instance });
        }
        report
    }

    /// Returns whether an instance is kept for this model: the last [`run_kept`](Self::run_kept) did not discard it.
    #[must_use]
    pub fn has_kept_instance(&self, guest: GuestId, model: ModelId) -> bool {
        self.kept.contains_key(&(guest, model))
    }
}
