//! The demonstration guest: ten tasks of up to two seconds, of which about half run into their timeout of one.
//!
//! `mpwasm run --size 5 guests/demo` builds and runs it.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use mpwasm_guest::{Error, InfoTask, Model, TaskError, Value, json, pid, push};

/// The only model of this guest. Its callbacks keep no state, so it has no fields.
#[derive(Default)]
struct Demo;

impl Model for Demo {
    /// Two args, `{"test": i}` and `{"error": i}`; a guest with more to do would name their types.
    type Args = (Value, Value);
    type Output = (Value, Value);

    /// Runs in a worker process, and ends with its result or at the task's timeout.
    fn runnable((test, error): Self::Args) -> Result<Self::Output, Error> {
        println!("runnable in process {}: {test} {error}", pid());
        thread::sleep(Duration::from_millis(random_below(2000)));
        Ok((test, error))
    }

    /// Runs in the dispatcher process, with what `runnable` has returned.
    fn callback(&mut self, (test, error): Self::Output) -> Result<(), Error> {
        println!("callback in process {}: {test} {error}", pid());
        Ok(())
    }

    /// Runs in the dispatcher process when there is no result: here, after a timeout.
    fn error_callback(&mut self, error: TaskError) -> Result<(), Error> {
        println!(
            "error_callback in process {}: {error}; its args were {}",
            pid(),
            error.args
        );
        Ok(())
    }
}

/// Pushes the tasks, when `mpwasm run` is given no others.
fn tasks() -> Result<(), Error> {
    for i in 0..10 {
        let args = (json!({"test": i}), json!({"error": i}));
        push(InfoTask::new("", Duration::from_secs(1), args))?;
    }
    Ok(())
}

/// Returns a random number. The standard library seeds every hasher with one, so this guest needs no dependency for it.
fn random_below(bound: u64) -> u64 {
    RandomState::new().hash_one(()) % bound
}

mpwasm_guest::export!(Demo, tasks => tasks);
