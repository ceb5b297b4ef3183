//! Runs the tests. Each outcome is reduced to a verdict as soon as it arrives, since it may be large.

use std::collections::BTreeMap;

use mpwasm::{Guest, Pool, TaskHandle, wait_any};

use crate::problem::Problem;
use crate::verdict::TestResult;

/// A submission and a test, by their indices.
type Place = (usize, usize);

/// Runs each submission with each test of a problem, with at most `most` tests in flight. Returns the results of each
/// submission, in the order of the tests, or the reason why it can't run.
///
/// # Errors
/// Returns the error of the pool.
pub fn run_tests(
    pool: &Pool,
    problem: &Problem,
    submissions: Vec<Result<Guest, String>>,
    most: usize,
) -> anyhow::Result<Vec<Result<Vec<TestResult>, String>>> {
    let mut running = Running::default();
    let mut done: Vec<_> = submissions.iter().map(|_| BTreeMap::new()).collect();
    let mut take_until_fewer = |running: &mut Running, than| {
        while running.handles.len() >= than
            && let Some(((submission, test), handle)) = running.next()
        {
            done[submission].insert(test, TestResult::new(&handle.wait(), &problem.tests[test]));
        }
    };
    for (submission, guest) in submissions.iter().enumerate() {
        let Ok(guest) = guest else { continue };
        for (test, given) in problem.tests.iter().enumerate() {
            take_until_fewer(&mut running, most);
            // The task runs in a fresh instance and gets this input only: no memory of other tests, no files and no
            // environment variables.
            let task = guest.task(()).stdin(given.input.as_slice());
            running.add((submission, test), pool.submit(task)?);
        }
    }
    take_until_fewer(&mut running, 1);
    let judged = submissions.into_iter().zip(done);
    Ok(judged
        .map(|(guest, results)| guest.map(|_| results.into_values().collect()))
        .collect())
}

/// Tests in flight: their handles, and their places at the same indices.
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

    /// Waits until a test has ended, and removes it. Returns `None` if there is none.
    fn next(&mut self) -> Option<(Place, TaskHandle)> {
        let ended = wait_any(&self.handles, None)?;
        Some((self.places.swap_remove(ended), self.handles.swap_remove(ended)))
    }
}
