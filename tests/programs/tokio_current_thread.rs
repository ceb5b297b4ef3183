//! A program with `#[tokio::main(flavor = "current_thread")]` that calls `mpwasm::init()` in the first line of it. The runtime
//! has no threads of its own, and yet it came before `init`: the pool must refuse to start, and say why. It prints how a task
//! ended, or the error.

use mpwasm::{Error, Pool};

/// A task that does nothing.
const GUEST: &[u8] =
    br#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

#[tokio::main(flavor = "current_thread")]
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
