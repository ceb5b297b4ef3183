//! The tests that run: each result is taken as it comes, since it may be large, and what stays is what it says.

use std::collections::BTreeMap;

use anyhow::Result;
use mpwasm::{Guest, Pool, TaskHandle, wait_any};

use crate::problem::Problem;
use crate::verdict::Trial;

/// A submission and a test, by their numbers.
type Place = (usize, usize);

/// Runs each of these submissions, which have numbers, with each test of a problem: at most so many at a time, finished ones
/// that were not looked at included. The trials of one submission are in the order of the tests, whichever ended first.
///
/// # Errors
/// The pool's own.
pub fn trials<'a>(
    pool: &Pool,
    problem: &Problem,
    submissions: impl IntoIterator<Item = (usize, &'a Guest)>,
    most: usize,
) -> Result<BTreeMap<usize, Vec<Trial>>> {
    let (mut running, mut done) = (Running::default(), BTreeMap::new());
    let mut take = |running: &mut Running, most| {
        while running.handles.len() > most
            && let Some((place, handle)) = running.next()
        {
            done.insert(place, Trial::new(&handle.wait(), &problem.tests[place.1]));
        }
    };
    for (number, guest) in submissions {
        for (test, given) in problem.tests.iter().enumerate() {
            take(&mut running, most - 1);
            // In an instance of its own, which is given this one input and nothing else: nothing is left of other tests,
            // and no file or variable is there.
            let task = guest.task(()).stdin(given.input.as_slice());
            running.add((number, test), pool.submit(task)?);
        }
    }
    take(&mut running, 0);
    let mut trials = BTreeMap::<_, Vec<_>>::new();
    for ((submission, _), trial) in done {
        trials.entry(submission).or_default().push(trial);
    }
    Ok(trials)
}

/// What was started and not looked at: the one place for each handle.
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
