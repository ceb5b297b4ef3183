//! `--keep-order`: reports the output and outcomes of tasks in the order in which the tasks were pushed.
//!
//! Reports of the first unfinished task pass at once. The reports of later tasks are buffered in memory or in a file
//! ([`buffer`]). To bound the buffer, the feeder waits while too many tasks are ahead of the first unfinished one, or too much of
//! their reports is buffered.

pub mod buffer;
pub mod reporter;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mpwasm::{Outcome, TaskId};

use crate::run::output::order::buffer::{BufferedReports, ReleasedReports, ReportBuffer};

/// Bytes of results, output and log lines that may wait for their turn with `--keep-order` before no more tasks are pushed. What
/// the tasks in flight add is bounded by their number.
const ORDER_HIGH_WATER: usize = 64 << 20;

/// Most tasks ahead of the first unfinished one, for each worker: 16, so that one slow task does not leave workers idle.
const AHEAD_PER_WORKER: usize = 16;
/// Most tasks ahead of the first unfinished one in a small pool: 1024, which may each be short.
const AHEAD: usize = 1024;
/// Tasks that may run for each worker, whatever the size of their reports: 4, so that it is not idle.
const RUNNING_PER_WORKER: usize = 4;
/// Most tasks that are pushed with one call: 64, as the buffer must have room for each of them.
pub const BATCH: usize = 64;

/// Returns the approximate size of an outcome's report.
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
    tasks: VecDeque<BufferedTask>,
    /// Tasks among them that have ended.
    ended: usize,
    /// The buffered reports of all of them.
    buffer: ReportBuffer,
    /// Set once all reports pass at once.
    is_over: bool,
    /// Size of the reports of the largest task so far; `None` while none has ended.
    largest: Option<usize>,
}

/// A task whose outcome has not been passed on yet.
#[derive(Debug)]
struct BufferedTask {
    id: TaskId,
    reports: BufferedReports,
    /// Size of all its reports so far.
    size: usize,
    ended: bool,
}

/// Keeps reports in the order of tasks. The feeder and the reporter share it.
#[derive(Clone, Debug)]
pub struct OutputOrder {
    shared: Arc<(Mutex<OrderState>, Condvar)>,
    max_ahead: usize,
    min_running: usize,
}

