//! Outcomes of a map, in the order in which they are handed out: that of the inputs, or as they come.

use std::collections::VecDeque;

use mpwasm_types::outcome::Outcome;

/// In which order outcomes are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultOrder {
    /// As the inputs came.
    Inputs,
    /// As the tasks end.
    Ends,
}

/// See the module. Inputs are numbered from 0.
#[derive(Debug)]
pub struct ReorderBuffer {
    order: ResultOrder,
    /// Outcomes that have come: with [`ResultOrder::Inputs`], the first one is that of input number `taken`.
    waiting: VecDeque<Option<Outcome>>,
    pulled: u64,
    come: u64,
    taken: u64,
}

impl ReorderBuffer {
    /// Nothing was pulled.
    pub fn new(order: ResultOrder) -> Self {
        Self {
            order,
            waiting: VecDeque::new(),
            pulled: 0,
            come: 0,
            taken: 0,
        }
    }

    /// So many inputs were pulled. Returns the first one's number.
    pub fn pull(&mut self, count: u64) -> u64 {
        let first = self.pulled;
        self.pulled += count;
        first
    }

    /// Takes outcomes in that have come; each input has exactly one.
    pub fn sort(&mut self, outcomes: &mut Vec<(u64, Outcome)>) {
        self.come += outcomes.len() as u64;
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

    /// Whether an outcome can be handed out.
    pub fn is_ready(&self) -> bool {
        matches!(self.waiting.front(), Some(Some(_)))
    }

    /// The next outcome, if it can be handed out.
    pub fn next(&mut self) -> Option<Outcome> {
        let outcome = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.taken += 1;
        Some(outcome)
    }

    /// How many inputs were pulled whose outcomes were not handed out.
    pub fn outstanding(&self) -> u64 {
        self.pulled - self.taken
    }

    /// How many inputs were pulled whose outcomes have not come.
    pub fn in_flight(&self) -> u64 {
        self.pulled - self.come
    }

    /// How many outcomes were handed out.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}
