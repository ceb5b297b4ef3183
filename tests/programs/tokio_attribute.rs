//! A program with `#[tokio::main]` that calls `mpwasm::init()` in the first line of it. The runtime's threads exist by then:
//! the pool must refuse to start, and say why. It prints how a task ended, or the error.

use mpwasm::{Error, Pool};

/// A task that does nothing.
const GUEST: &[u8] =
    br#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

#[tokio::main]
async fn main() {
    mpwasm::init();
    match run().await {
        Ok(status) => println!("{status}"),
        Err(error) => println!("{error}"),
    }
}

async fn run() -> Result<String, Error> {
    let pool = Pool::builder().size(1).start()?;
    let guest = pool.load_bytes("nothing", GUEST)?;
    let outcome = pool.submit(guest.task(()))?.await;
    pool.stop()?;
    Ok(outcome.status().to_string())
}
