//! Runs one task, for programs that enter async code in different ways.

use mpwasm::{Error, Pool};

/// A task that does nothing.
const GUEST: &[u8] =
    br#"(module (memory (export "memory") 1) (func (export "runnable") (result i32) (i32.const 0)))"#;

/// Starts a pool, runs the task and returns how it ended.
pub async fn run() -> Result<String, Error> {
    let pool = Pool::builder().size(1).start()?;
    let guest = pool.load_bytes("nothing", GUEST)?;
    let outcome = pool.submit(guest.task(()))?.await;
    pool.stop()?;
    Ok(outcome.status().to_string())
}
