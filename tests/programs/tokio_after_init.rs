//! A program that uses the pool from async code on a multi-threaded Tokio runtime, in one of the two ways that the library
//! documents: with the argument `tokio_main` it calls that function, otherwise it builds the runtime after `init`. It prints
//! how a task ended, or the error.

use mpwasm::{Error, Pool};

/// A task that does nothing.
const GUEST: &[u8] =
    br#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

fn main() {
    let result = match std::env::args().nth(1).as_deref() {
        Some("tokio_main") => mpwasm::tokio_main(run()),
        _ => {
            mpwasm::init();
            tokio::runtime::Runtime::new()
                .expect("the system gives a runtime its threads")
                .block_on(run())
        }
    };
    match result {
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
