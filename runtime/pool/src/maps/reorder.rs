//! Returns the outcomes of a map in the order of the inputs, or as they arrive.

use std::collections::VecDeque;

use mpwasm_types::outcome::Outcome;

/// Order in which outcomes are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultOrder {
    /// The order of the inputs.
    Inputs,
    /// The order in which the tasks end.
    Ends,
}

/// Holds outcomes that arrived before their turn. Inputs are numbered from 0.
#[derive(Debug)]
pub struct ReorderBuffer {
    order: ResultOrder,
    /// Outcomes that have arrived. With [`ResultOrder::Inputs`] the first place is that of input number `taken`.
    waiting: VecDeque<Option<Outcome>>,
    /// Number of inputs pulled.
    pulled: u64,
    /// Number of outcomes that have arrived.
    arrived: u64,
    /// Number of outcomes returned.
    taken: u64,
}

impl ReorderBuffer {
    /// Creates an empty buffer.
    pub fn new(order: ResultOrder) -> Self {
        Self {
            order,
            waiting: VecDeque::new(),
            pulled: 0,
            arrived: 0,
            taken: 0,
        }
    }

    /// Records that `count` inputs were pulled. Returns the number of the first.
    pub fn pull(&mut self, count: u64) -> u64 {
        let first = self.pulled;
        self.pulled += count;
        first
    }

    /// Adds outcomes that have arrived; each input has exactly one.
    pub fn add(&mut self, outcomes: &mut Vec<(u64, Outcome)>) {
        self.arrived += outcomes.len() as u64;
        for (number, outcome) in outcomes.drain(..) {
            match self.order {
                ResultOrder::Ends => self.waiting.push_back(Some(outcome)),
                ResultOrder::Inputs => {
                    let place =
                        usize::try_from(number - self.taken).expect("what is in flight fits in memory");
                    if self.waiting.len() <= place {
                        self.waiting.resize_with(place + 1, || None);
                    }
                    self.waiting[place] = Some(outcome);
                }
            }
        }
    }

    /// Returns whether the next outcome has arrived.
    pub fn is_ready(&self) -> bool {
        matches!(self.waiting.front(), Some(Some(_)))
    }

    /// Returns the next outcome, if it has arrived.
    pub fn next(&mut self) -> Option<Outcome> {
        let outcome = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.taken += 1;
        Some(outcome)
    }

    /// Returns the number of pulled inputs whose outcomes were not returned.
    pub fn outstanding(&self) -> u64 {
        self.pulled - self.taken
    }

    /// Returns the number of pulled inputs whose outcomes have not arrived.
    pub fn in_flight(&self) -> u64 {
        self.pulled - self.arrived
    }

    /// Returns the number of outcomes returned.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}
