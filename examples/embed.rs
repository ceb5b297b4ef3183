//! A program that embeds the pool: it squares numbers in an untrusted guest.
//!
//! ```text
//! cargo run --release --example embed -- examples/square.wat 1 2 3
//! ```
//!
//! The guest's unnamed model takes one number. It may fail, loop forever or crash its worker process: this program prints
//! how each task ended and continues.

use std::process::ExitCode;
use std::time::Duration;

use mpwasm::{Error, Pool, TaskHandle};

fn main() -> ExitCode {
    // This comes first: a copy of this program becomes the dispatcher, a worker or the compiler here, and never returns.
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

    // The tasks run in parallel, as many at once as there are workers.
    let submit = |number: &u32| pool.submit(guest.task([number]));
    let handles: Vec<TaskHandle> = numbers.iter().map(submit).collect::<Result<_, _>>()?;

    for (number, handle) in numbers.iter().zip(handles) {
        // The outcome contains the result or error, the worker, and the resource usage.
        match handle.wait().result {
            Ok(json) => println!("{number}: {json}"),
            // Text from a guest is escaped before it is written to a terminal.
            Err(error) => println!(
                "{number}: {}: {}",
                error.kind,
                mpwasm::escape::escape(&error.message)
            ),
        }
    }
    pool.stop()
}
