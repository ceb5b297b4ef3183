//! Calls in an instance of their own.

use super::{Executor, lookup, result_of, unknown};
use crate::abi::call::{Call, CallReport, Export};
use crate::command;
use crate::instance;
use crate::limits::InstanceLimits;
use mpwasm_types::task::TaskInput;

impl Executor {
    /// Runs `call` in a fresh instance, of which nothing survives. The caller has armed the deadline.
    pub fn run(&mut self, call: &Call<'_>) -> CallReport {
        let mut state = self.take_state();
        let Some((guest, entry)) = lookup(&self.guests, call) else {
            self.state = Some(state);
            return CallReport::not_started(unknown());
        };
        let _entered = guest.loaded.uses_wasi.then(|| self.runtime.enter());

        state.renew(InstanceLimits::new(self.settings.memory, self.settings.max_table));
        state.begin(call);
        let is_command = guest.loaded.is_command && call.export == Export::Runnable;
        let is_valid = match call.input {
            TaskInput::Json(_) => !is_command,
            TaskInput::Command(invocation) => is_command && state.begin_command(invocation),
            TaskInput::Chunk { .. } => false,
        };
        if !is_valid {
            self.state = Some(state);
            return CallReport::not_started(unknown());
        }
        let mut store = instance::store(&self.engine, state);
        // The instruction budget is for tasks. `tasks` has a deadline only.
        let fuel = self.settings.fuel.map(|fuel| match call.export {
            Export::Runnable => fuel,
            _ => u64::MAX,
        });
        let returned = instance::arm_interrupts(&mut store, fuel, "before it began").and_then(|()| {
            let instance = instance::instantiate(&mut store, &guest.loaded)?;
            if is_command {
                return instance::call_unit(&mut store, instance, &entry.export, &entry.place).map(|()| 0);
            }
            instance::invoke(&mut store, instance, &entry.export, &entry.place)
        });
        // This drops the instance. The counts in its state stay.
        let mut state = self.resident_memory.end(store);
        let result = match is_command {
            true => command::result(returned.map(drop), &state),
            false => returned.and_then(|code| result_of(code, call.export, &mut state)),
        };
        let report = state.report(result);
        state.end(report.result.is_ok());
        self.state = Some(state);
        report
    }
}
