//! The items of a chunk, which share an instance.

use super::{Executor, lookup, result_of, unknown};
use crate::abi::call::{Call, CallReport};
use crate::instance;
use crate::limits::InstanceLimits;
use crate::state::InstanceState;

impl Executor {
    /// Runs `call` as the next item of a chunk, in the instance of the item before. The first item, and an item after one
    /// that failed, gets a fresh instance. The caller has armed the deadline.
    ///
    /// All calls until [`drop_instance`](Self::drop_instance) are of one model.
    pub fn run_chunk_item(&mut self, call: &Call<'_>) -> CallReport {
        let chunk = self.chunk.take();
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            if let Some((store, _)) = chunk {
                self.state = Some(self.resident_memory.end(store));
            }
            return CallReport::not_started(unknown());
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());
        let (mut store, export) = match chunk {
            Some((store, export)) => (store, Some(export)),
            None => {
                let state = self.state.take();
                let mut state = state.unwrap_or_else(|| {
                    InstanceState::new(&self.settings, self.deadline.clone(), self.output.clone())
                });
                state.renew(InstanceLimits::new(self.settings.memory, self.settings.max_table));
                (instance::store(&self.engine, state), None)
            }
        };
        store.data_mut().begin(call);
        store.data_mut().limits.begin(self.settings.memory);
        let returned =
            instance::arm_interrupts(&mut store, self.settings.fuel, "before it began").and_then(|()| {
                let export = match export {
                    Some(export) => export,
                    None => {
                        let instance = instance::instantiate(&mut store, &guest.loaded)?;
                        instance::status_func(&mut store, instance, &entry.export, &entry.place)?
                    }
                };
                let code = instance::call_status(&mut store, &export, &entry.place)?;
                Ok((export, code))
            });
        let done =
            returned.and_then(|(export, code)| Ok((export, result_of(code, call.export, store.data_mut())?)));
        match done {
            Ok((export, result)) => {
                let report = store.data().report(Ok(result));
                store.data_mut().end(true);
                self.chunk = Some((store, export));
                report
            }
            // The next item must not find what a failed one left.
            Err(failure) => {
                let mut state = self.resident_memory.end(store);
                let report = state.report(Err(failure));
                state.end(false);
                self.state = Some(state);
                report
            }
        }
    }
}
