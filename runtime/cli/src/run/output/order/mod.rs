//! `--keep-order`: what tasks print and how they end is reported in the order in which they were pushed.
//!
//! What belongs to the first task that has not ended passes; the rest waits for its turn, in memory or in a file
//! (`held.rs`). So that it can't grow without bound, the feeder waits while too many tasks are ahead of that first one, or
//! too much of theirs waits here.

pub mod buffer;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mpwasm::Outcome;
use mpwasm_types::settings::ORDER_HIGH_WATER;

use crate::run::output::order::buffer::{BufferedReports, ReleasedReports, ReportBuffer};

/// Tasks that may be ahead of the first one that has not ended, for each worker.
const AHEAD_PER_WORKER: usize = 16;
/// Tasks that may be ahead at least.
const AHEAD: usize = 1024;
/// Tasks that may run, for each worker, however large they turn out: it must not be idle.
const RUNNING_PER_WORKER: usize = 4;
/// Tasks that are pushed with one call at most: there has to be room for each of them.
pub const BATCH: usize = 64;

/// What an outcome takes, about.
pub fn size(outcome: &Outcome) -> usize {
    match &outcome.result {
        Ok(json) => json.get().len(),
        Err(error) => {
            let data = error.data.as_ref().map_or(0, |data| data.get().len());
            let backtrace: usize = error.backtrace.iter().map(String::len).sum();
            let tried: usize = outcome.tried.iter().map(|attempt| attempt.message.len()).sum();
            error.args.get().len() + error.message.len() + data + backtrace + tried
        }
    }
}

#[derive(Debug, Default)]
struct OrderState {
    tasks: VecDeque<PendingTask>,
    /// How many of them have ended.
    ended: usize,
    /// What is held of all of them.
    store: ReportBuffer,
    /// Nothing waits any more.
    over: bool,
    /// The most that a task has brought forth; `None` while none has ended.
    largest: Option<usize>,
}

/// A task that was pushed and whose outcome was not reported yet.
#[derive(Debug)]
struct PendingTask {
    id: u64,
    held: BufferedReports,
    /// Bytes of all that it has brought forth.
    size: usize,
    ended: bool,
}

/// See the module. The feeder and the reporter share it.
#[derive(Clone, Debug)]
pub struct OutputOrder {
    shared: Arc<(Mutex<OrderState>, Condvar)>,
    ahead: usize,
    running: usize,
}

