//! Has a thread before it calls `mpwasm::init()`. The sandbox would not cover that thread in the pool's processes, so
//! these must not run anything. With the argument `off` they need no sandbox.
//!
//! Prints how a task ended, and the pool.

use mpwasm::{Jail, Pool};

/// A task that does nothing.
const GUEST: &[u8] =
    br#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

fn main() {
    // The thread lasts as long as the process.
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
    mpwasm::init();
    let jail = match std::env::args().nth(1).as_deref() {
        Some("off") => Jail::Off,
        _ => Jail::BestEffort,
    };
    match run(jail) {
        Ok(status) => println!("{status}"),
        Err(error) => println!("{error}"),
    }
}

fn run(jail: Jail) -> Result<String, mpwasm::Error> {
    let pool = Pool::builder().size(1).jail(jail).start()?;
    let guest = pool.load_bytes("nothing", GUEST)?;
    let outcome = pool.submit(guest.task(()))?.wait();
    pool.stop()?;
    Ok(outcome.status().to_string())
}
