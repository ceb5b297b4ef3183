//! Folds: the state that a model's callbacks accumulate, and that its `final_callback` returns in the end.
//!
//! A final value covers all tasks of its model, or is an error. If a callback was lost, or the instance with its accumulated
//! state, the final callback is not called and the reason is reported instead.

use std::collections::{BTreeMap, VecDeque};

use mpwasm_protocol::messages::{CallResult, FromDispatcher, Source};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_types::ids::{GuestId, ModelId};
use mpwasm_types::outcome::{Failure, Kind};

/// A model of the pool: its guest, and its index there.
pub type ModelKey = (GuestId, ModelId);

/// The folds of all models that have a `final_callback`.
#[derive(Debug, Default)]
pub struct Folds {
    /// Models of which a task has ended. `Err` is the reason why the fold was lost.
    models: BTreeMap<ModelKey, Result<(), Failure>>,
    /// Models whose final callbacks are in flight to the thread, in its order.
    running: VecDeque<ModelKey>,
}

impl Folds {
    /// Begins the fold of a model when its first task ends. Does nothing later.
    pub fn begin(&mut self, model: ModelKey) {
        self.models.entry(model).or_insert(Ok(()));
    }

    /// Marks a model's fold as lost. The first reason is kept.
    pub fn lose(&mut self, model: ModelKey, kind: Kind, why: impl FnOnce() -> String) {
        if let Some(fold @ Ok(())) = self.models.get_mut(&model) {
            *fold = Err(Failure::new(kind, why()));
        }
    }

    /// Marks all folds as lost.
    pub fn lose_all(&mut self, kind: Kind, why: &str) {
        for fold in self.models.values_mut().filter(|fold| fold.is_ok()) {
            *fold = Err(Failure::new(kind, why));
        }
    }

    /// Ends the folds after all tasks have ended. Returns the models whose final callbacks must be called, in this order.
    /// Sends the parent the reasons of the folds that were lost.
    pub fn conclude(&mut self, uplink: &mut SendBuffer) -> Vec<ModelKey> {
        for (model, fold) in std::mem::take(&mut self.models) {
            match fold {
                Ok(()) => self.running.push_back(model),
                Err(failure) => send_final(model, Err(failure), uplink),
            }
        }
        self.running.iter().copied().collect()
    }

    /// Returns whether no final callback is in flight to the thread.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns whether the final callback of this model is the first that is in flight to the thread.
    pub fn is_running(&self, model: ModelKey) -> bool {
        self.running.front() == Some(&model)
    }

    /// Sends the parent the end of the first final callback that is in flight to the thread.
    pub fn ended(&mut self, ending: Result<String, Failure>, uplink: &mut SendBuffer) {
        // After `abandon` it was already sent.
        if let Some((guest, model)) = self.running.pop_front() {
            let source = Source::FinalCallback { guest, model };
            uplink.put(&FromDispatcher::OutputEnd { source });
            send_final((guest, model), ending, uplink);
        }
    }

    /// Sends the parent `failure` for all final callbacks that are in flight to the thread.
    pub fn abandon(&mut self, failure: &Failure, uplink: &mut SendBuffer) {
        while !self.running.is_empty() {
            self.ended(Err(failure.clone()), uplink);
        }
    }
}

/// Sends the parent the final value of a model, or why there is none.
fn send_final((guest, model): ModelKey, ending: Result<String, Failure>, uplink: &mut SendBuffer) {
    let ending = match &ending {
        Ok(value) => CallResult::Ok(value.as_bytes()),
        Err(failure) => CallResult::Failed(failure.clone()),
    };
    uplink.put(&FromDispatcher::Final { guest, model, ending });
}
