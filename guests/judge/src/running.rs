//! The tests that run: each result is taken as it comes, since it may be large, and what stays is what it says.

use std::collections::BTreeMap;

use mpwasm::{Guest, Pool, TaskHandle, wait_any};

use crate::problem::Problem;
use crate::verdict::Trial;

/// A submission and a test, by their numbers.
type Place = (usize, usize);

/// Runs each of these submissions with each test of a problem: at most so many at a time, finished ones that were not looked
/// at included. For each it returns its trials, in the order of the tests, whichever ended first; or why it can't run.
///
/// # Errors
/// The pool's own.
pub fn trials(
    pool: &Pool,
    problem: &Problem,
    submissions: Vec<Result<Guest, String>>,
    most: usize,
) -> anyhow::Result<Vec<Result<Vec<Trial>, String>>> {
    let mut running = Running::default();
    let mut done: Vec<_> = submissions.iter().map(|_| BTreeMap::new()).collect();
    let mut take_until_fewer = |running: &mut Running, than| {
        while running.handles.len() >= than
            && let Some(((submission, test), handle)) = running.next()
        {
            done[submission].insert(test, Trial::new(&handle.wait(), &problem.tests[test]));
        }
    };
    for (submission, guest) in submissions.iter().enumerate() {
        let Ok(guest) = guest else { continue };
        for (test, given) in problem.tests.iter().enumerate() {
            take_until_fewer(&mut running, most);
            // In an instance of its own, which is given this one input and nothing else: nothing is left of other tests,
            // and no file or variable is there.
            let task = guest.task(()).stdin(given.input.as_slice());
            running.add((submission, test), pool.submit(task)?);
        }
    }
    take_until_fewer(&mut running, 1);
    let judged = submissions.into_iter().zip(done);
    Ok(judged
        .map(|(guest, trials)| guest.map(|_| trials.into_values().collect()))
        .collect())
}

/// Tests that were started and not looked at: the one place for each handle.
#[derive(Default)]
struct Running {
    handles: Vec<TaskHandle>,
    places: Vec<Place>,
}

impl Running {
    fn add(&mut self, place: Place, handle: TaskHandle) {
        self.handles.push(handle);
        self.places.push(place);
    }

    /// Waits until one has ended.
    fn next(&mut self) -> Option<(Place, TaskHandle)> {
        let ended = wait_any(&self.handles, None)?;
        Some((self.places.swap_remove(ended), self.handles.swap_remove(ended)))
    }
}