impl OutputOrder {
    /// For a pool of so many workers.
    pub fn new(size: u32) -> Self {
        let workers = usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            shared: Arc::default(),
            ahead: workers.saturating_mul(AHEAD_PER_WORKER).max(AHEAD),
            running: workers.saturating_mul(RUNNING_PER_WORKER),
        }
    }

    fn state(&self) -> MutexGuard<'_, OrderState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is pushed now might not find room once it has ended.
    fn is_full(&self, state: &OrderState) -> bool {
        let running = state.tasks.len() - state.ended;
        let each = state.largest.unwrap_or(ORDER_HIGH_WATER);
        let held = state.store.bytes();
        let may_come = running.saturating_mul(each).saturating_add(held);
        let is_full = state.tasks.len() >= self.ahead
            || held >= ORDER_HIGH_WATER
            || (running >= self.running && may_come >= ORDER_HIGH_WATER);
        is_full && !state.over
    }

    /// These are about to be pushed. Waits while there is no room.
    pub fn expect(&self, ids: Range<u64>) {
        let full = |state: &mut OrderState| self.is_full(state);
        let mut state = self
            .shared
            .1
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner);
        state.tasks.extend(ids.map(|id| PendingTask {
            id,
            held: BufferedReports::default(),
            size: 0,
            ended: false,
        }));
    }

    /// Whether it is the turn of a task, of which something is reported that takes `size` bytes; with `ends`, that it has
    /// ended. If it is not its turn, the frame of that waits here.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn turn(
        &self,
        id: u64,
        size: usize,
        ends: bool,
        frame: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<bool> {
        let mut state = self.state();
        let Ok(place) = state.tasks.binary_search_by_key(&id, |task| task.id) else {
            return Ok(true); // it has ended, or was never pushed
        };
        let state = &mut *state;
        let task = &mut state.tasks[place];
        if place == 0 {
            task.size += size;
            return Ok(true);
        }
        let frame = frame()?;
        task.size += frame.len();
        state.store.add(&mut task.held, &frame)?;
        if ends {
            task.ended = true;
            state.ended += 1;
            state.largest = state.largest.max(Some(task.size));
            self.shared.1.notify_all();
        }
        Ok(false)
    }

    /// The first task has ended, and its outcome was reported. Returns what has its turn now, in order.
    pub fn next(&self, id: u64) -> Vec<ReleasedReports> {
        let mut released = Vec::new();
        let mut state = self.state();
        let Some(ended) = state.tasks.pop_front_if(|first| first.id == id) else {
            return released;
        };
        state.largest = state.largest.max(Some(ended.size));
        loop {
            let state = &mut *state;
            let Some(first) = state.tasks.front_mut() else {
                break;
            };
            released.push(state.store.release(std::mem::take(&mut first.held)));
            if !first.ended {
                break;
            }
            state.tasks.pop_front();
            state.ended -= 1;
        }
        drop(state);
        self.shared.1.notify_all();
        released
    }

    /// Everything that still waits, in order. From now on nothing waits.
    pub fn rest(&self) -> Vec<ReleasedReports> {
        let mut state = self.state();
        let state = &mut *state;
        state.over = true;
        state.ended = 0;
        let tasks = std::mem::take(&mut state.tasks);
        let released = tasks.into_iter().map(|task| state.store.release(task.held));
        let released = released.collect();
        self.shared.1.notify_all();
        released
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use mpwasm::{Source, Stream};

    use super::*;
    use crate::run::output::order::buffer::TaskReport;

    fn print(order: &OutputOrder, id: u64, text: &str) -> bool {
        let told = TaskReport::Output {
            source: Source::Task(id),
            stream: Stream::Stdout,
            bytes: text.as_bytes(),
            end: false,
        };
        order.turn(id, text.len(), false, || Ok(told.frame())).unwrap()
    }

    fn end(order: &OutputOrder, id: u64) -> bool {
        let told = TaskReport::Ended {
            id,
            failure: None,
            record: None,
        };
        order.turn(id, 1, true, || Ok(told.frame())).unwrap()
    }

    fn texts(released: Vec<ReleasedReports>) -> Vec<String> {
        let mut texts = Vec::new();
        for released in released {
            let take = |told: TaskReport<'_>| {
                texts.push(match told {
                    TaskReport::Output { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
                    TaskReport::Log { text, .. } => text.to_owned(),
                    TaskReport::Ended { id, .. } => format!("end {id}"),
                });
                Ok(())
            };
            released.each(take).unwrap();
        }
        texts
    }

    #[test]
    fn the_first_passes_and_the_others_wait_for_their_turn() {
        let order = OutputOrder::new(2);
        order.expect(0..2);
        order.expect(5..7); // 2, 3 and 4 have a record
        assert!(print(&order, 0, "a"));
        assert!(!print(&order, 5, "b") && !end(&order, 5) && !print(&order, 6, "d") && !end(&order, 1));
        assert!(end(&order, 0), "it is its turn");
        assert_eq!(texts(order.next(0)), ["end 1", "b", "end 5", "d"]);
        assert!(print(&order, 6, "e") && end(&order, 6));
        assert!(order.next(6).is_empty());
    }

    #[test]
    fn what_never_had_its_turn_comes_at_the_end() {
        let order = OutputOrder::new(2);
        order.expect(0..3);
        assert!(!end(&order, 2) && !print(&order, 1, "x"));
        assert_eq!(texts(order.rest()), ["x", "end 2"]);
    }

    #[test]
    fn the_feeder_waits_for_the_first_while_too_many_are_ahead() {
        let order = OutputOrder::new(1);
        order.expect(0..AHEAD as u64);
        let (sender, pushed) = mpsc::channel();
        let feeder = order.clone();
        let thread = thread::spawn(move || {
            feeder.expect(5000..5001);
            sender.send(()).unwrap();
        });
        for id in 1..10 {
            assert!(!end(&order, id));
        }
        assert!(pushed.try_recv().is_err(), "the first one has not ended");
        assert!(end(&order, 0));
        order.next(0);
        pushed.recv().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn so_many_run_as_can_end_as_large_as_the_largest() {
        let order = OutputOrder::new(1);
        let is_full = |order: &OutputOrder| order.is_full(&order.state());
        order.expect(0..4);
        assert!(is_full(&order), "nothing is known of their size yet");
        assert!(!print(&order, 1, &"x".repeat(ORDER_HIGH_WATER / 16)) && !end(&order, 1));
        order.expect(100..110);
        assert!(!is_full(&order), "they are small enough");
        order.expect(200..204);
        assert!(is_full(&order), "all that run could take as much as may wait");
    }

    #[test]
    fn one_that_ends_out_of_turn_makes_room() {
        let order = OutputOrder::new(1);
        order.expect(0..4);
        let feeder = order.clone();
        let thread = thread::spawn(move || feeder.expect(4..5));
        assert!(!end(&order, 1));
        thread.join().unwrap();
    }

    #[test]
    fn the_feeder_waits_while_too_much_is_held() {
        let order = OutputOrder::new(1);
        order.expect(0..2);
        assert!(!print(&order, 1, &"x".repeat(ORDER_HIGH_WATER)));
        assert!(order.state().store.bytes() >= ORDER_HIGH_WATER);
        assert!(end(&order, 0));
        assert_eq!(texts(order.next(0))[0].len(), ORDER_HIGH_WATER);
        assert_eq!(order.state().store.bytes(), 0);
        order.expect(2..3);
    }
}
