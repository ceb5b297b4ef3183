//! A program that embeds the pool: it squares some numbers in a guest that it does not trust.
//!
//! ```text
//! cargo run --release --example embed -- examples/square.wat 1 2 3
//! ```
//!
//! The guest's unnamed model takes one number. What it does with it is its own affair: it may fail, loop for ever or
//! take its process along, and this program says so and goes on.

use std::process::ExitCode;
use std::time::Duration;

use mpwasm::{Error, Pool, TaskHandle};

fn main() -> ExitCode {
    // First of all: a copy of this program becomes dispatcher, worker or compiler here, and never returns.
    mpwasm::init();

    let mut args = std::env::args().skip(1);
    let Some(guest) = args.next() else {
        eprintln!("usage: embed GUEST NUMBER...");
        return ExitCode::from(2);
    };
    let numbers: Result<Vec<u32>, _> = args.map(|number| number.parse()).collect();
    let Ok(numbers) = numbers else {
        eprintln!("these are no numbers");
        return ExitCode::from(2);
    };
    match run(&guest, &numbers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(guest: &str, numbers: &[u32]) -> Result<(), Error> {
    let pool = Pool::builder().size(2).timeout(Duration::from_secs(1)).start()?;
    let guest = pool.load(guest)?;

    // All of them run at the same time, as far as there are workers.
    let submit = |number: &u32| pool.submit(guest.task([number]));
    let handles: Vec<TaskHandle> = numbers.iter().map(submit).collect::<Result<_, _>>()?;

    for (number, handle) in numbers.iter().zip(handles) {
        // The outcome says how the task ended, who ran it and what that took.
        match handle.wait().result {
            Ok(json) => println!("{number}: {json}"),
            // What comes from a guest is made inert before it reaches a terminal.
            Err(error) => println!(
                "{number}: {}: {}",
                error.kind,
                mpwasm::escape::escape(&error.message)
            ),
        }
    }
    pool.stop()
}
