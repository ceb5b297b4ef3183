//! Folds: the state that a model's callbacks accumulate, and that its `final_callback` returns in the end.
//!
//! A fold reports_events the truth or why it can't: when a callback was lost, or the instance with what it had accumulated, then
//! the final callback is not asked.

use std::collections::{BTreeMap, VecDeque};

use mpwasm_protocol::messages::{CallResult, FromDispatcher, Source};
use mpwasm_protocol::send_buffer::SendBuffer;
use mpwasm_types::outcome::{Failure, Kind};

/// A model: its guest's number, and its own.
pub type ModelId = (u32, u32);

/// The folds of all models that have a `final_callback`.
#[derive(Debug, Default)]
pub struct Folds {
    /// Those of which a task has ended; `Err` for what was lost.
    models: BTreeMap<ModelId, Result<(), Failure>>,
    /// Those whose final callback is with the thread, in its order.
    running: VecDeque<ModelId>,
}

impl Folds {
    /// A task of this model has ended: there is a fold from now on.
    pub fn begin(&mut self, model: ModelId) {
        self.models.entry(model).or_insert(Ok(()));
    }

    /// This model's fold can't be told any more. The first reason stands.
    pub fn lose(&mut self, model: ModelId, kind: Kind, why: impl FnOnce() -> String) {
        if let Some(fold @ Ok(())) = self.models.get_mut(&model) {
            *fold = Err(Failure::new(kind, why()));
        }
    }

    /// No fold so far can be told any more.
    pub fn lose_all(&mut self, kind: Kind, why: &str) {
        for fold in self.models.values_mut().filter(|fold| fold.is_ok()) {
            *fold = Err(Failure::new(kind, why));
        }
    }

    /// All tasks have ended. Returns the models whose final callbacks are to be called, in this order; the parent is told
    /// why there is nothing to be had of the others.
    pub fn conclude(&mut self, uplink: &mut SendBuffer) -> Vec<ModelId> {
        for (model, fold) in std::mem::take(&mut self.models) {
            match fold {
                Ok(()) => self.running.push_back(model),
                Err(failure) => tell(model, Err(failure), uplink),
            }
        }
        self.running.iter().copied().collect()
    }

    /// Whether no final callback is with the thread.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether this model's final callback is the first with the thread.
    pub fn is_running(&self, model: ModelId) -> bool {
        self.running.front() == Some(&model)
    }

    /// The first final callback that is with the thread has ended.
    pub fn ended(&mut self, ending: Result<String, Failure>, uplink: &mut SendBuffer) {
        // After `abandon` it was told already.
        if let Some((guest, model)) = self.running.pop_front() {
            let source = Source::FinalCallback { guest, model };
            uplink.put(&FromDispatcher::OutputEnd { source });
            tell((guest, model), ending, uplink);
        }
    }

    /// Nothing will come of the final callbacks that are with the thread.
    pub fn abandon(&mut self, failure: &Failure, uplink: &mut SendBuffer) {
        while !self.running.is_empty() {
            self.ended(Err(failure.clone()), uplink);
        }
    }
}

fn tell((guest, model): ModelId, ending: Result<String, Failure>, uplink: &mut SendBuffer) {
    let ending = match &ending {
        Ok(value) => CallResult::Ok(value.as_bytes()),
        Err(failure) => CallResult::Failed(failure.clone()),
    };
    uplink.put(&FromDispatcher::Final { guest, model, ending });
}