impl OutputOrder {
    /// Returns an order for a pool of `size` workers.
    pub fn new(size: u32) -> Self {
        let workers = usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            shared: Arc::default(),
            max_ahead: workers.saturating_mul(AHEAD_PER_WORKER).max(AHEAD),
            min_running: workers.saturating_mul(RUNNING_PER_WORKER),
        }
    }

    fn state(&self) -> MutexGuard<'_, OrderState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the buffer may lack room for the reports of another task.
    fn is_full(&self, state: &OrderState) -> bool {
        let running = state.tasks.len() - state.ended;
        let each = state.largest.unwrap_or(ORDER_HIGH_WATER);
        let buffered = state.buffer.bytes();
        let expected = running.saturating_mul(each).saturating_add(buffered);
        let is_full = state.tasks.len() >= self.max_ahead
            || buffered >= ORDER_HIGH_WATER
            || (running >= self.min_running && expected >= ORDER_HIGH_WATER);
        is_full && !state.is_over
    }

    /// Adds `count` tasks from `first` on, which are about to be pushed. Waits until the buffer has room.
    pub fn add_tasks(&self, first: TaskId, count: u64) {
        let full = |state: &mut OrderState| self.is_full(state);
        let mut state = self
            .shared
            .1
            .wait_while(self.state(), full)
            .unwrap_or_else(PoisonError::into_inner);
        state.tasks.extend((0..count).map(|index| BufferedTask {
            id: first + index,
            reports: BufferedReports::default(),
            size: 0,
            ended: false,
        }));
    }

    /// Returns whether a task's report of `size` bytes may pass now. If not, its frame is buffered. `ends` marks the report of
    /// the task's end.
    ///
    /// # Errors
    /// When the report can't be buffered.
    pub fn pass_or_buffer(
        &self,
        id: TaskId,
        size: usize,
        ends: bool,
        frame: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<bool> {
        let mut state = self.state();
        let Ok(place) = state.tasks.binary_search_by_key(&id, |task| task.id) else {
            return Ok(true); // its outcome was passed on, or it was never pushed
        };
        let state = &mut *state;
        let task = &mut state.tasks[place];
        if place == 0 {
            task.size += size;
            return Ok(true);
        }
        let frame = frame()?;
        task.size += frame.len();
        state.buffer.add(&mut task.reports, &frame)?;
        if ends {
            task.ended = true;
            state.ended += 1;
            state.largest = state.largest.max(Some(task.size));
            self.shared.1.notify_all();
        }
        Ok(false)
    }

    /// Removes the first task, whose outcome was passed on. Returns the buffered reports that may pass now, in order.
    pub fn release_next(&self, id: TaskId) -> Vec<ReleasedReports> {
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
            released.push(state.buffer.release(std::mem::take(&mut first.reports)));
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

    /// Empties the file, so that reports in it can't be read.
    #[cfg(test)]
    pub fn lose_file(&self) {
        let state = self.state();
        let file = state.buffer.file().expect("reports were moved to a file");
        file.set_len(0).unwrap();
    }

    /// Returns all buffered reports, in order. From now on all reports pass at once.
    pub fn release_all(&self) -> Vec<ReleasedReports> {
        let mut state = self.state();
        let state = &mut *state;
        state.is_over = true;
        state.ended = 0;
        let tasks = std::mem::take(&mut state.tasks);
        let released = tasks.into_iter().map(|task| state.buffer.release(task.reports));
        let released = released.collect();
        self.shared.1.notify_all();
        released
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use mpwasm::{PrintedOutput, Source, Stream};

    use super::*;
    use crate::run::output::order::buffer::BufferedEvent;

    fn print(order: &OutputOrder, id: u64, text: &str) -> bool {
        let id = TaskId(id);
        let output = PrintedOutput {
            source: Source::Task(id),
            stream: Stream::Stdout,
            bytes: text.as_bytes(),
            end: false,
        };
        order
            .pass_or_buffer(id, text.len(), false, || {
                Ok(BufferedEvent::Printed(output).frame())
            })
            .unwrap()
    }

    fn end(order: &OutputOrder, id: u64) -> bool {
        let id = TaskId(id);
        let event = BufferedEvent::Ended {
            id,
            failure: None,
            record: None,
        };
        order.pass_or_buffer(id, 1, true, || Ok(event.frame())).unwrap()
    }

    fn texts(released: Vec<ReleasedReports>) -> Vec<String> {
        let mut texts = Vec::new();
        for released in released {
            let take = |event: BufferedEvent<'_>| {
                texts.push(match event {
                    BufferedEvent::Printed(output) => String::from_utf8(output.bytes.to_vec()).unwrap(),
                    BufferedEvent::Logged(line) => line.text.to_owned(),
                    BufferedEvent::Ended { id, .. } => format!("end {id}"),
                });
            };
            released.each(take).unwrap();
        }
        texts
    }

    #[test]
    fn reports_of_the_first_task_pass_and_others_are_buffered() {
        let order = OutputOrder::new(2);
        order.add_tasks(TaskId(0), 2);
        order.add_tasks(TaskId(5), 2); // 2, 3 and 4 have a record
        assert!(print(&order, 0, "a"));
        assert!(!print(&order, 5, "b") && !end(&order, 5) && !print(&order, 6, "d") && !end(&order, 1));
        assert!(end(&order, 0), "it is its turn");
        assert_eq!(texts(order.release_next(TaskId(0))), ["end 1", "b", "end 5", "d"]);
        assert!(print(&order, 6, "e") && end(&order, 6));
        assert!(order.release_next(TaskId(6)).is_empty());
    }

    #[test]
    fn buffered_reports_are_released_at_the_end() {
        let order = OutputOrder::new(2);
        order.add_tasks(TaskId(0), 3);
        assert!(!end(&order, 2) && !print(&order, 1, "x"));
        assert_eq!(texts(order.release_all()), ["x", "end 2"]);
    }

    #[test]
    fn the_feeder_waits_while_too_many_tasks_are_ahead() {
        let order = OutputOrder::new(1);
        order.add_tasks(TaskId(0), AHEAD as u64);
        let (sender, pushed) = mpsc::channel();
        let feeder = order.clone();
        let thread = thread::spawn(move || {
            feeder.add_tasks(TaskId(5000), 1);
            sender.send(()).unwrap();
        });
        for id in 1..10 {
            assert!(!end(&order, id));
        }
        assert!(pushed.try_recv().is_err(), "the first one has not ended");
        assert!(end(&order, 0));
        order.release_next(TaskId(0));
        pushed.recv().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn running_tasks_are_expected_to_be_as_large_as_the_largest() {
        let order = OutputOrder::new(1);
        let is_full = |order: &OutputOrder| order.is_full(&order.state());
        order.add_tasks(TaskId(0), 4);
        assert!(is_full(&order), "nothing is known of their size yet");
        assert!(!print(&order, 1, &"x".repeat(ORDER_HIGH_WATER / 16)) && !end(&order, 1));
        order.add_tasks(TaskId(100), 10);
        assert!(!is_full(&order), "they are small enough");
        order.add_tasks(TaskId(200), 4);
        assert!(is_full(&order), "all that run could take as much as may wait");
    }

    #[test]
    fn a_task_that_ends_out_of_order_makes_room() {
        let order = OutputOrder::new(1);
        order.add_tasks(TaskId(0), 4);
        let feeder = order.clone();
        let thread = thread::spawn(move || feeder.add_tasks(TaskId(4), 1));
        assert!(!end(&order, 1));
        thread.join().unwrap();
    }

    #[test]
    fn the_feeder_waits_while_too_much_is_buffered() {
        let order = OutputOrder::new(1);
        order.add_tasks(TaskId(0), 2);
        assert!(!print(&order, 1, &"x".repeat(ORDER_HIGH_WATER)));
        assert!(order.state().buffer.bytes() >= ORDER_HIGH_WATER);
        assert!(end(&order, 0));
        assert_eq!(texts(order.release_next(TaskId(0)))[0].len(), ORDER_HIGH_WATER);
        assert_eq!(order.state().buffer.bytes(), 0);
        order.add_tasks(TaskId(2), 1);
    }
}
